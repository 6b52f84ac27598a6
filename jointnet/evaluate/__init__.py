"""Evaluation of a model on labelled patients: `python -m jointnet.evaluate`, its metrics and their aggregation."""
