"""The life of a trial, one file per step.

1. `work`: it is drawn from the outcomes of the trials before it (`study.search`), or retrains the winner of a search.
2. `scheduling`: its attempts start, and are repeated after errors of the machine; `ray_tune` runs them in workers.
3. `trial`: the worker trains it and reports an `EpochReport` after every epoch, after which it may be pruned. Its files
   are in place (`trial_files`), or go `through_ray` to the driver's disk, which a `file_keeper` writes.
4. `recorder`: every event goes to the ledger (`ledger`), then to MLflow and to the terminal (`progress`).

The ledger is this project's own, because a study must resume after a kill at any moment, with or without the state of
Ray or MLflow.
"""
