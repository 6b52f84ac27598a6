"""Pseudo-labels: patients without manual segmentations are trained with the segmentations of a joint model.

A slice is used if the model's predictions are consistent: the LGE segmentation, warped by the predicted affine, must
overlap the cine segmentation. Segmentations of the same heart from images of different contrast rarely have the same
errors.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from jointnet.errors import SettingsError
from jointnet.evaluate.metrics import dice
from jointnet.geometry import warp_labels
from jointnet.model_file import SavedModel
from jointnet.models import model_of
from jointnet.networks.apply import predict
from jointnet.patient_names import in_natural_order, names_text, parse_patients
from jointnet.preparation.cache import CachedPatient
from jointnet.preparation.prepared_patient import NetworkArrays, class_counts
from jointnet.structures import CLASS_INDEX, STRUCTURES

LEAST_AGREEMENT = 0.7
"""Smallest mean Dice, over the structures in either segmentation, for a slice to be used."""


@dataclass(frozen=True)
class PseudoLabelledPatient:
    """A prepared patient with pseudo-labels.

    Attributes:
        prepared: the patient on the common grid. Manual labels, if any, are not used.
        predicted: pseudo-labels (S, 2, H, W), cine first, in `structures.CLASS_INDEX`; 0 in slices that are not used.
        structures: the structures that the model segments.
    """

    prepared: CachedPatient
    predicted: NDArray[np.uint8]
    structures: tuple[str, ...]

    @property
    def patient(self) -> str:
        """The patient's name."""
        return self.prepared.patient

    @property
    def digest(self) -> str:
        """A hash of images and pseudo-labels."""
        return hashlib.sha256(
            f"{self.prepared.digest} {self.structures}".encode() + self.predicted.tobytes()
        ).hexdigest()

    def images(self) -> NDArray[np.float16]:
        """Return the images (S, 2, H, W), cine first."""
        return self.prepared.images()

    def labels(self) -> NDArray[np.uint8]:
        """Return the pseudo-labels (S, 2, H, W), cine first."""
        return self.predicted

    def labelled(self) -> NDArray[np.bool_]:
        """Return which structures of `structures.STRUCTURES` have pseudo-labels in each image, (2, structures)."""
        return np.array([[name in self.structures for name in STRUCTURES]] * 2)

    def field(self) -> NDArray[np.bool_]:
        """Return the common field (S, H, W)."""
        return self.prepared.field()

    def network_arrays(self, block: int) -> NetworkArrays:
        """Return images and pseudo-labels at the networks' resolution. All trainings share one copy of the images."""
        return self.prepared.network_arrays(block)._replace(counts=class_counts(self.predicted, block))

    @property
    def labelled_slices(self) -> int:
        """Number of slices with pseudo-labels, those that passed the consistency check."""
        return int((self.predicted > 0).any((1, 2, 3)).sum())


def unlabelled_patients(
    unlabelled: str | None, teacher: Path | None, chosen: Collection[str] | None
) -> tuple[str, ...]:
    """Return the patients of `--unlabelled`; none without it.

    Args:
        unlabelled: the value of `--unlabelled`.
        teacher: the value of `--teacher`.
        chosen: the patients of `--patients`; None without it.

    Raises:
        SettingsError: if it is no list of patients, or contradicts the other options.
    """
    if (unlabelled is None) != (teacher is None):
        raise SettingsError("--unlabelled, --teacher: must be given together, got one of them")
    names = () if unlabelled is None else parse_patients(unlabelled, "--unlabelled")
    if both := in_natural_order(set(chosen or ()) & set(names)):
        raise SettingsError(f"--unlabelled: must be other patients than --patients, got {names_text(both)} in both")
    return names


def seen_patients(teacher: SavedModel) -> list[str]:
    """Return the patients that took part in a teacher's training or validation, or in those of its own teacher."""
    return in_natural_order(name for part in teacher.patients.values() for name in part)


def teacher_errors(teacher: SavedModel, unlabelled: Collection[str]) -> list[str]:
    """Return the reasons why a model cannot create pseudo-labels for some patients."""
    errors = []
    if not model_of(teacher.settings.model.name).segments:
        errors.append(f"--teacher: must be a model that segments, got {teacher.settings.model.name}")
    if overlap := in_natural_order(set(seen_patients(teacher)) & set(unlabelled)):
        rule = "must be patients that --teacher was not trained or validated on"
        errors.append(f"--unlabelled: {rule}, got {names_text(overlap)}")
    return errors


def agreement(cine: NDArray[np.uint8], moved: NDArray[np.uint8]) -> float:
    """Return the mean Dice of two label maps (H, W) over the structures in either map; 0 if both maps are empty."""
    overlaps = [
        dice(cine == index, moved == index)
        for index in CLASS_INDEX.values()
        if (cine == index).any() or (moved == index).any()
    ]
    return float(np.mean(overlaps)) if overlaps else 0.0


def pseudo_label(
    model: nn.Module, patients: Sequence[CachedPatient], device: str = "cpu"
) -> list[PseudoLabelledPatient]:
    """Create pseudo-labels for patients, only in slices in which the model's predictions are consistent.

    Raises:
        SettingsError: if the model does not segment.
    """
    labelled = []
    for patient in patients:
        prediction = predict(model, patient.images(), device, field=patient.field())
        if prediction.cine_labels is None or prediction.lge_labels is None:
            raise SettingsError("--teacher: must be a model that segments, got one without segmentations")
        moved = warp_labels(prediction.lge_labels, prediction.theta)
        passes = [agreement(*pair) >= LEAST_AGREEMENT for pair in zip(prediction.cine_labels, moved, strict=True)]
        both = np.stack([prediction.cine_labels, prediction.lge_labels], 1)
        used = both * np.array(passes, np.uint8)[:, None, None, None]
        labelled.append(PseudoLabelledPatient(patient, used, prediction.structures))
    return labelled
