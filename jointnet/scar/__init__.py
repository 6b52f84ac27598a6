"""Myocardial scar from LGE registered to a segmentation: amount, location, uncertainty, surfaces and figures.

Arrays are stacks (slice, row, column) in the *short-axis view* of the common grid (`jointnet.data.grid`). Slice 0 is
the most apical one. A slice, shown with rows downwards and columns to the right, is seen from the apex, so that the RV
is left of the LV and the anterior wall is at the top. `spacing_mm` is in the same order. Labels are the class indices
of `jointnet.structures`. LGE is NaN outside its field of view, and such myocardium is left out of all measurements.
Functions of an LGE stack or a scar mask also accept batches (..., slice, row, column) over one segmentation.
"""
