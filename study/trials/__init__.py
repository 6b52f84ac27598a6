"""The life of a trial, one file a step.

1. `sampling`: its sample is drawn, by Optuna's TPE, from the outcomes of the trials before it.
2. `scheduling`: its attempts start, and are repeated after errors of the machine; `ray_tune` runs them in workers.
3. `trial`: the worker trains it and reports an `EpochReport` after every epoch.
4. `pruning`: ASHA decides after each epoch whether it is pruned.
5. `recorder`: every event goes to the ledger (`ledger`), then to MLflow and to the terminal (`progress`).
6. `outcome`: its state, rebuilt from the ledger, from which the next trials are drawn and the best one is selected.

The ledger is our own, because a study must resume after a kill at any moment, with or without Ray's or MLflow's state.
"""
