"""Selection of the test patients in the pictures: each arm's best, median and worst by the registration ratio."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from jointnet.evaluate.aggregation import registration_ratio
from study.report.records import ArmRecord

RANKING = (
    "Patients are ranked by their own registration ratio, the geometric mean over the five registration metrics of "
    "after / before; of an even number the better of the middle two is the median."
)
FRAMES = ("cine", "lge_before", "lge_after", "cine_labels", "lge_labels_before", "lge_labels_after")


@dataclass(frozen=True)
class Shown:
    """One patient to be drawn.

    Attributes:
        rank: `best`, `median` or `worst`.
        of: the number of ranked patients.
        ratio: the patient's registration ratio.
        slices: the numbers of the stored slices on the common grid.
        lv_cd_mm: by slice, LV CD before and after registration in mm, of the model that is drawn.
        frames: arrays (S, H, W) by the names of `FRAMES`.
        whole: whether `slices` has all tested slices of the patient; older studies stored one slice.
    """

    arm: str
    fold: int
    patient: int
    rank: str
    of: int
    ratio: float
    slices: tuple[int, ...]
    lv_cd_mm: Mapping[int, tuple[float, float]]
    frames: Mapping[str, np.ndarray]
    whole: bool


def shown(records: Sequence[ArmRecord]) -> tuple[Shown, ...]:
    """Return the patients to be drawn from one arm's folds.

    With two patients there is no median, with one only a best. The result is empty where no patient has both stored
    slices and a finite registration ratio.
    """
    ranked = sorted(
        (ratio, record.fold, patient)
        for record in records
        if record.rows is not None and record.overlays
        for patient, ratio in _ratios(record.rows).items()
        if math.isfinite(ratio) and patient in record.overlays["patients"]
    )
    if not ranked:
        return ()
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    if len(ranked) < 3:
        places.pop("median")
    if len(ranked) < 2:
        places.pop("worst")
    of_fold = {record.fold: record for record in records}
    return tuple(_one(of_fold[ranked[at][1]], rank, len(ranked), *ranked[at]) for rank, at in places.items())


def _ratios(rows: pd.DataFrame) -> dict[int, float]:
    return {int(str(patient)): registration_ratio(own) for patient, own in rows.groupby("patient")}


def _one(record: ArmRecord, rank: str, count: int, ratio: float, fold: int, patient: int) -> Shown:
    arrays, rows = record.overlays, record.rows
    assert rows is not None
    at = np.flatnonzero(arrays["patients"] == patient)
    at = at[np.argsort(arrays["slices"][at], kind="stable")]
    numbers = tuple(int(number) for number in arrays["slices"][at])
    own = rows[(rows["patient"] == patient) & (rows["metric"] == "cd_mm") & (rows["structure"] == "lv")]
    if "seed_index" in own:  # the pictures are those of the first seed's model
        own = own[own["seed_index"] == own["seed_index"].min()]
    pairs = zip(own["slice"], own[["before", "after"]].to_numpy(dtype=float), strict=True)
    distances = {int(number): (float(pair[0]), float(pair[1])) for number, pair in pairs}
    return Shown(
        arm=record.arm,
        fold=fold,
        patient=patient,
        rank=rank,
        of=count,
        ratio=ratio,
        slices=numbers,
        lv_cd_mm=distances,
        frames={name: np.asarray(arrays[name])[at] for name in FRAMES},
        whole=set(rows.loc[rows["patient"] == patient, "slice"]) <= set(numbers),
    )
