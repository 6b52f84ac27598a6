"""The joint model: U-Nets for cine and LGE, and a registration branch on their features or segmentations."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from jointnet.alignment.gauss_newton import align
from jointnet.alignment.guide_maps import guide_map, segmentation_maps
from jointnet.common_grid import SIZE_PX
from jointnet.geometry import theta_from_parameters
from jointnet.networks.affine_head import AffineHead, coarsest_px, transform_limits
from jointnet.networks.output import Output
from jointnet.networks.unet import Decoder, Encoder, initialise
from jointnet.settings import Settings
from jointnet.structures import CLASS_INDEX, CLASSES, STRUCTURES

MODALITIES = 2
"""Cine and LGE."""
ABSENT = -1e4
"""Score of a structure that the network does not segment. Its probability is exactly 0, also in 16 bits."""
REGISTRATION_SCALES = 3
"""Number of encoder scales, from the coarsest, that the fully connected registration head reads."""


class JointModel(nn.Module):
    """Network that segments cine and LGE and registers them (the paper's section 2.3).

    The fully connected head reads the encoders' features, so that registration and segmentation share the encoders. In
    training the guided head reads only the predicted segmentations, so that registration shares all weights. The
    setting `sharing` defines which weights the two modalities share. Only `structures` are segmented: the decoders have
    no outputs for others.
    """

    limits: Tensor

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        model = settings.model
        encoders = 2 if model.sharing == "none" else 1
        decoders = 1 if model.sharing == "network" else 2
        slices = 1 + 2 * model.neighbours
        self.encoders = nn.ModuleList(
            Encoder(slices, model.widths, model.stem, MODALITIES // encoders) for _ in range(encoders)
        )
        self.decoders = nn.ModuleList(
            Decoder(model.widths, 1 + len(model.structures), model.stem, MODALITIES // decoders)
            for _ in range(decoders)
        )
        channels = [MODALITIES * width for width in model.widths[-REGISTRATION_SCALES:]]
        self.head = (
            AffineHead(channels, coarsest_px(model, SIZE_PX // settings.training.downsampling), model)
            if model.head == "fully_connected"
            else None
        )
        self.register_buffer("limits", transform_limits(model), persistent=False)
        initialise(self)

    def forward(self, cine: Tensor, lge: Tensor) -> Output:
        """Return theta (B, 2, 3) and class scores (B, C, H, W) of both images from images (B, N, H, W).

        N is the number of slices seen: a slice and its neighbours.
        """
        cine_features, cine_logits = self._segment(cine, 0)
        lge_features, lge_logits = self._segment(lge, 1)
        if self.head is not None:
            pairs = zip(cine_features[-REGISTRATION_SCALES:], lge_features[-REGISTRATION_SCALES:], strict=True)
            theta = theta_from_parameters(self.head([torch.cat(pair, 1) for pair in pairs]))
            return Output(theta, cine_logits, lge_logits)
        return guided_output(cine_logits, lge_logits, self.limits, self.settings.model.guide_steps)

    def _segment(self, image: Tensor, modality: int) -> tuple[list[Tensor], Tensor]:
        """Return features and class scores of an image of modality cine (0) or LGE (1).

        A network shared by both modalities has separate normalisations for each.
        """
        encoders, decoders = len(self.encoders), len(self.decoders)
        features = self.encoders[modality % encoders](image, modality // encoders)
        scores = self.decoders[modality % decoders](features, modality // decoders)
        return features, with_absent(scores, self.settings.model.structures)


def guided_output(cine_logits: Tensor, lge_logits: Tensor, limits: Tensor, steps: int) -> Output:
    """Return the output of the guided head: theta aligns the two segmentations.

    Args:
        cine_logits: class scores (B, C, H, W) of cine.
        lge_logits: class scores (B, C, H, W) of LGE.
        limits: what `transform_limits` returns.
        steps: number of Gauss-Newton steps.
    """
    fit = align(segmentation_maps(guide_map(cine_logits), guide_map(lge_logits)), limits, steps)
    return Output(fit.theta, cine_logits, lge_logits, fit)


def with_absent(scores: Tensor, structures: Sequence[str]) -> Tensor:
    """Return the scores of all classes (B, C, H, W) from those of background and of some structures, by class index."""
    if len(structures) == len(STRUCTURES):
        return scores
    absent = torch.full_like(scores[:, :1], ABSENT)
    present = dict(zip([0, *sorted(CLASS_INDEX[name] for name in structures)], scores.split(1, 1), strict=True))
    return torch.cat([present.get(index, absent) for index in range(CLASSES)], 1)  # a list as an index is copied
