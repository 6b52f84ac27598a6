"""What the writer and the readers of the tracking store agree on: experiment, objective, names, ends of trials.

It imports nothing of the project, so that the report can use it without what a search needs.
"""

import re

EXPERIMENT = "jointnet-study"
OBJECTIVE = "val/registration_ratio"
"""The one objective: a trial keeps the model of its best epoch by it, so nothing else can rank what is kept."""
BEST = "best/"
"""Prefix under which a trial's run holds, once it has ended, the metrics of its best epoch: `best/val/dice/lv`."""

SPLIT_TAG = "split.sha256"
SELECTED_TAG = "selected.run.id"
OPENINGS_TAG = "test.openings"
"""Tags that are set once the files that go with them are stored: a study's (`split.sha256.<counts>`), a selection's, a
test's. A file that such a tag promises and that is not there was lost."""

EARLY = "early stopping: worse than the other trials at a rung"
TIME_BUDGET = "time budget: the search's minutes were over"
INTERRUPTED = "the search was interrupted"

_ENDINGS = {"stopped": "stopped early by ASHA", "running": "still running"}


def is_plain_name(name: str) -> bool:
    """Tell whether a study's or an arm's name may be part of a path: one that leads nowhere else."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name) is not None


def ending(state: str, reason: str) -> str:
    """Say in words how a trial ended, from its tags `trial.state` and `trial.reason`.

    The scheduler and the time budget both leave a trial `stopped`, with a model that can be selected; only the first
    judged it.
    """
    if state == "stopped" and reason == TIME_BUDGET:
        return "cut short by the time budget"
    return _ENDINGS.get(state, state)
