"""The output type of all models."""

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """Prediction for a batch of B slice pairs.

    Attributes:
        theta: affine (B, 2, 3) from cine to LGE coordinates, see `jointnet.geometry`.
        cine_logits, lge_logits: class scores (B, C, H, W) of each image, or None if the model does not segment.
    """

    theta: Tensor
    cine_logits: Tensor | None = None
    lge_logits: Tensor | None = None
