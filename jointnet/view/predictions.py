"""Content of the viewer for a folder of predictions: files, screen layout, and a line of text per slice."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.errors import DataError, SettingsError
from jointnet.predict.output_files import (
    CINE,
    CINE_LABELS,
    LGE_LABELS,
    RECORD,
    REGISTERED,
    SHEET,
    SLICES,
    UNREGISTERED,
    UNREGISTERED_LABELS,
)
from jointnet.preparation.grid import Stack, image_axes
from jointnet.preparation.scan_file import volume_shape
from jointnet.structures import STRUCTURE_TITLES

FILES = (CINE, UNREGISTERED, REGISTERED, CINE_LABELS, UNREGISTERED_LABELS, LGE_LABELS, SHEET)
"""Files that the page may request."""
NEEDED = (CINE, UNREGISTERED, REGISTERED, SLICES)
LETTER_FROM = 0.35
"""Smallest component of a direction along a patient axis for the axis' letter to be part of its name."""


@dataclass(frozen=True)
class StoredPrediction:
    """A pair's prediction for the page.

    Attributes:
        folder: the folder of its files.
        files: names of the files that the page may request.
        content: data for the page as plain values.
    """

    folder: Path
    files: frozenset[str]
    content: dict[str, Any]


def find_predictions(folder: Path) -> list[StoredPrediction]:
    """Return the prediction in a folder, or those in its subfolders, sorted by number and name.

    Raises:
        SettingsError: if the folder contains no prediction.
        DataError: with every file that is missing or cannot be read.
    """
    if (folder / RECORD).is_file():
        folders = [folder]
    elif folder.is_dir():
        folders = sorted((path.parent for path in folder.glob(f"*/{RECORD}")), key=_order)
    else:
        raise SettingsError(f"--folder: must be a folder that `jointnet.predict` wrote, got {folder}")
    if not folders:
        raise SettingsError(f"--folder: must contain a {RECORD}, or folders that contain one, got {folder}")
    predictions: list[StoredPrediction] = []
    errors: list[str] = []
    for path in folders:
        absent = [name for name in NEEDED if not (path / name).is_file()]
        if absent:
            errors.append(f"{path}: must contain {', '.join(absent)}; predict again with this version")
            continue
        try:
            predictions.append(read_prediction(path))
        except Exception as error:  # damaged files can raise any exception
            errors.append(f"{path}: must be what `jointnet.predict` wrote: {' '.join(str(error).split())[:160]}")
    if errors:
        raise DataError(errors)
    return predictions


def read_prediction(folder: Path) -> StoredPrediction:
    """Read the prediction in a folder for the page."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    with (folder / SLICES).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    image = nib.load(folder / CINE)
    cine = Stack(np.asarray(image.affine, float), volume_shape(image.shape))
    column, row = image_axes(cine)
    layout = screen_layout(cine)
    files = frozenset(name for name in FILES if (folder / name).is_file())
    content = {
        "name": folder.resolve().name,
        "files": sorted(files),
        "layout": layout.tolist(),
        "field_mm": (abs(layout[:2, :2]) @ np.array(cine.shape[:2])).tolist(),
        "towards": {"left": direction_letters(-column), "top": direction_letters(-row)},
        "covered": [int(number) for number in record["coverage"]["covered"]],
        "slices": [slice_description(line) for line in rows],
        "warnings": [str(warning) for warning in record["warnings"]],
    }
    return StoredPrediction(folder, files, content)


def screen_layout(cine: Stack) -> NDArray[np.float64]:
    """Return the affine (4, 4) from voxels to screen mm: x to the right, y up, z along the slices in the file's order.

    In plane the view has the usual orientation, as on the quality sheet, whatever the file's storage. The origin is the
    centre of the volume.
    """
    column, row = image_axes(cine)
    directions = cine.affine[:3, :2] / cine.spacing_mm[:2]
    layout = np.zeros((4, 4))
    for axis in (0, 1):
        along_column, along_row = directions[:, axis] @ column, directions[:, axis] @ row
        screen_axis, sign = (0, along_column) if abs(along_column) > abs(along_row) else (1, -along_row)
        layout[screen_axis, axis] = np.sign(sign) * cine.spacing_mm[axis]
    layout[2, 2] = cine.spacing_mm[2]
    layout[:3, 3] = -layout[:3, :3] @ ((np.array(cine.shape) - 1) / 2)
    layout[3, 3] = 1
    return layout


def direction_letters(direction: NDArray[np.float64]) -> str:
    """Return the name of a direction (3,) in RAS+ from the patient's sides, e.g. `AR`, the main one first."""
    ends = [pair[int(component > 0)] for pair, component in zip(("LR", "PA", "IS"), direction, strict=True)]
    order = np.argsort(-abs(direction), kind="stable")
    return "".join(ends[axis] for axis in order if abs(direction[axis]) >= LETTER_FROM)


def slice_description(row: dict[str, str]) -> str:
    """Return a one-line description of a row of `quality.csv`."""
    if row["covered"] != "1":
        return "LGE does not cover this cine slice: there is no registration here."
    overlaps = [
        f"{title} {float(row[f'dice_before_{name}']):.2f} > {float(row[f'dice_after_{name}']):.2f}"
        for name, title in STRUCTURE_TITLES.items()
        if row.get(f"dice_before_{name}") and row.get(f"dice_after_{name}")
    ]
    parts = [
        f"LGE slice {row['lge_slice']}, {abs(float(row['lge_offset_mm'])):.1f} mm off",
        f"displaced {float(row['displacement_mm']):.1f} mm",
        *(["Dice of the predicted segmentations " + ", ".join(overlaps)] if overlaps else []),
        *([row["warnings"]] if row["warnings"] else []),
    ]
    return "; ".join(parts)


def _order(path: Path) -> tuple[int, str]:
    digits = "".join(character for character in path.name if character.isdecimal())
    return int(digits or 0), path.name
