"""Inspection of a folder before training: `python -m jointnet.data check DIR`."""
