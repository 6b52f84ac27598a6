"""The search of a study: what a search file says, how samples are drawn from it, and when a trial is pruned.

The subpackage `file` reads a search file and makes a `space`. `sampling` draws from it, with Optuna, given the
trials' outcomes (`outcome`, as Optuna's in `optuna_trials`). `pruning` decides when a trial stops early.
"""
