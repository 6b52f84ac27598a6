"""Runs one round of trainings with Ray Tune, as `study.trials.arm_search` decides."""

import shutil
from pathlib import Path

from ray import tune

from study.plan.plan import Resources
from study.store_names import TIME_BUDGET
from study.trials.arm_search import ArmSearch
from study.trials.trial import ArmTask, run_trial
from study.trials.tune_bridge import LedgerCallback, LedgerScheduler, LedgerSearcher, LedgerStopper
from study.trials.worker import RunTrial, trainable


def search_arm(
    task: ArmTask,
    search: ArmSearch,
    resources: Resources,
    storage: Path,
    seconds: float | None,
    run: RunTrial = run_trial,
) -> None:
    """Run the trials of one arm, or its retrainings. Their outcomes are in the ledger.

    Args:
        task: the common input of the trials.
        search: decides which trials run and records their events.
        resources: resources of a trial.
        storage: absolute folder for Ray Tune's own files; deleted afterwards.
        seconds: time budget, None for no limit. A trial without a validation may exceed it.
        run: trains one trial, in a worker.
    """
    shutil.rmtree(storage, ignore_errors=True)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(trainable, task=task, run=run),
            {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
        ),
        tune_config=tune.TuneConfig(
            num_samples=-1,
            reuse_actors=True,
            search_alg=LedgerSearcher(search),
            scheduler=LedgerScheduler(search),
        ),
        run_config=tune.RunConfig(
            name=task.arm.replace("/", "-"),
            storage_path=str(storage),
            verbose=0,
            callbacks=[LedgerCallback(search)],
            stop=LedgerStopper(search),
        ),
    )
    search.begin(seconds)
    try:
        tuner.fit()
    finally:
        search.close(TIME_BUDGET if search.late else None)
        shutil.rmtree(storage, ignore_errors=True)
