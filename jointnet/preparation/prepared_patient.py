"""Preparation of one patient: read and check the files, resample to the common grid, normalise intensities.

The arrays at a network's resolution are computed from a prepared patient: over blocks of pixels, images are averaged,
and pixels of labels and of the common field are counted.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from jointnet.compute.maps import block_means
from jointnet.errors import DataError
from jointnet.preparation.grid import Stack, common_grid, sample
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues, class_indices
from jointnet.preparation.patient_files import PatientFiles, ScanFiles
from jointnet.preparation.scan_file import read_header, read_voxels
from jointnet.structures import CLASS_INDEX, CLASSES

PREPARATION_VERSION = 5
"""Increase it whenever the same files would give other arrays or be refused, so that no old cache is read."""
NETWORK_ARRAYS_VERSION = 2
"""Increase it whenever the arrays of the same patient would change, so that no old arrays are read."""

PERCENTILES = (1.0, 99.0)
"""These percentiles of a scan's intensities, in the region that both scans cover, are mapped to 0 and 1."""
SAMPLE = 101
CEILING = 1.5
"""Upper limit of normalised intensities; the lower limit is 0. Brighter fat and coil artefacts are uninformative."""
LARGEST_INTENSITY = 1e30
"""Largest absolute intensity. Differences of larger values may overflow in single precision."""


class PreparedPatient(NamedTuple):
    """One patient on the common grid.

    Attributes:
        images: normalised intensities (slice, 2, row, column), cine first; 0 outside the common field.
        labels: class indices (slice, 2, row, column) of `structures.CLASS_INDEX`, also outside the common field.
        field: the common field (slice, row, column): True where both scans cover the pixel.
        description: the grid, as values that can be written as JSON.
    """

    images: NDArray[np.float16]
    labels: NDArray[np.uint8]
    field: NDArray[np.bool_]
    description: dict[str, Any]


def prepare_patient(files: PatientFiles) -> PreparedPatient:
    """Read one patient and resample both scans to the common grid. Without manual segmentations all labels are 0.

    Both images are 0 outside the common field, the region that both scans cover. The border of a field of view is not
    anatomy, and in scans that were cropped around a label it would reveal the label.

    Raises:
        DataError: with all errors in the patient's files.
    """
    errors: list[str] = []
    (cine_image, cine_labels), (lge_image, lge_labels) = (_pair(scan, errors) for scan in files.scans)
    if cine_image is None or cine_labels is None or lge_image is None or lge_labels is None:
        raise DataError(errors)
    cine_stack, lge_stack = cine_image[1], lge_image[1]
    grid = common_grid(cine_stack, lge_stack)
    if grid is None:
        error = f"must overlap {files.cine.name} by a slice at least; in world coordinates the two do not meet"
        raise DataError([*errors, f"{files.lge}: {error}"])
    (cine, cine_sampled), cine_inside = sample([(cine_image[0], 1), (cine_labels, 0)], cine_stack, grid)
    (lge, lge_sampled), lge_inside = sample([(lge_image[0], 1), (lge_labels, 0)], lge_stack, grid)
    both = cine_inside & lge_inside
    if not both.any():
        error = f"must overlap {files.cine.name}; no pixel of the common grid lies in both"
        raise DataError([*errors, f"{files.lge}: {error}"])
    images = []
    for path, scan in ((files.cine, cine), (files.lge, lge)):
        low, high = robust_ends(scan[both])
        if not high > low:
            share = PERCENTILES[1] - PERCENTILES[0]
            errors.append(
                f"{path}: must have contrast in the region that both scans cover, but {share:g} % of it is {low:g}"
            )
            continue
        with np.errstate(over="ignore"):  # infinite values are clipped to the ceiling
            images.append(np.where(both, np.clip((scan - low) / (high - low), 0, CEILING), 0).astype(np.float16))
    for manual, label in ((files.cine_label, cine_sampled), (files.lge_label, lge_sampled)):
        if manual is not None and not label.any():
            errors.append(
                f"{manual}: must label a structure in the region that both scans cover; every label there is 0"
            )
    if errors:
        raise DataError(errors)
    description = {"affine": grid.affine.tolist(), "slices": grid.slices, "both_fraction": float(both.mean())}
    return PreparedPatient(np.stack(images, 1), np.stack([cine_sampled, lge_sampled], 1), both, description)


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


def voxel_errors(files: PatientFiles, known_errors: Sequence[str]) -> list[str]:
    """Return the errors in the voxels of a patient's files. Files with an error in `known_errors` are skipped."""
    errors: list[str] = []

    def sound(path: Path | None) -> bool:
        return path is not None and not any(error.startswith(f"{path}:") for error in known_errors)

    for scan in files.scans:
        if sound(scan.image):
            read_image(scan.image, errors, scan.frame)
    for scan in files.scans:
        if scan.label is not None and sound(scan.label):
            read_label(scan.label, errors, scan.values, scan.frame)
    return errors


def _read(
    path: Path, errors: list[str], frame: int | None, label: bool = False
) -> tuple[NDArray[np.float32], Stack] | None:
    try:
        header = read_header(path, frame, label)
        return read_voxels(header), Stack(header.affine, header.shape)
    except DataError as error:
        errors += error.errors
        return None


def _pair(
    scan: ScanFiles, errors: list[str]
) -> tuple[tuple[NDArray[np.float32], Stack] | None, NDArray[np.uint8] | None]:
    """Return a scan and its class indices, None for an invalid file.

    The class index is 0 without a segmentation, and where a structure is shown that counts as not drawn.
    """
    image = read_image(scan.image, errors, scan.frame)
    if scan.label is None:
        return image, None if image is None else np.zeros_like(image[0], np.uint8)
    labels = read_label(scan.label, errors, scan.values, scan.frame)
    if labels is not None and scan.undrawn:
        labels[np.isin(labels, [CLASS_INDEX[name] for name in scan.undrawn])] = 0
    return image, labels


def read_image(path: Path, errors: list[str], frame: int | None = None) -> tuple[NDArray[np.float32], Stack] | None:
    """Return intensities (I, J, K) and geometry. If the file is invalid, add its errors to `errors` and return None.

    Args:
        path: the file.
        errors: the errors found are added.
        frame: the frame of a 4D file, counted from 0; see `read_header`.
    """
    read = _read(path, errors, frame)
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


def read_label(
    path: Path, errors: list[str], values: LabelValues = CHALLENGE_VALUES, frame: int | None = None
) -> NDArray[np.uint8] | None:
    """Return a manual segmentation as class indices (I, J, K), or None if the file or a value in it is invalid.

    All errors are added to `errors`. If the values seem to be exchanged, an error is added and the labels are returned
    unchanged.
    """
    read = _read(path, errors, frame, label=True)
    return None if read is None else class_indices(path, read[0], errors, values)


class NetworkArrays(NamedTuple):
    """The arrays of a patient that a network reads, in h x w blocks of pixels. They are shared; never modify them.

    Attributes:
        images: block averages (S, 2, h, w), cine first.
        counts: number of pixels of each structure in each block (S, 2, structures, h, w).
        field: blocks that lie in the common field with all their pixels (S, h, w).
    """

    images: NDArray[np.float16]
    counts: NDArray[np.uint8]
    field: NDArray[np.bool_]


def class_counts(labels: NDArray[np.uint8], block: int) -> NDArray[np.uint8]:
    """Count each structure's pixels per block: class indices (S, 2, H, W) to counts (S, 2, structures, h, w)."""
    slices, images, height, width = labels.shape
    counts = np.zeros((slices, images, CLASSES - 1, height // block, width // block), np.uint8)
    for index in range(1, CLASSES):
        of_class = labels == index
        for row in range(block):
            for column in range(block):
                counts[:, :, index - 1] += of_class[:, :, row::block, column::block]
    return counts


def whole_blocks(field: NDArray[np.bool_], block: int) -> NDArray[np.bool_]:
    """Return which blocks (S, h, w) lie in a field (S, H, W) with all their pixels."""
    slices, height, width = field.shape
    return np.asarray(field.reshape(slices, height // block, block, width // block, block).all((2, 4)))


def network_arrays(
    images: NDArray[np.float16], labels: NDArray[np.uint8], field: NDArray[np.bool_], block: int
) -> NetworkArrays:
    """Return the arrays of a prepared patient in blocks of `block` x `block` pixels.

    Images are averaged in single precision and returned in half precision, like the full images. The relative error is
    at most 2^-11, and at most 0.0005 for tissue intensities between 0 and 1. Counts are exact.

    Args:
        images: full images (S, 2, H, W), cine first.
        labels: class indices (S, 2, H, W).
        field: the common field (S, H, W).
        block: side of a block in pixels. It divides the size of the common grid.
    """
    means = images
    if block > 1:
        means = block_means(torch.from_numpy(np.array(images, np.float32)), block).to(torch.float16).numpy()
    return NetworkArrays(means, class_counts(np.asarray(labels), block), whole_blocks(np.asarray(field), block))
