"""Scar drawn by hand in LGE's segmentation, and the error of measured scar against it. Only the error uses it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jointnet.errors import DataError
from jointnet.preparation.grid import Stack
from jointnet.preparation.labels import LabelValues
from jointnet.preparation.prepared_patient import read_label
from jointnet.preparation.scan_file import read_header, read_voxels
from jointnet.scar.measurements import BY_SEGMENT, measure, wall_of
from jointnet.scar.pair import short_axis_view
from jointnet.scar.segments import Array
from jointnet.scar.threshold import Mask

AMOUNTS = ("scar_ml", "scar_percent")


@dataclass(frozen=True)
class ManualScar:
    """Manual scar of a heart.

    Attributes:
        scar: mask (S, H, W) in the short-axis view of its file.
        figures: its measurements within the manual myocardium, as of `measurements.measure`.
    """

    scar: Mask
    figures: dict[str, Array]


def read_manual(path: Path, values: LabelValues) -> ManualScar:
    """Return the scar of a segmentation. A segmentation without scar values is a heart without scar.

    Raises:
        DataError: with all errors of the file.
    """
    errors: list[str] = []
    labels = read_label(path, errors, values)
    if labels is None or errors:
        raise DataError(errors)
    header = read_header(path)
    stack = Stack(header.affine, header.shape)
    view = short_axis_view(stack)
    scar = view.from_file(np.isin(np.rint(read_voxels(header)), values.scar))
    slices, rows, columns = (float(stack.spacing_mm[axis]) for axis in view.axes)
    wall = wall_of(view.from_file(labels), (slices, rows, columns))
    return ManualScar(scar, measure(scar, np.ones(scar.shape, bool), wall))


def errors_against(manual: ManualScar, figures: dict[str, Array], scar: Mask | None) -> dict[str, float]:
    """Return the absolute differences between measured and manual scar; NaN for what is unknown.

    Args:
        manual: the manual scar.
        figures: the measurements of the same heart.
        scar: the measured mask (S, H, W) if it lies on the manual segmentation's grid; without it there is no Dice.

    Returns:
        `scar_ml` and `scar_percent`; for each of `BY_SEGMENT` the mean over the segments known in both, in percentage
        points, under names like `segment_percent`; and `dice` of the masks, which is NaN if both are empty.
    """
    errors = {name: abs(float(figures[name] - manual.figures[name])) for name in AMOUNTS}
    for name in BY_SEGMENT:
        difference = np.abs(figures[name] - manual.figures[name])
        known = difference[np.isfinite(difference)]
        errors[f"segment_{name}"] = float(known.mean()) if len(known) else float("nan")
    both = 0 if scar is None else int(scar.sum() + manual.scar.sum())
    errors["dice"] = float("nan") if scar is None or not both else 2 * int((scar & manual.scar).sum()) / both
    return errors
