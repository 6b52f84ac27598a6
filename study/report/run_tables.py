"""The page's tables of the search: cost, selected trials, and all runs in the tracking store."""

import math
from collections.abc import Sequence

from jointnet.evaluate.aggregation import registration_ratio
from study.report.findings import endings
from study.report.records import ArmRecord, RetrainRecord, StudyRecord, TrialRecord
from study.report.tables import Row, Table, number, number_or_empty, text_row

_CORE = ("lambda_1", "lambda_2", "lambda_3", "alpha")


def effort(study: StudyRecord) -> Table:
    """Return the cost of each arm and fold: trials, hours, retrainings and test evaluations."""
    rows = []
    for arm in study.arms:
        words = [
            arm.arm,
            f"{arm.fold} of {arm.folds}",
            f"{len(arm.trials)}",
            endings(arm.trials),
            number(hours(arm.trials)),
            ", ".join(str(again.seed) for again in arm.retrains),
            number(hours(arm.retrains)) if arm.retrains else "",
            str(arm.openings),
            arm.tags.get("split.sha256", "not recorded")[:12],
        ]
        rows.append(text_row(words, arm.run_id))
    header = (
        "Fold",
        "Trials",
        "How they ended",
        "Trial hours",
        "Retrained with seeds",
        "Retraining hours",
        "Test openings",
        "Split, SHA-256",
    )
    note = "Hours are the trainings' wall-clock times added up."
    return Table("effort", "Compute and openings of the sealed test patients.", header, tuple(rows), "Arm", note)


def selected(study: StudyRecord) -> Table:
    """Return each arm's selected trial with its sampled parameters and its objective on validation and test."""
    chosen = [(arm, trial) for arm in study.arms if (trial := arm.selected) is not None]
    drawn = {name: None for arm, _ in chosen for name in (arm.selection or {}).get("parameters", {})}
    names = [*_CORE, *(name for name in drawn if name not in _CORE)]
    rows = []
    for arm, trial in chosen:
        values = {**(arm.selection or {}).get("parameters", {}), **trial.parameters}
        ratio = registration_ratio(arm.rows) if arm.rows is not None else math.nan
        objective = (arm.selection or {}).get("objective", math.nan)
        words = [f"{arm.arm}, fold {arm.fold}" if arm.folds > 1 else arm.arm, trial.trial_id, trial.ending]
        words += [str(trial.best_epoch), number_or_empty(float(objective), 3), number_or_empty(ratio, 3)]
        words += [_value(values.get(name)) for name in names]
        rows.append(text_row(words, trial.run_id))
    header = ("Trial", "How it ended", "Epoch", "Objective, validation", "Objective, test", *names)
    return Table("selected", "The selected trials.", header, tuple(rows), "Arm")


def runs(study: StudyRecord) -> Table:
    """Return the table of all runs of the study. Links lead here where no tracking server shows the run."""
    rows = [text_row(["study", "", "", study.run_id, "", "", "", number(study.minutes, 1)], study.run_id)]
    rows = [Row(rows[0].heading, rows[0].cells, rows[0].sources, anchors=(f"run-{study.run_id}",))]
    seen: set[str] = set()
    for arm in study.arms:
        group = () if arm.arm in seen or arm.folds == 1 else (f"runs-{arm.arm}",)
        seen.add(arm.arm)
        fold = str(arm.fold) if arm.folds > 1 else ""
        words = ["arm", arm.arm, fold, arm.run_id, "", "", "", number_or_empty(arm.minutes, 1)]
        rows.append(text_row(words, arm.run_id, anchors=(f"run-{arm.run_id}", *group)))
        rows += [_trial_line(arm, fold, trial) for trial in arm.trials]
        rows += [_retrain_line(arm, fold, again) for again in arm.retrains]
    header = ("Arm", "Fold", "Run id", "Trial", "How it ended", "Objective", "Minutes")
    return Table("runs", "Runs in the tracking store.", header, tuple(rows), "Run")


def hours(trainings: Sequence[TrialRecord] | Sequence[RetrainRecord]) -> float:
    """Return the sum of the trainings' wall-clock times in hours. Trainings that have not ended count as 0."""
    return sum(training.minutes for training in trainings if math.isfinite(training.minutes)) / 60


def _trial_line(arm: ArmRecord, fold: str, trial: TrialRecord) -> Row:
    words = ["trial", arm.arm, fold, trial.run_id, trial.trial_id, trial.ending]
    words += [number_or_empty(trial.objective, 4), number_or_empty(trial.minutes, 1)]
    return text_row(words, trial.run_id, anchors=(f"run-{trial.run_id}",))


def _retrain_line(arm: ArmRecord, fold: str, again: RetrainRecord) -> Row:
    words = ["retraining", arm.arm, fold, again.run_id, f"seed {again.seed_index}: {again.seed}", again.state]
    words += [number_or_empty(again.objective, 4), number_or_empty(again.minutes, 1)]
    return text_row(words, again.run_id, anchors=(f"run-{again.run_id}",))


def _value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
