"""The Python interface: the functions that `import study` offers to read studies into pandas."""

import math
from dataclasses import dataclass

import pandas as pd

from study.report.store.reader import read_study as read_records
from study.report.store.reader import study_ids
from study.report.store.records import StudyRecord
from study.store_address import default_tracking_uri

_ARM_COLUMNS = ["arm", "fold", "method", "model", "train", "validation", "annotated", "test"]
_ARM_COLUMNS += ["trials", "selected", "objective", "openings", "minutes"]
_TRIAL_COLUMNS = ["arm", "fold", "trial", "state", "reason", "objective", "best_epoch", "epochs", "minutes"]
_ROW_COLUMNS = ["arm", "fold", "method", "annotated", "patient", "slice", "structure", "metric"]
_ROW_COLUMNS += ["before", "after", "lost"]


@dataclass(frozen=True)
class StudyTables:
    """A study as tables.

    Attributes:
        study_id: its id.
        arms: one row per arm and fold: `arm`, `fold`; `method`, the arm without its number of training patients;
            `model`; `train`, `validation`, `test`, numbers of patients; `annotated`, training and validation patients;
            `trials`, their number; `selected`, the selected trial (None before the selection), and its validation
            `objective` (NaN before); `openings`, number of test evaluations; `minutes`, NaN while running; and the
            logged test metrics as `test/...`.
        trials: one row per trial: `arm`, `fold`, `trial`; `state` (`complete`, `stopped`, `failed`, `interrupted` or
            `running`) and its `reason`; `objective`, its best value, at `best_epoch` of `epochs` (NaN and 0 without
            one); `minutes`; the sampled parameters by name; and the metrics of the best epoch as `val/...`.
        rows: one row per arm, fold, test patient, slice, structure and metric: `arm`, `fold`, `method`, `annotated`,
            `patient`, `slice`, `structure`, `metric`, the values `before` and `after` registration, in mm for `cd_mm`
            and `asd_mm`, `lost` (whether registration moved the structure out of view), and `seed_index` where the
            selected trial was retrained. Empty before the test evaluation. A registration without annotation, such as
            `descriptors`, has its name as arm and method, and 0 annotated patients.
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
    rows = [
        {
            **{name: getattr(arm, name) for name in _ARM_COLUMNS[:8]},
            "trials": len(arm.trials),
            "selected": arm.selected.trial_id if arm.selected else None,
            "objective": arm.selected.objective if arm.selected else math.nan,
            "openings": arm.openings,
            "minutes": arm.minutes,
            **{name: value for name, value in arm.metrics.items() if name.startswith("test/")},
        }
        for arm in record.arms
    ]
    return pd.DataFrame(rows, columns=None if rows else _ARM_COLUMNS)


def _trials(record: StudyRecord) -> pd.DataFrame:
    rows = [
        {
            "arm": arm.arm,
            "fold": arm.fold,
            "trial": trial.trial_id,
            **{name: getattr(trial, name) for name in _TRIAL_COLUMNS[3:]},
            **trial.parameters,
            **trial.validation,
        }
        for arm in record.arms
        for trial in arm.trials
    ]
    return pd.DataFrame(rows, columns=None if rows else _TRIAL_COLUMNS)


def _rows(record: StudyRecord) -> pd.DataFrame:
    tested = [
        one.rows.assign(arm=one.name, fold=one.fold, method=one.name, annotated=0)
        for own in record.by_baseline.values()
        for one in own
        if one.rows is not None
    ]
    tested += [
        arm.rows.assign(arm=arm.arm, fold=arm.fold, method=arm.method, annotated=arm.annotated)
        for arm in record.arms
        if arm.rows is not None
    ]
    if not tested:
        return pd.DataFrame(columns=_ROW_COLUMNS)
    rows = pd.concat(tested, ignore_index=True)
    return rows[[*_ROW_COLUMNS, *(name for name in rows if name not in _ROW_COLUMNS)]]
