"""Which structures of a prepared patient count in losses and metrics: those that are drawn, and not cut.

An unlabelled structure is not background: nothing is known about it.

Outside the common field both images are 0, but a manual segmentation may go on there. A structure that reaches the edge
of the common field in a slice, in either image, cannot be seen whole. It takes part neither in the registration loss of
the slice nor in the slice's metrics.
"""

import numpy as np
from numpy.typing import NDArray

from jointnet.structures import CLASS_INDEX, STRUCTURES


def drawn_structures(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which structures each image shows in any slice, (2, structures), from class indices (S, 2, H, W).

    The structures are in the order of `structures.STRUCTURES`, cine comes first. A structure that no slice shows counts
    as not drawn: every short-axis stack of a heart shows all three.
    """
    return np.stack([(labels == CLASS_INDEX[name]).any((0, 2, 3)) for name in STRUCTURES], 1)


def cut_structures(labels: NDArray[np.uint8], field: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which structures of `structures.STRUCTURES` the common field cuts in each slice, (S, structures).

    A structure is cut if one of its pixels in either label map lies outside the field or beside a pixel outside, also
    diagonally. What lies beyond the edge of the image is outside.

    Args:
        labels: class indices (S, 2, H, W).
        field: the common field (S, H, W).
    """
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)))
    by_row = padded[:, :-2] & padded[:, 1:-1] & padded[:, 2:]
    inner = by_row[:, :, :-2] & by_row[:, :, 1:-1] & by_row[:, :, 2:]
    at_edge = labels * ~inner[:, None]
    return np.stack([(at_edge == CLASS_INDEX[name]).any((1, 2, 3)) for name in STRUCTURES], 1)


def left_out_text(structures: int, patients: int) -> str:
    """Return the sentence about the structures that are left out because the common field cuts them."""
    one_structure, one_patient = structures == 1, patients == 1
    return (
        f"left out: {structures} structure{'' if one_structure else 's'} of {patients} "
        f"patient{'' if one_patient else 's'} that the common field cuts"
    )
