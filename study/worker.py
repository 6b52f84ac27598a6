"""What a Ray worker runs: one trial, its epochs as reports. Apart from the search so that workers import little."""

from collections.abc import Mapping
from typing import Any

from ray import tune

from study.trial import ArmTask, TrialProgress, TrialSpec, run_trial


def trainable(config: Mapping[str, Any], task: ArmTask) -> None:
    """Run one trial; every epoch becomes a report, those before the first validation together with the first after."""
    held: list[dict[str, Any]] = []

    def forward(progress: TrialProgress) -> None:
        held.append({"epoch": progress.epoch, "metrics": dict(progress.metrics)})
        if progress.objective is None:  # Optuna and ASHA cannot take a report without an objective
            return
        epochs, held[:] = list(held), []
        tune.report(
            {
                "epoch": progress.epoch,
                "objective": progress.objective,
                "best_epoch": progress.best_epoch,
                "epochs": epochs,
            }
        )

    run_trial(TrialSpec(task, str(tune.get_context().get_trial_id()), dict(config)), forward)
