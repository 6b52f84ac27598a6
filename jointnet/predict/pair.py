"""Prediction for one pair of scans: prepare, predict, resample to the scans' grids, check. No file is written here."""

import gzip
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.errors import DataError, SettingsError
from jointnet.evaluate.metrics import metrics_before
from jointnet.evaluate.rows import patient_rows
from jointnet.geometry import warp
from jointnet.model_file import SavedModel
from jointnet.models import model_of
from jointnet.networks.apply import predict
from jointnet.predict.back_projection import (
    Registration,
    cine_labels_on_lge,
    displacement_mm,
    labels_on_cine,
    lge_on_cine,
    lge_voxels,
    registration,
)
from jointnet.predict.output_files import (
    CINE,
    CINE_LABELS,
    DISPLACEMENT,
    INVERSE_LABELS,
    LGE_LABELS,
    REGISTERED,
    SHEET,
    SLICES,
    TRANSFORMS,
    UNREGISTERED,
    UNREGISTERED_LABELS,
    as_label_values,
    as_stored,
    intensities,
    itk_displacement,
    itk_transforms,
    nifti_bytes,
    table_bytes,
    transforms_content,
)
from jointnet.predict.quality import SliceQuality, patient_agreement, patient_warnings, quality_sheet, slice_qualities
from jointnet.preparation.grid import CommonGrid, Stack, common_grid, corner_distance_mm
from jointnet.preparation.patient_files import AFFINE_TOLERANCE_MM, PatientFiles, check_headers
from jointnet.preparation.prepared_patient import prepare_patient
from jointnet.preparation.scan_file import volume_shape


@dataclass(frozen=True)
class PairResult:
    """The result of a prediction for a pair of scans.

    Attributes:
        files: content of each output file by its name within the pair's folder.
        registration: the registration of the scans.
        qualities: the quality of every slice of the common grid.
        warnings: warnings for the user.
        rows: the rows of `jointnet.evaluate.rows`; empty without manual segmentations.
        seconds: wall time from opening the scans until all files are encoded.
    """

    files: Mapping[str, bytes]
    registration: Registration
    qualities: tuple[SliceQuality, ...]
    warnings: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    seconds: float

    def image(self, name: str) -> nib.Nifti1Image:
        """Return one of the volumes, such as `lge_registered.nii.gz`.

        Raises:
            KeyError: if there is no such file.
        """
        return nib.Nifti1Image.from_bytes(gzip.decompress(self.files[name]))

    @property
    def summary(self) -> dict[str, Any]:
        """One row of the patient's summary: slices, displacement, predicted agreement, number of warnings."""
        matches = self.registration.cine_matches
        before, after = patient_agreement(self.qualities)
        return {
            "cine_slices": len(matches),
            "covered": sum(match is not None for match in matches),
            "displacement_mm": round(float(np.median([quality.displacement_mm for quality in self.qualities])), 3),
            "dice_before": _rounded(before),
            "dice_after": _rounded(after),
            "warnings": len(self.warnings),
        }


def predict_pair(
    saved: SavedModel,
    files: PatientFiles,
    device: torch.device | str = "cpu",
    inverse: bool = False,
    cine_labels: Path | None = None,
    heart: Sequence[float] | None = None,
) -> PairResult:
    """Register a pair of scans, segment both, and resample all results onto cine's own grid.

    Args:
        saved: the model.
        files: both scans, and both manual segmentations or none.
        device: the device the model runs on.
        inverse: whether to also resample labels of cine onto LGE's own grid.
        cine_labels: file of the labels for `inverse`, on cine's grid; the predicted labels if None.
        heart: a point in cine's heart in world coordinates (RAS+) in mm, for models that do not segment; by default the
            middle of the region that both scans cover.

    Raises:
        DataError: with every error of the files.
        SettingsError: if `inverse` needs labels and the model does not segment, or the heart is out of view.
    """
    began = time.perf_counter()
    name = saved.settings.model.name
    if heart is not None and model_of(name).segments:
        raise SettingsError(f"--heart: must be left out with a model that segments; {name} finds the heart itself")
    if errors := check_headers([files]):
        raise DataError(errors)
    images, labels, field, _ = prepare_patient(files)
    cine, lge = nib.load(files.cine), nib.load(files.lge)
    cine_stack, lge_stack = (
        Stack(np.asarray(scan.affine, float), volume_shape(scan.shape)[:3]) for scan in (cine, lge)
    )
    given = None if cine_labels is None else read_labels(cine_labels, cine_stack)
    grid = common_grid(cine_stack, lge_stack)
    if grid is None:
        raise DataError(f"{files.lge}: must overlap {files.cine.name} by a slice at least")
    heart_mm = None if heart is None else _on_grid(heart, grid)
    prediction = predict(saved.model, images, device, field=field, heart_mm=heart_mm)
    pair = registration(cine_stack, lge_stack, grid, prediction.theta)
    qualities = tuple(slice_qualities(prediction, saved.settings.model.max_translation_mm, heart_mm))
    warnings = tuple(patient_warnings(pair, qualities))

    voxels, inside_lge = lge_voxels(pair)
    still = replace(pair, transforms=np.broadcast_to(np.eye(4), pair.transforms.shape))
    lge_values = intensities(lge)
    written = {
        CINE: nifti_bytes(as_stored(intensities(cine, files.cine_frame), cine), cine),
        UNREGISTERED: nifti_bytes(as_stored(lge_on_cine(lge_values, *lge_voxels(still)), lge), cine),
        REGISTERED: nifti_bytes(as_stored(lge_on_cine(lge_values, voxels, inside_lge), lge), cine),
        DISPLACEMENT: nifti_bytes(itk_displacement(displacement_mm(pair, voxels)), cine),
    }
    on_cine = None
    if prediction.cine_labels is not None and prediction.lge_labels is not None:
        on_cine = as_label_values(labels_on_cine(prediction.cine_labels, pair, moved=False))
        for name, moved in ((UNREGISTERED_LABELS, False), (LGE_LABELS, True)):
            lge_labels = as_label_values(labels_on_cine(prediction.lge_labels, pair, moved))
            written[name] = nifti_bytes(lge_labels, cine)
        written[CINE_LABELS] = nifti_bytes(on_cine, cine)
    if inverse:
        labels_to_invert = given if given is not None else on_cine
        if labels_to_invert is None:
            raise SettingsError("--inverse: must have --cine-labels with a model that does not segment, got none")
        written[INVERSE_LABELS] = nifti_bytes(cine_labels_on_lge(labels_to_invert, pair), lge)
    content = transforms_content(pair, {quality.grid_slice: quality.displacement_mm for quality in qualities})
    written[TRANSFORMS] = _json(content)
    written |= {f"transforms/{name}": text.encode() for name, text in itk_transforms(pair).items()}
    written[SLICES] = _slice_table(pair, qualities, prediction.structures)
    lge_moved = warp(torch.from_numpy(images[:, 1:].astype(np.float32)), torch.from_numpy(prediction.theta))[:, 0]
    written[SHEET] = quality_sheet(pair, images, lge_moved.numpy(), prediction, qualities, warnings)
    labelled = files.cine_label is not None and files.lge_label is not None
    rows = patient_rows(files.patient, labels, metrics_before(labels, field), prediction) if labelled else []
    return PairResult(written, pair, qualities, warnings, tuple(rows), time.perf_counter() - began)


def _on_grid(heart: Sequence[float], grid: CommonGrid) -> tuple[float, float]:
    """Return column and row in mm from the centre of the field of view of a point in world coordinates.

    Raises:
        SettingsError: if the point is outside the field of view.
    """
    column, row, _, _ = np.linalg.inv(grid.frame) @ np.array([*heart, 1.0])
    if not max(abs(column), abs(row)) < HALF_EXTENT_MM:
        raise SettingsError(
            f"--heart: must be a point within {HALF_EXTENT_MM:g} mm of the centre of the region that both scans cover, "
            f"along columns and rows, got one at {column:.0f} and {row:.0f} mm"
        )
    return float(column), float(row)


def read_labels(path: Path, stack: Stack) -> NDArray[np.int16]:
    """Read integer labels on a scan's own grid.

    Raises:
        DataError: if the values are not labels, or the grid differs.
    """
    try:
        image = nib.load(path)
        shape, affine = volume_shape(image.shape), np.asarray(image.affine, float)
        data = np.asarray(image.dataobj, dtype=np.float64) if shape == stack.shape else None
    except Exception as error:  # nibabel's parsers can raise any exception; each means an unreadable file
        raise DataError(f"{path}: must be a readable NIfTI file: {' '.join(str(error).split())[:160]}") from None
    if data is None:
        raise DataError(f"{path}: must have cine's grid, {stack.shape} voxels, got {shape}")
    if (distance := corner_distance_mm(shape, affine, stack.affine)) > AFFINE_TOLERANCE_MM:
        raise DataError(f"{path}: must have cine's grid; a corner of it lies {distance:.2f} mm off")
    values = np.rint(data)
    if not np.isfinite(data).all() or abs(data - values).max() > 1e-3 or abs(values).max() > np.iinfo(np.int16).max:
        raise DataError(f"{path}: must contain labels as whole numbers of 16 bits, got other values")
    return values.reshape(shape).astype(np.int16)


def _slice_table(pair: Registration, qualities: tuple[SliceQuality, ...], structures: Sequence[str]) -> bytes:
    """Return the quality of every cine slice as CSV."""
    rows = []
    for number, match in enumerate(pair.cine_matches):
        row: dict[str, Any] = {"cine_slice": number, "covered": int(match is not None)}
        if match is not None:
            quality = qualities[match.grid_slice]
            row |= {
                "lge_slice": match.other_slice,
                "lge_offset_mm": _rounded(match.offset_mm),
                "displacement_mm": _rounded(quality.displacement_mm),
                "warnings": "; ".join(quality.warnings),
            }
            for name, before in quality.dice_before.items():
                row |= {
                    f"dice_before_{name}": _rounded(before),
                    f"dice_after_{name}": _rounded(quality.dice_after[name]),
                }
        rows.append(row)
    measured = [f"dice_{when}_{name}" for name in structures for when in ("before", "after")]
    columns = ["cine_slice", "covered", "lge_slice", "lge_offset_mm", "displacement_mm", *measured, "warnings"]
    return table_bytes(rows, columns)


def _rounded(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, 4)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
