"""The contract that every network keeps: `python -m jointnet.contract CODE` checks it."""
