"""Registration and segmentation metrics of a model as a table.

A row holds one metric of one structure in one slice of one patient, before and after registration. A slice counts for a
structure if both label maps contain it before registration. A structure that registration moves out of the field of
view is *lost*: its distance is `metrics.LOST_MM`, its overlap is 0, and the column `lost` is True. Lost structures are
never left out.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from jointnet.data.cache import CachedPatient
from jointnet.evaluate.metrics import LOST_MM, dice_by_structure, overlap_metrics
from jointnet.geometry import warp_labels
from jointnet.networks.apply import Prediction, predict
from jointnet.structures import STRUCTURES

COLUMNS = ("patient", "slice", "structure", "metric", "before", "after", "lost")


def evaluate(
    model: nn.Module | None,
    patients: Sequence[CachedPatient],
    device: str = "cpu",
    precision: torch.dtype = torch.float32,
) -> pd.DataFrame:
    """Evaluate a model and return one row per patient, slice, structure and metric.

    Args:
        model: the model; None stands for no registration, so that `after` equals `before`.
        patients: the patients to evaluate on.
        device: the device the model runs on.
        precision: the type the network computes in.

    Returns:
        Columns `patient slice structure metric before after lost`. `metric` is `cd_mm` (lv, rv), `asd_mm`, `dice`
        (overlap of LGE's label with cine's), and for models that segment `dice_cine` and `dice_lge` (`before` NaN).
    """
    return predicted_rows(
        patients, lambda patient: None if model is None else predict(model, patient.images(), device, precision)
    )


def predicted_rows(
    patients: Sequence[CachedPatient], predict_patient: Callable[[CachedPatient], Prediction | None]
) -> pd.DataFrame:
    """Return the rows of `evaluate` for any prediction; None stands for no registration."""
    rows: list[dict[str, Any]] = []
    for patient in patients:
        labels = np.asarray(patient.labels())
        prediction = predict_patient(patient)
        rows += patient_rows(patient.patient, labels[:, 0], labels[:, 1], prediction, metrics_before(patient))
    return pd.DataFrame(rows, columns=list(COLUMNS))


@lru_cache(maxsize=1024)
def metrics_before(patient: CachedPatient) -> tuple[dict[tuple[str, str], float], ...]:
    """Return each slice's metrics before registration. They are cached, because every validation needs them."""
    labels = np.asarray(patient.labels())
    return tuple(overlap_metrics(cine, lge) for cine, lge in labels)


def patient_rows(
    patient: int,
    cine: NDArray[np.uint8],
    lge: NDArray[np.uint8],
    prediction: Prediction | None,
    before_by_slice: Sequence[dict[tuple[str, str], float]] | None = None,
) -> list[dict[str, Any]]:
    """Return the evaluation rows of one patient.

    Args:
        patient: the patient's number.
        cine: manual labels (S, H, W).
        lge: manual labels (S, H, W).
        prediction: the predicted registration; None stands for no registration.
        before_by_slice: the metrics of each slice before registration, if already computed.
    """
    moved = lge if prediction is None else warp_labels(lge, prediction.theta)
    rows: list[tuple[Any, ...]] = []
    for index in range(len(cine)):
        before = before_by_slice[index] if before_by_slice else overlap_metrics(cine[index], lge[index])
        shared = [name for name in STRUCTURES if not math.isnan(before["asd_mm", name])]  # NaN if either map lacks it
        if not shared:
            continue
        after = before if prediction is None else overlap_metrics(cine[index], moved[index])
        for (metric, structure), value in before.items():
            if structure in shared:
                lost = math.isnan(after["asd_mm", structure])
                scored = (0.0 if metric == "dice" else LOST_MM) if lost else after[metric, structure]
                rows.append((patient, index, structure, metric, value, scored, lost))
        for name, predicted, truth in _segmentations(prediction, cine, lge):
            overlaps = dice_by_structure(predicted[index], truth[index])
            rows += [(patient, index, structure, name, math.nan, overlaps[structure], False) for structure in shared]
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _segmentations(
    prediction: Prediction | None, cine: NDArray[np.uint8], lge: NDArray[np.uint8]
) -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return metric name, predicted labels and manual labels of each image that the model segments."""
    if prediction is None or prediction.cine_labels is None or prediction.lge_labels is None:
        return []
    return [("dice_cine", prediction.cine_labels, cine), ("dice_lge", prediction.lge_labels, lge)]
