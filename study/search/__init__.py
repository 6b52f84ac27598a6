"""The trainings of an arm: decided, run by Ray Tune, and recorded."""
