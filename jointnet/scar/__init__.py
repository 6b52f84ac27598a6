"""Myocardial scar from LGE registered to a segmentation: amount, location, uncertainty, surfaces and figures.

Arrays are stacks (slice, row, column) in the *short-axis view* of the common grid (`jointnet.preparation.grid`).
Slice 0 is the most apical one. A slice, shown with rows downwards and columns to the right, is seen from the apex, so
that the RV is left of the LV and the anterior wall is at the top. `spacing_mm` is in the same order. Labels are the
class indices of `jointnet.structures`. LGE is NaN outside its field of view, and such myocardium is left out of all
measurements.
Functions of an LGE stack or a scar mask also accept batches (..., slice, row, column) over one segmentation.
"""

import math
from dataclasses import dataclass

from jointnet.errors import SettingsError

METHODS: tuple[str, ...] = ("n-sd", "fwhm")
"""Scar detection by standard deviations above remote myocardium, or by full width at half maximum."""


@dataclass(frozen=True)
class ScarSettings:
    """Settings of the scar detection.

    Attributes:
        method: one of `METHODS`.
        n_sd: number of standard deviations above remote myocardium. With FWHM it defines the hyper-enhanced region.
        smallest_mm2: connected components of scar with a smaller area within a slice are removed as noise; 0 keeps all.
        largest_core_mm2: a hole of at most this area, enclosed by scar or by scar and pool, is microvascular
            obstruction and counted as scar; 0 fills none.

    Raises:
        SettingsError: with all values out of range.
    """

    method: str = "n-sd"
    n_sd: float = 5.0
    smallest_mm2: float = 10.0
    largest_core_mm2: float = 100.0

    def __post_init__(self) -> None:
        errors = []
        if self.method not in METHODS:
            errors.append(f"method: must be one of {', '.join(METHODS)}, got {self.method!r}")
        for name in ("n_sd", "smallest_mm2", "largest_core_mm2"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                errors.append(f"{name}: must be a number of 0 or more, got {value}")
        if errors:
            raise SettingsError(errors)
