"""The smallest real studies: the text of their search file, and their trials in this process, without Ray."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask, TrialSpec, run_trial

TINY_SEARCH = """
[fixed]
"model.widths" = [4, 4]
"model.neighbours" = 0
"training.downsampling" = 4
[objective]
metric = "val/registration_ratio"
direction = "minimize"
[parameters.alpha]
low = 0.0
high = 1.0
scale = "linear"
why = "all of it"
[fidelity]
max_epochs = 1
grace_epochs = 1
reduction_factor = 2
[budget]
num_samples = 1
"""


def tiny_search(*models: str, splits: Sequence[str], **more: object) -> str:
    """Return the text of a search file of the smallest networks, with one trial of one epoch for each arm."""
    stated = {"question": "Does it run?", "models": models, "splits": splits, **more}
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in stated.items()) + TINY_SEARCH


def search_in_process(
    task: ArmTask, search: ArmSearch, *rest: Any, disturbed: Callable[[], bool] = lambda: False, **more: Any
) -> None:
    """Run an arm's trials in this process. `disturbed`, called before each, returns True where it ended the trial."""
    try:
        while (trial := search.next_trial("attempt")) is not None:
            if disturbed():
                continue
            spec = TrialSpec(task, trial.trial_id, trial.sample, trial.seed)
            run_trial(spec, lambda told: search.reported("attempt", told.epoch, told.metrics) and None)
            search.returned("attempt")
    finally:
        search.close(None)
