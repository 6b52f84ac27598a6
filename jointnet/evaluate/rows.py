"""Registration and segmentation metrics of a model as a table.

A row holds one metric of one structure in one slice of one patient, before and after registration. A slice counts for a
structure if both label maps contain it before registration and the common field does not cut it; `cut_structure_rows`
lists what the field cuts. A structure that registration moves out of the field of
view is *lost*: its distance is `metrics.LOST_MM`, its overlap is 0, and the column `lost` is True. Lost structures are
never left out.
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from jointnet.evaluate.metrics import (
    LOST_MM,
    dice_by_structure,
    metrics_before,
    overlap_metrics,
    shared_structures_cut,
)
from jointnet.geometry import warp_labels
from jointnet.networks.apply import Prediction, predict
from jointnet.own_code import name_in, named
from jointnet.structures import CLASS_INDEX, STRUCTURES

NOT_MOVED = np.eye(2, 3, dtype=np.float32)


class EvaluatedPatient(Hashable, Protocol):
    """A patient on the common grid with manual labels: what an evaluation reads. Patients must be hashable."""

    @property
    def patient(self) -> str:
        """The patient's name."""
        ...

    @property
    def digest(self) -> str:
        """A hash of all data of the patient."""
        ...

    def images(self) -> NDArray[np.float16]:
        """Return the images (slice, 2, row, column), cine first."""
        ...

    def labels(self) -> NDArray[np.uint8]:
        """Return the class indices (slice, 2, row, column) of `structures.CLASS_INDEX`."""
        ...

    def field(self) -> NDArray[np.bool_]:
        """Return the common field (slice, row, column)."""
        ...


class OwnMetric(Protocol):
    """The user's own metric of one structure in one slice."""

    def __call__(self, fixed: NDArray[np.bool_], moved: NDArray[np.bool_], theta: NDArray[np.float32], /) -> float:
        """Return the value for masks (row, column) on the common grid, cine's and LGE's after registration by theta.

        Before registration `theta` (2, 3) is the identity. A structure that registration moved out of view has an empty
        mask `moved`. NaN leaves the slice out.
        """
        ...


COLUMNS = ("patient", "slice", "structure", "metric", "before", "after", "lost")


def evaluate(
    model: nn.Module | None,
    patients: Sequence[EvaluatedPatient],
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
        (overlap of LGE's label with cine's), `dice_cine` and `dice_lge` (`before` NaN) of what the model segments, and
        the metrics of `settings.training.metrics`.
    """

    def predict_patient(patient: EvaluatedPatient) -> Prediction | None:
        return None if model is None else predict(model, patient.images(), device, precision, patient.field())

    references = () if model is None else model.settings.training.metrics  # type: ignore[union-attr]
    return predicted_rows(patients, predict_patient, {name_in(each): named(each) for each in references})


def predicted_rows(
    patients: Sequence[EvaluatedPatient],
    predict_patient: Callable[[EvaluatedPatient], Prediction | None],
    own_metrics: Mapping[str, OwnMetric] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return the rows of `evaluate` for any prediction; None stands for no registration."""
    rows: list[dict[str, Any]] = []
    for patient in patients:
        labels = np.asarray(patient.labels())
        rows += patient_rows(patient.patient, labels, _before(patient), predict_patient(patient), own_metrics)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def cut_structure_rows(patients: Sequence[EvaluatedPatient]) -> pd.DataFrame:
    """Return `patient slice structure` of all structures in both label maps that are left out: the field cuts them."""
    return pd.DataFrame(
        [(patient.patient, *cut) for patient in patients for cut in _cut(patient)],
        columns=["patient", "slice", "structure"],
    )


@lru_cache(maxsize=1024)
def _before(patient: EvaluatedPatient) -> tuple[dict[tuple[str, str], float], ...]:
    """Return each slice's metrics before registration. They are cached, because every validation needs them."""
    return tuple(metrics_before(np.asarray(patient.labels()), np.asarray(patient.field())))


@lru_cache(maxsize=1024)
def _cut(patient: EvaluatedPatient) -> tuple[tuple[int, str], ...]:
    return tuple(shared_structures_cut(np.asarray(patient.labels()), np.asarray(patient.field())))


def patient_rows(
    patient: str,
    labels: NDArray[np.uint8],
    before_by_slice: Iterable[Mapping[tuple[str, str], float]],
    prediction: Prediction | None,
    own_metrics: Mapping[str, OwnMetric] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Return the evaluation rows of one patient.

    Args:
        patient: the patient's name.
        labels: manual labels (S, 2, H, W), cine first.
        before_by_slice: what `metrics.metrics_before` returns: the metrics before registration of what counts.
        prediction: the predicted registration; None stands for no registration.
        own_metrics: the user's own metrics by name.
    """
    cine, lge = labels[:, 0], labels[:, 1]
    moved = lge if prediction is None else warp_labels(lge, prediction.theta)
    structures = () if prediction is None else prediction.structures
    rows: list[tuple[Any, ...]] = []
    for index, before in enumerate(before_by_slice):
        counted = [name for name in STRUCTURES if ("asd_mm", name) in before]
        if not counted:
            continue
        after = before if prediction is None else overlap_metrics(cine[index], moved[index])
        for (metric, structure), value in before.items():
            lost = math.isnan(after["asd_mm", structure])
            scored = (0.0 if metric == "dice" else LOST_MM) if lost else after[metric, structure]
            rows.append((patient, index, structure, metric, value, scored, lost))
        for name, own in own_metrics.items():
            for structure in counted:
                fixed, before_, after_ = (each[index] == CLASS_INDEX[structure] for each in (cine, lge, moved))
                theta = NOT_MOVED if prediction is None else prediction.theta[index]
                lost = not after_.any()
                values = float(own(fixed, before_, NOT_MOVED)), float(own(fixed, after_, theta))
                rows.append((patient, index, structure, name, *values, lost))
        for name, predicted, truth in _segmentations(prediction, cine, lge):
            overlaps = dice_by_structure(predicted[index], truth[index])
            segmented = [structure for structure in counted if structure in structures]
            rows += [(patient, index, structure, name, math.nan, overlaps[structure], False) for structure in segmented]
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _segmentations(
    prediction: Prediction | None, cine: NDArray[np.uint8], lge: NDArray[np.uint8]
) -> list[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return metric name, predicted labels and manual labels of each image that the model segments."""
    if prediction is None or prediction.cine_labels is None or prediction.lge_labels is None:
        return []
    return [("dice_cine", prediction.cine_labels, cine), ("dice_lge", prediction.lge_labels, lge)]
