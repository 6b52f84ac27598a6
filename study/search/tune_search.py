"""One round of trainings: Ray Tune runs what `study.search.arm_search` decides on, until none is left."""

import shutil
from pathlib import Path

from ray import tune

from study.planning.plan import Resources
from study.search.arm_search import ArmSearch
from study.search.tune_bridge import LedgerCallback, LedgerScheduler, LedgerSearcher, LedgerStopper
from study.store_layout import TIME_BUDGET
from study.trials.trial import ArmTask, run_trial
from study.trials.worker import RunTrial, trainable


def search_arm(
    task: ArmTask,
    search: ArmSearch,
    resources: Resources,
    storage: Path,
    seconds: float | None,
    run: RunTrial = run_trial,
) -> None:
    """Run the trials of one arm, or its retrainings; the ledger holds what became of them.

    Args:
        task: what the trials share.
        search: decides, and records what happens.
        resources: of a trial.
        storage: absolute folder of what Ray Tune writes for itself; it is removed afterwards.
        seconds: time budget, which a trial that was never validated may exceed; None for no limit.
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
