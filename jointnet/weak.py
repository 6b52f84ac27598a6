"""Weak supervision: patients without manual segmentations take part through those that a joint model predicts.

A slice takes part where the model agrees with itself: the LGE segmentation, moved by the predicted affine, must overlap
the cine segmentation. Two segmentations of one heart, made from images that share no contrast, seldom err alike.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from jointnet.faults import SettingsFaultError
from jointnet.geometry import warp_labels
from jointnet.metrics import dice
from jointnet.prediction import predict
from jointnet.scans.cache import CachedPatient
from jointnet.scans.network_arrays import NetworkArrays, class_counts
from jointnet.structures import CODE

LEAST_AGREEMENT = 0.7
"""A slice takes part from this Dice on, the mean over the structures that either segmentation shows."""


@dataclass(frozen=True)
class WeakPatient:
    """A prepared patient whose labels are a model's.

    Attributes:
        prepared: the patient on the common grid; labels that it may have are not used.
        predicted: class codes (S, 2, H, W), cine first; all 0 in slices that take no part.
    """

    prepared: CachedPatient
    predicted: NDArray[np.uint8]

    @property
    def patient(self) -> int:
        """The number in the files' names."""
        return self.prepared.patient

    @property
    def digest(self) -> str:
        """A hash of images and predicted labels."""
        return hashlib.sha256(self.prepared.digest.encode() + self.predicted.tobytes()).hexdigest()

    def images(self) -> NDArray[np.float16]:
        """Give the images (S, 2, H, W), cine first."""
        return self.prepared.images()

    def labels(self) -> NDArray[np.uint8]:
        """Give the predicted class codes (S, 2, H, W)."""
        return self.predicted

    def network_arrays(self, block: int) -> NetworkArrays:
        """Give images and predicted labels at the networks' resolution; of the images all trainings share one copy."""
        return NetworkArrays(self.prepared.network_arrays(block).images, class_counts(self.predicted, block))

    @property
    def slices_taking_part(self) -> int:
        """How many slices passed the gate."""
        return int((self.predicted > 0).any((1, 2, 3)).sum())


def agreement(cine: NDArray[np.uint8], moved: NDArray[np.uint8]) -> float:
    """Give the mean Dice of two label maps (H, W) over the structures that either shows; 0 where neither shows any."""
    overlaps = [
        dice(cine == code, moved == code) for code in CODE.values() if (cine == code).any() or (moved == code).any()
    ]
    return float(np.mean(overlaps)) if overlaps else 0.0


def label_by_model(model: nn.Module, patients: Sequence[CachedPatient], device: str = "cpu") -> list[WeakPatient]:
    """Give patients the labels that a model predicts, slice by slice where it agrees with itself.

    Raises:
        SettingsFaultError: where the model does not segment.
    """
    labelled = []
    for patient in patients:
        prediction = predict(model, patient.images(), device)
        if prediction.cine_labels is None or prediction.lge_labels is None:
            raise SettingsFaultError("--teacher: must be a joint model; a stand-alone one predicts no segmentations")
        moved = warp_labels(prediction.lge_labels, prediction.theta)
        passes = [agreement(*pair) >= LEAST_AGREEMENT for pair in zip(prediction.cine_labels, moved, strict=True)]
        both = np.stack([prediction.cine_labels, prediction.lge_labels], 1)
        labelled.append(WeakPatient(patient, both * np.array(passes, np.uint8)[:, None, None, None]))
    return labelled
