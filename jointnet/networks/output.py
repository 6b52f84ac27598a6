"""What a network takes and returns for a batch of slice pairs."""

from typing import NamedTuple, Protocol

from torch import Tensor

from jointnet.alignment.gauss_newton import Fit


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


class Network(Protocol):
    """The interface of a network: a torch module with this call. `python -m jointnet.contract` checks it.

    Before training theta is the identity, and no structure has a probability of half or more. Theta is bounded by the
    limits of `settings.model`, as `jointnet.networks.affine_head` computes it. Slices of a batch have no influence on
    each other. There is no batch normalisation, because the average of the weights has no running statistics.
    """

    def __call__(self, cine: Tensor, lge: Tensor) -> Output:
        """Return the prediction for images (B, N, H, W) of B slice pairs, float32, 0 where nothing was scanned.

        N is 1 + 2 `settings.model.neighbours`, the slice itself in the middle. H and W are the side of the common grid
        (224) over `settings.training.downsampling`.
        """
        ...
