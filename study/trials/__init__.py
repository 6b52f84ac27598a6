"""Trials: one training, its outcome, and the decisions on sampling and early stopping, computed from outcomes alone."""
