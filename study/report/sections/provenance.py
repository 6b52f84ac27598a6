"""Provenance of a study's numbers, the compute that each arm used, and all runs in the tracking store."""

import math
from collections.abc import Mapping, Sequence

from study.report.analysis import Analysis, trial_endings
from study.report.page import Definitions, Section, Text
from study.report.store.records import ArmRecord, RetrainRecord, StudyRecord, TrialRecord
from study.report.tables import Row, Table, number, number_or_empty, text_frame, text_row
from study.store_address import trials_link, ui_command
from study.store_names import VIEW_TAG


def provenance(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the provenance of the numbers and the cost of each arm."""
    effort = effort_table(study)
    tables = (effort,) if effort.rows else ()
    command = f"python -m study.report --study {study.study_id}"
    verify = f"python -m study.report --verify --study {study.study_id}"
    rebuilt = (
        f"Rebuilt from the tracking store alone with `{command}`; `{verify}` recomputes every number of this page and "
        "of the files beside it."
    )
    return Section(
        "provenance",
        "Provenance",
        (Definitions(tuple(provenance_values(study))), *tables, Text(rebuilt, "note")),
        {table.name: text_frame(table) for table in tables},
    )


def tracking(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the table of all runs, to which numbers link where no tracking server shows the run."""
    ui = f"The MLflow UI: `{ui_command(study.tracking_uri)}`. All trials, best first: `{link_to_trials(study)}`"
    return Section("tracking", "Runs", (Text(ui, "note local", page_only=True), runs_table(study)))


def link_to_trials(study: StudyRecord) -> str:
    """Return the address of the study's trials in the MLflow UI."""
    return trials_link(study.tracking_uri, study.experiment, study.study_id, study.tags.get(VIEW_TAG, ""))


def provenance_values(study: StudyRecord) -> list[tuple[str, str]]:
    """Return the provenance of the numbers as pairs of name and value."""
    tags, arms = study.tags, study.arms
    trials = [trial for arm in arms for trial in arm.trials]
    again = [one for arm in arms for one in arm.retrains]
    seeds = dict.fromkeys(one.seed for one in again)
    openings = ", ".join(f"{_name(arm)} {arm.openings}" for arm in arms)
    reasons = "; ".join(f"{_name(arm)}: {reason}" for arm in arms if (reason := arm.tags.get("test.opening.reasons")))
    tested = sorted({digest for arm in arms if (digest := arm.tags.get("test.fingerprint"))})
    return [
        ("Data", "built-in phantom, synthetic" if tags.get("data.kind") == "phantom" else tags.get("data.kind", "?")),
        ("Data fingerprint, training and validation", tags.get("data.fingerprint", "not recorded")),
        ("Data fingerprint, test", ", ".join(tested) or "not recorded"),
        *((f"Split {name}, SHA-256", digest) for name, digest in _splits(arms).items()),
        ("Test openings by arm", openings or "none"),
        ("Reasons for the openings", reasons or "not recorded"),
        ("Trials", trial_endings(trials) or "none"),
        ("Trial hours", number(hours(trials))),
        *((("Retraining hours", number(hours(again))),) if again else ()),
        ("Seed of the study", tags.get("seed", "not recorded")),
        *((("Seeds of the retrainings", ", ".join(map(str, seeds))),) if again else ()),
        ("Commit", tags.get("git.commit", "not recorded")),
        ("Started", f"{study.started:%Y-%m-%d %H:%M} UTC"),
        ("Minutes from the first run's start to the last end", number(study.minutes, 1)),
        ("Machine of the driver", _tagged(tags, "machine") or "not recorded"),
        ("Nodes", tags.get("nodes", "not recorded")),
        ("Versions", _tagged(tags, "version") or "not recorded"),
        ("Registered models", ", ".join(f"jointnet-{arm}" for arm in dict.fromkeys(arm.arm for arm in arms)) or "none"),
    ]


def effort_table(study: StudyRecord) -> Table:
    """Return the cost of each arm and fold: trials, hours, retrainings and test evaluations."""
    rows = []
    for arm in study.arms:
        words = [
            arm.arm,
            f"{arm.fold} of {arm.folds}",
            f"{len(arm.trials)}",
            trial_endings(arm.trials),
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
    note = "Hours are the summed wall-clock times of the trainings."
    return Table("effort", "Compute time and openings of the sealed test patients.", header, tuple(rows), "Arm", note)


def runs_table(study: StudyRecord) -> Table:
    """Return the table of all runs of the study. Links lead here where no tracking server shows the run."""
    rows = [text_row(["study", "", "", study.run_id, "", "", "", number(study.minutes, 1)], study.run_id)]
    rows = [Row(rows[0].heading, rows[0].cells, rows[0].sources, anchors=(f"run-{study.run_id}",))]
    seen: set[str] = set()
    for name, records in study.by_baseline.items():
        for place, record in enumerate(records):
            group = (f"runs-{name}",) if len(records) > 1 and place == 0 else ()
            words = ["baseline", name, str(record.fold) if record.folds > 1 else "", record.run_id, "", "", "", ""]
            rows.append(text_row(words, record.run_id, anchors=(f"run-{record.run_id}", *group)))
    for arm in study.arms:
        group = () if arm.arm in seen or arm.folds == 1 else (f"runs-{arm.arm}",)
        seen.add(arm.arm)
        fold = str(arm.fold) if arm.folds > 1 else ""
        words = ["arm", arm.arm, fold, arm.run_id, "", "", "", number_or_empty(arm.minutes, 1)]
        rows.append(text_row(words, arm.run_id, anchors=(f"run-{arm.run_id}", *group)))
        rows += [_trial_row(arm, fold, trial) for trial in arm.trials]
        rows += [_retrain_row(arm, fold, again) for again in arm.retrains]
    header = ("Arm", "Fold", "Run id", "Trial", "How it ended", "Objective", "Minutes")
    return Table("runs", "Runs in the tracking store.", header, tuple(rows), "Run", tall=True)


def hours(trainings: Sequence[TrialRecord] | Sequence[RetrainRecord]) -> float:
    """Return the sum of the trainings' wall-clock times in hours. Trainings that have not ended count as 0."""
    return sum(training.minutes for training in trainings if math.isfinite(training.minutes)) / 60


def _trial_row(arm: ArmRecord, fold: str, trial: TrialRecord) -> Row:
    words = ["trial", arm.arm, fold, trial.run_id, trial.trial_id, trial.ending]
    words += [number_or_empty(trial.objective, 4), number_or_empty(trial.minutes, 1)]
    return text_row(words, trial.run_id, anchors=(f"run-{trial.run_id}",))


def _retrain_row(arm: ArmRecord, fold: str, again: RetrainRecord) -> Row:
    words = ["retraining", arm.arm, fold, again.run_id, f"seed {again.seed_index}: {again.seed}", again.state]
    words += [number_or_empty(again.objective, 4), number_or_empty(again.minutes, 1)]
    return text_row(words, again.run_id, anchors=(f"run-{again.run_id}",))


def _splits(arms: tuple[ArmRecord, ...]) -> Mapping[str, str]:
    """Return the hash of every split by its patient counts and fold."""
    digests = {}
    for arm in arms:
        name = f"{arm.train}/{arm.validation}/{arm.test}" + (f", fold {arm.fold}" if arm.folds > 1 else "")
        digests[name] = arm.tags.get("split.sha256", "not recorded")
    return digests


def _tagged(tags: Mapping[str, str], kind: str) -> str:
    return ", ".join(f"{name.partition('.')[2]} {tags[name]}" for name in sorted(tags) if name.startswith(f"{kind}."))


def _name(arm: ArmRecord) -> str:
    return f"{arm.arm} fold {arm.fold}" if arm.folds > 1 else arm.arm
