"""Scar of the myocardium from LGE registered to a segmentation: amount, place, uncertainty, surfaces and pictures.

Arrays are stacks (slice, row, column) in the *short-axis view* of the common grid (`jointnet.scans.grid`): slice 0 lies
towards the apex, and a slice as shown, rows downwards and columns to the right, is seen from the apex, so that the RV
lies left of the LV and the anterior wall above it. `spacing_mm` is in the same order. Labels are the class codes of
`jointnet.structures`. LGE is NaN where it shows nothing; such myocardium counts in no figure. Functions that take an
LGE stack or a scar mask also take batches of them, (..., slice, row, column), over one segmentation.
"""
