"""The work of an arm, run by Ray Tune and recorded."""
