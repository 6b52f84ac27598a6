"""Preparation of one patient: read and check the files, resample to the common grid, normalise intensities."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointnet.errors import DataError
from jointnet.data.exchanged_labels import exchange_errors
from jointnet.data.folder import PatientFiles
from jointnet.data.grid import Stack, common_grid, sample
from jointnet.data.scan_file import read_header, read_voxels
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

PREPARATION_VERSION = 4
"""Increase it whenever the same files would give other arrays or be refused, so that no old cache is read."""

PERCENTILES = (1.0, 99.0)
"""These percentiles of a scan's intensities, in the region that both scans cover, are mapped to 0 and 1."""
SAMPLE = 101
CEILING = 1.5
"""Upper limit of normalised intensities; the lower limit is 0. Brighter fat and coil artefacts are uninformative."""
LARGEST_INTENSITY = 1e30
"""Largest absolute intensity. Differences of larger values may overflow in single precision."""
MOST_SHOWN = 6


def prepare_patient(files: PatientFiles) -> tuple[NDArray[np.float16], NDArray[np.uint8], dict[str, Any]]:
    """Read one patient and resample both scans to the common grid. Without manual segmentations all labels are 0.

    Both images are 0 outside the region that both scans cover. The border of a field of view is not anatomy, and in
    scans that were cropped around a label it would reveal the label.

    Returns:
        Images and labels (`structures.CLASS_INDEX`), both (slice, 2, row, column), and a description of the
        grid that can be written as JSON.

    Raises:
        DataError: with all errors in the patient's files.
    """
    errors: list[str] = []
    cine_image, cine_codes = _pair(files.cine, files.cine_label, errors)
    lge_image, lge_codes = _pair(files.lge, files.lge_label, errors)
    if cine_image is None or cine_codes is None or lge_image is None or lge_codes is None:
        raise DataError(errors)
    cine_stack, lge_stack = cine_image[1], lge_image[1]
    grid = common_grid(cine_stack, lge_stack)
    if grid is None:
        error = f"must overlap {files.cine.name} by a slice at least; in world coordinates the two do not meet"
        raise DataError([*errors, f"{files.lge}: {error}"])
    (cine, cine_label), cine_inside = sample([(cine_image[0], 1), (cine_codes, 0)], cine_stack, grid)
    (lge, lge_label), lge_inside = sample([(lge_image[0], 1), (lge_codes, 0)], lge_stack, grid)
    both = cine_inside & lge_inside
    if not both.any():
        error = f"must overlap {files.cine.name}; no pixel of the common grid lies in both"
        raise DataError([*errors, f"{files.lge}: {error}"])
    images = []
    for path, scan in ((files.cine, cine), (files.lge, lge)):
        low, high = robust_ends(scan[both])
        if not high > low:
            share = PERCENTILES[1] - PERCENTILES[0]
            errors.append(f"{path}: must show something where both scans reach, but {share:g} % of it is {low:g}")
            continue
        with np.errstate(over="ignore"):  # infinite values are clipped to the ceiling
            images.append(np.where(both, np.clip((scan - low) / (high - low), 0, CEILING), 0).astype(np.float16))
    for manual, label in ((files.cine_label, cine_label), (files.lge_label, lge_label)):
        if manual is not None and not label.any():
            errors.append(f"{manual}: must label a structure where both scans reach; every label there is 0")
    if errors:
        raise DataError(errors)
    description = {"affine": grid.affine.tolist(), "slices": grid.slices, "both_fraction": float(both.mean())}
    return np.stack(images, 1), np.stack([cine_label, lge_label], 1), description


def robust_ends(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return `np.percentile(values, PERCENTILES)`, computed a few times faster by sorting the tails only.

    The limits of the tails are estimated from every `SAMPLE`th value. If a tail lacks the values that are needed,
    `np.percentile` is used.
    """
    guess = np.percentile(values[::SAMPLE], (2 * PERCENTILES[0], 2 * PERCENTILES[1] - 100))
    ends = []
    for percentile, tail in zip(PERCENTILES, (values[values <= guess[0]], values[values >= guess[1]]), strict=True):
        place = (len(values) - 1) * percentile / 100
        before = 0 if percentile < 50 else len(values) - len(tail)
        first = math.floor(place) - before
        if first >= 0 and first + 1 < len(tail):
            lower, upper = np.partition(tail, (first, first + 1))[first : first + 2].astype(float)
            ends.append(lower + (upper - lower) * (place % 1))
        else:
            ends.append(float(np.percentile(values, percentile)))
    return ends[0], ends[1]


def voxel_errors(files: PatientFiles, known: Sequence[str]) -> list[str]:
    """Return the errors in the voxels of a patient's files. Files with an error in `known` are skipped."""
    errors: list[str] = []
    for read, paths in ((read_image, (files.cine, files.lge)), (read_label, (files.cine_label, files.lge_label))):
        for path in paths:
            if path is not None and not any(error.startswith(f"{path}:") for error in known):
                read(path, errors)
    return errors


def _read(path: Path, errors: list[str]) -> tuple[NDArray[np.float32], Stack] | None:
    try:
        header = read_header(path)
        return read_voxels(header), Stack(header.affine, header.shape)
    except DataError as error:
        errors += error.errors
        return None


def _pair(
    scan: Path, label: Path | None, errors: list[str]
) -> tuple[tuple[NDArray[np.float32], Stack] | None, NDArray[np.uint8] | None]:
    """Return a scan and its class codes, which are 0 without a segmentation; None for an invalid file."""
    image = read_image(scan, errors)
    if label is not None:
        return image, read_label(label, errors)
    return image, None if image is None else np.zeros_like(image[0], np.uint8)


def read_image(path: Path, errors: list[str]) -> tuple[NDArray[np.float32], Stack] | None:
    """Return intensities (I, J, K) and geometry. If the file is invalid, add its errors to `errors` and return None."""
    read = _read(path, errors)
    if read is None:
        return None
    low, high = float(read[0].min()), float(read[0].max())
    if not (math.isfinite(low) and math.isfinite(high)):
        broken = int((~np.isfinite(read[0])).sum())
        errors.append(f"{path}: must have finite intensities, {broken} voxels are NaN or infinite; repair or remove it")
        return None
    if (largest := max(-low, high)) > LARGEST_INTENSITY:
        errors.append(f"{path}: must have intensities up to {LARGEST_INTENSITY:g} in size, got {largest:g}")
        return None
    return read


def read_label(path: Path, errors: list[str]) -> NDArray[np.uint8] | None:
    """Return a manual segmentation as class codes (I, J, K), or None if the file or a value in it is invalid.

    All errors are added to `errors`. If the values seem to be exchanged, an error is added and the codes are returned
    unchanged.
    """
    read = _read(path, errors)
    if read is None:
        return None
    codes = _codes(read[0])
    if codes is None:
        codes = _rounded_codes(path, read[0], errors)
    if codes is not None:
        errors += exchange_errors(path, codes)
    return codes


def _rounded_codes(path: Path, stored: NDArray[np.float32], errors: list[str]) -> NDArray[np.uint8] | None:
    """Return the class codes of label values up to rounding. If others occur, add an error and return None."""
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        rounded = np.rint(stored)
        in_file = np.where(np.abs(stored - rounded) < 1e-3, rounded, stored)
    codes = _codes(in_file)
    if codes is None:
        unknown = np.unique(in_file[~np.isin(in_file, (0, *LABEL_VALUE.values()))])
        shown = ", ".join(f"{value:g}" for value in unknown[:MOST_SHOWN]) + (", ..." * (len(unknown) > MOST_SHOWN))
        known = ", ".join(f"{value} {name}" for name, value in LABEL_VALUE.items())
        errors.append(f"{path}: must hold the labels 0 background, {known} only, got {shown}")
    return codes


def _codes(in_file: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return the class codes of a file's label values, or None if a value is not a known label."""
    codes = np.zeros_like(in_file, np.uint8)
    known = np.count_nonzero(in_file == 0)
    for name, value in LABEL_VALUE.items():
        labelled = in_file == value
        known += np.count_nonzero(labelled)
        codes += labelled * np.uint8(CLASS_INDEX[name])
    return codes if known == in_file.size else None
