"""Alignment of two stacks of maps: the Gauss-Newton fit of an affine transform, and the maps that it compares."""
