"""What a Ray worker runs: one trial, its epochs as reports. Apart from the search so that workers import little."""

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from jointnet.allocator import keep_freed_memory
from study.trials.trial import ArmTask, TrialProgress, TrialSpec, run_trial

REPORT = "report"
"""Key of a report's content; it is a list, which Ray Tune leaves as it is."""

RunTrial = Callable[[TrialSpec, Callable[[TrialProgress], None]], object]
"""Trains one trial and tells of every epoch: `study.trials.trial.run_trial`, or what a benchmark puts in its place."""


def trainable(config: Mapping[str, Any], task: ArmTask, run: RunTrial = run_trial) -> None:
    """Run one trial and report every epoch; Ray Tune takes the next one only when the driver says so."""

    def forward(progress: TrialProgress) -> None:
        tune.report({REPORT: [{"epoch": progress.epoch, "metrics": dict(progress.metrics)}]})

    keep_freed_memory()
    run(TrialSpec(task, str(config["trial_id"]), dict(config["sample"]), config["seed"]), forward)
