"""Per-slice test rows from the store: consistency checks between arms, and each patient's means."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from jointnet.errors import InputError
from jointnet.evaluate.aggregation import in_patient_order, named_metrics, patient_means
from jointnet.patient_names import items_in_order

ROW_COLUMNS = ["patient", "slice", "structure", "metric", "before", "after", "lost"]
KEY = ["patient", "slice", "metric", "structure"]
SEED = "seed_index"
"""Column with the index of the retraining that a row comes from. Without it, all rows come from one model."""
UNIT = ["patient", "metric", "structure"]


def per_patient(rows: pd.DataFrame, fold: int = 1) -> pd.DataFrame:
    """Compute the mean of each patient, metric and structure: over slices first, then over seeds.

    Seeds are averaged because the unit of the statistics is the patient. Counting every seed as a unit would inflate
    the number of patients.

    Args:
        rows: test rows of one arm and fold, with or without `seed_index`.
        fold: the outer fold (1-based) of the rows.

    Returns:
        A frame with the columns `patient,fold,metric,structure,before,after,after_seed_sd,slices,lost`. `after_seed_sd`
        is the sample SD (n - 1) over seeds of the patient's mean after registration, NaN with one seed. `slices` is the
        number of slices per seed. `lost` is the number of slices in which the structure was lost, summed over seeds.
    """
    seeds = _by_seed(rows)
    over_seeds = pd.concat({seed: patient_means(part) for seed, part in seeds.items()}).groupby(UNIT)
    groups = rows.groupby(UNIT)
    frame = over_seeds.mean().assign(
        after_seed_sd=over_seeds["after"].std(),
        slices=groups["slice"].size() // len(seeds),
        lost=groups["lost"].sum(),
    )
    return in_patient_order(frame).reset_index().assign(fold=fold)[PATIENT_COLUMNS]


PATIENT_COLUMNS = ["patient", "fold", "metric", "structure", "before", "after", "after_seed_sd", "slices", "lost"]


def _by_seed(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Return the rows of each seed by its index. Without the column `seed_index`, all rows are those of seed 1."""
    if SEED not in rows or rows.empty:
        return {1: rows}
    return {int(seed): rows[rows[SEED] == seed] for seed in sorted(rows[SEED].unique())}


def retrainings(rows: pd.DataFrame) -> int:
    """Return the number of retrainings that the rows come from; 0 where the model that the search chose was tested."""
    return int(rows[SEED].nunique()) if SEED in rows else 0


def over_folds(rows_of: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Compute the per-patient means of all folds of an arm, in one frame with the columns of `per_patient`.

    Args:
        rows_of: the arm's test rows by fold (1-based).

    Raises:
        InputError: where a patient is tested in more than one fold; it names every such patient.
    """
    frames = [per_patient(rows, fold) for fold, rows in sorted(rows_of.items())]
    if not frames:
        return pd.DataFrame(columns=PATIENT_COLUMNS)
    joined = pd.concat(frames, ignore_index=True)
    folds: dict[str, set[int]] = {}
    for patient, fold in zip(joined["patient"], joined["fold"], strict=True):
        folds.setdefault(patient, set()).add(fold)
    if twice := [(patient, where) for patient, where in items_in_order(folds) if len(where) > 1]:
        raise InputError(
            f"patient {patient}: must be tested in one fold, got folds {', '.join(map(str, sorted(where)))}"
            for patient, where in twice
        )
    return joined


def of_metric(frame: pd.DataFrame, metric: str, structure: str) -> pd.DataFrame:
    """Return the rows of one metric of one structure, of any frame with the columns `metric` and `structure`."""
    return frame[((frame["metric"] == metric) & (frame["structure"] == structure)).to_numpy()]


def lost_structures(rows: pd.DataFrame) -> int:
    """Return the number of structures that registration moved out of view, counted per slice and seed."""
    return int(named_metrics(rows, "test")["test/lost"])


def check_rows(rows_of: Mapping[str, pd.DataFrame]) -> None:
    """Check that the test rows of one fold are complete and unique, and have the same values before registration.

    The values before registration must be the same for all seeds and arms, because the scans are the same.

    Args:
        rows_of: test rows by arm, with or without `seed_index`; arms may differ in their seeds.

    Raises:
        InputError: where the rows do not fit together; it names each arm and seed and the first differing value.
    """
    errors: list[str] = []
    reference: tuple[str, pd.Series] | None = None
    for arm, rows in rows_of.items():
        registration = rows[rows["metric"].isin(["cd_mm", "asd_mm", "dice"])]
        if not np.isfinite(registration[["before", "after"]].to_numpy(dtype=float)).all():
            errors.append(f"arm {arm}: its test rows hold a registration value that is not a finite number")
        broken = _broken_keys(arm, rows)
        if broken:
            errors.append(broken)
            continue
        if SEED in rows:
            errors.extend(_seed_errors(arm, rows))
            registration = registration[registration[SEED] == rows[SEED].min()]
        before = _before(registration)
        if reference is None:
            reference = (arm, before)
            continue
        errors.extend(_disagreement(f"arms {reference[0]} and {arm}", reference[1], before))
    if errors:
        raise InputError(errors)


def _broken_keys(arm: str, rows: pd.DataFrame) -> str:
    """Return the error in the columns that identify a row; empty where they are valid."""
    if SEED not in rows:
        if rows.duplicated(KEY).any():
            return f"arm {arm}: its test rows hold the same patient, slice, metric and structure twice"
        return ""
    if rows[SEED].isna().any():
        return f"arm {arm}: {SEED} must be given in every test row, got {int(rows[SEED].isna().sum())} rows without"
    if rows.duplicated([*KEY, SEED]).any():
        return f"arm {arm}: its test rows hold the same patient, slice, metric, structure and {SEED} twice"
    return ""


def _seed_errors(arm: str, rows: pd.DataFrame) -> list[str]:
    """Return the differences between the seeds of one arm in their rows or in the values before registration."""
    values = {seed: _before(part) for seed, part in _by_seed(rows).items()}
    first, *others = values
    return [
        error
        for other in others
        for error in _disagreement(f"arm {arm}, seeds {first} and {other}", values[first], values[other])
    ]


def _before(rows: pd.DataFrame) -> pd.Series:
    """Return the values before registration, indexed by and sorted by `KEY`."""
    return in_patient_order(rows.set_index(KEY)[["before"]].sort_index())["before"]


def _disagreement(who: str, expected: pd.Series, found: pd.Series) -> list[str]:
    """Return the difference between two models' rows or values before registration; empty where there is none."""
    if not expected.index.equals(found.index):
        stray = expected.index.symmetric_difference(found.index)
        return [f"{who}: not tested on the same rows, e.g. {_place(stray[0])}"]
    first, second = expected.to_numpy(dtype=float), found.to_numpy(dtype=float)
    differs = ~np.isclose(first, second, rtol=1e-6, atol=1e-9, equal_nan=True)
    if not differs.any():
        return []
    where = int(np.argmax(differs))
    values = f"{first[where]} against {second[where]}"
    place = _place(expected.index[where])
    return [f"{who}: differ before registration at {place}: {values} ({differs.sum()} rows in all)"]


def _place(key: tuple[object, ...]) -> str:
    """Return the name of a row, such as `patient 3, slice 2, metric cd_mm, structure lv`."""
    return ", ".join(f"{name} {value}" for name, value in zip(KEY, key, strict=True))
