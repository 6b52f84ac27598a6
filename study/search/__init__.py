"""The search of a study: what a search file says, how samples are drawn from it, and when a trial is pruned.

`file` reads a search file by its tables and by `rules`, and makes a `space`. `sampling` draws from it, with Optuna,
given the trials' outcomes (`outcome`, as Optuna's in `optuna_trials`). `pruning` decides when a trial stops early.
"""
