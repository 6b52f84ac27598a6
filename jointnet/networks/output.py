"""What a network returns for a batch of slice pairs."""

from typing import NamedTuple

from torch import Tensor

from jointnet.networks.gauss_newton import Fit


class Output(NamedTuple):
    """The feed-forward prediction for a batch of B slice pairs, each from its own images alone.

    Attributes:
        theta: affine (B, 2, 3) from cine to LGE coordinates, see `jointnet.geometry`.
        cine_logits, lge_logits: class scores (B, C, H, W) of each image, or None if the network does not segment.
        fit: the fit of the guided head, from which the stages of `jointnet.networks.registration` continue; None for
            networks that compute theta otherwise.
    """

    theta: Tensor
    cine_logits: Tensor | None = None
    lge_logits: Tensor | None = None
    fit: Fit | None = None
