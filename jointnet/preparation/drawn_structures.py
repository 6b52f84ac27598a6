"""Structures that nobody drew in an image. An unlabelled structure is not background: nothing is known about it."""

import numpy as np
from numpy.typing import NDArray

from jointnet.structures import CLASS_INDEX, STRUCTURES


def drawn_structures(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which structures each image shows in any slice, (2, structures), from class indices (S, 2, H, W).

    The structures are in the order of `structures.STRUCTURES`, cine comes first. A structure that no slice shows counts
    as not drawn: every short-axis stack of a heart shows all three.
    """
    return np.stack([(labels == CLASS_INDEX[name]).any((0, 2, 3)) for name in STRUCTURES], 1)
