"""The function that a Ray worker runs for a trial. It is a module of its own, so that workers import little."""

from collections.abc import Callable, Mapping
from typing import Any

from ray import tune

from jointnet.cpu_kernels.allocator import keep_freed_memory
from study.trials.trial import ArmTask, TrialProgress, TrialSpec, run_trial

REPORT = "report"
"""Key of a report's content. The content is a list, which Ray Tune does not flatten."""

RunTrial = Callable[[TrialSpec, Callable[[TrialProgress], None]], object]
"""Function that trains one trial and reports every epoch: `study.trials.trial.run_trial`, or a benchmark's own."""


def trainable(config: Mapping[str, Any], task: ArmTask, run: RunTrial = run_trial) -> None:
    """Run one trial and report every epoch to Ray Tune. The next epoch starts only after the driver's decision."""

    def forward(progress: TrialProgress) -> None:
        tune.report({REPORT: [{"epoch": progress.epoch, "metrics": dict(progress.metrics)}]})

    keep_freed_memory()
    run(TrialSpec(task, str(config["trial_id"]), dict(config["sample"]), config["seed"]), forward)
