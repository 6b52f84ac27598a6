"""The contract that every network must fulfil: `python -m jointnet.contract CODE` checks it."""
