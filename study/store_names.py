"""Names shared by the writer and the readers of the tracking store: experiment, tags, ends of trials.

This module imports nothing of the project, so the report can use it without the packages that a search needs.
"""

import re
from collections.abc import Mapping

EXPERIMENT = "jointnet-study"
BEST = "val_best/"
"""Prefix of the validation metrics of the best epoch in the run of an ended trial, such as `val_best/dice/lv`, and
of the selected trial in the run of its arm. The MLflow UI sorts charts by name: these values follow the curves."""
OLDER_BEST = "best/val/"
"""The same prefix in stores of older versions."""

WINNER_TAG = "winner"
"""Tag of the run of an arm's selected trial (the arm's name), and of the arm's run (the trial and its parameters)."""
PARETO_TAG = "pareto"
"""Tag of the runs of an arm's trials on the Pareto front of an objective of several metrics: `front`."""
VIEW_TAG = "ui.view"
"""Tag of the study's run: the key of the MLflow UI's shared view of its trials."""
SPLIT_TAG = "split.sha256"
SELECTED_TAG = "selected.run.id"
OPENINGS_TAG = "test.openings"
"""Tags that are set after the files that belong to them are stored: the split of a study (`split.sha256.<counts>`), a
selection, a test evaluation. Where a tag is set and its file is missing, the file was lost."""

REMARKS_TAG = "plan.remarks"
"""Tag of a study with the plan's remarks about its patients and splits, one per line."""
UNLABELLED_PATIENTS, PSEUDO_LABELLED_SLICES = "data.unlabelled", "data.pseudo_labelled_slices"
TEACHER_SHA256, TEACHER_PATIENTS = "teacher.sha256", "teacher.patients"
"""Tags of the runs of a study with patients without labels: their number, the slices with pseudo-labels, and of the
teacher the digest of its file and the number of patients that it was trained and validated on."""

DESCRIPTORS, SIMPLEITK = "descriptors", "simpleitk"
BASELINES = {DESCRIPTORS: "Descriptors", SIMPLEITK: "SimpleITK, mutual information"}
"""Registration without annotation that a study evaluates beside its arms: the tag `baseline` of a run, and the title
in the report."""

TITLE_TAG, SHORT_TITLE_TAG = "model.title", "model.short_title"
"""Tags of an arm whose model is the user's own: its titles in tables and figures."""
EARLY = "early stopping: worse than the other trials at a rung"
TIME_BUDGET = "time budget: the search's minutes were over"
INTERRUPTED = "the search was interrupted"

_ENDINGS = {"stopped": "stopped early", "running": "still running"}
_OUT_OF_TIME = "stopped by the time budget"


def best_name(metric: str) -> str:
    """Return the name of the best epoch's value of a validation metric, such as `val/dice/lv`."""
    return BEST + metric.removeprefix("val/")


def best_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a run's metrics of the best epoch under their own names, such as `val/dice/lv`."""
    return {
        f"val/{name.removeprefix(prefix)}": value
        for prefix in (OLDER_BEST, BEST)
        for name, value in metrics.items()
        if name.startswith(prefix)
    }


def is_plain_name(name: str) -> bool:
    """Return whether the name of a study or an arm is safe as part of a path: it cannot lead to another folder."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name) is not None


def ending(state: str, reason: str) -> str:
    """Return a text about how a trial ended, from its tags `trial.state` and `trial.reason`.

    A pruned trial and one that the time budget stopped are both `stopped`, with a model that can be selected. The
    reason distinguishes them.
    """
    return _OUT_OF_TIME if state == "stopped" and reason == TIME_BUDGET else _ENDINGS.get(state, state)


def current_remark(remark: str) -> str:
    """Return a remark of a stored selection with today's texts of `ending`. Older ones say `cut short` in one place."""
    return remark.replace("cut short by the time budget", _OUT_OF_TIME)
