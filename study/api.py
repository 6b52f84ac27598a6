"""The Python interface: the functions that `import study` offers to read studies into pandas."""

from dataclasses import dataclass

import pandas as pd

from study.report.reader import read_study as read_records
from study.report.reader import study_ids
from study.report.records import StudyRecord
from study.store_address import default_tracking_uri


@dataclass(frozen=True)
class StudyTables:
    """A study as tables.

    Attributes:
        study_id: its id.
        arms: one row per arm and fold: `arm`, `fold`, `model`, numbers of patients, number of trials, the selected
            trial with its objective, test evaluations, and the logged test metrics.
        trials: one row per trial: `arm`, `fold`, `trial`, `state`, `objective`, `best_epoch`, `epochs`, `minutes`, the
            sampled parameters, and the validation metrics of the best epoch.
        rows: one row per arm, fold, test patient, slice, structure and metric, before and after registration. Empty
            before the test evaluation.
    """

    study_id: str
    arms: pd.DataFrame
    trials: pd.DataFrame
    rows: pd.DataFrame


def list_studies(tracking_uri: str | None = None) -> list[str]:
    """Return the ids of the studies in a tracking store, newest first.

    Args:
        tracking_uri: address of the store; `MLFLOW_TRACKING_URI`, else the store in `mlruns/`, if None.

    Raises:
        InputError: if the store does not exist, or holds no study.
    """
    return study_ids(tracking_uri or default_tracking_uri())


def read_study(study_id: str | None = None, tracking_uri: str | None = None) -> StudyTables:
    """Read a study from its tracking store.

    Args:
        study_id: id of the study; the newest if None.
        tracking_uri: address of the store; `MLFLOW_TRACKING_URI`, else the store in `mlruns/`, if None.

    Raises:
        InputError: if the store does not exist, does not hold the study, or lacks one of its files.
    """
    uri = tracking_uri or default_tracking_uri()
    record = read_records(uri, study_id or study_ids(uri)[0])
    return StudyTables(record.study_id, _arms(record), _trials(record), _rows(record))


def _arms(record: StudyRecord) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{name: getattr(arm, name) for name in ("arm", "fold", "model", "train", "validation", "test")},
            "trials": len(arm.trials),
            "selected": arm.selected.trial_id if arm.selected else None,
            "objective": arm.selected.objective if arm.selected else None,
            "openings": arm.openings,
            "minutes": arm.minutes,
            **{name: value for name, value in arm.metrics.items() if name.startswith("test/")},
        }
        for arm in record.arms
    )


def _trials(record: StudyRecord) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": arm.arm,
            "fold": arm.fold,
            "trial": trial.trial_id,
            **{name: getattr(trial, name) for name in ("state", "reason", "objective", "best_epoch", "epochs")},
            "minutes": trial.minutes,
            **trial.parameters,
            **trial.validation,
        }
        for arm in record.arms
        for trial in arm.trials
    )


def _rows(record: StudyRecord) -> pd.DataFrame:
    tested = [arm.rows.assign(arm=arm.arm, fold=arm.fold) for arm in record.arms if arm.rows is not None]
    return pd.concat(tested, ignore_index=True) if tested else pd.DataFrame()
