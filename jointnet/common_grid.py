"""The common grid that all scans are resampled to: its spacing and size. This module imports nothing."""

PIXEL_MM = 0.75
"""Side of a pixel in mm."""
SLICE_MM = 5.0
"""Distance between slices in mm."""
SIZE_PX = 224
"""Pixels along either side of a slice."""
HALF_EXTENT_MM = PIXEL_MM * SIZE_PX / 2
"""Half of the field of view in mm: the length of 1 in normalised coordinates."""
