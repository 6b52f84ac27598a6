"""The joint model: U-Nets for cine and LGE, and a registration branch on their features or segmentations."""

import math

import torch
from torch import Tensor, nn

from jointnet.common_grid import SIZE_PX
from jointnet.cpu_kernels.maps import block_means
from jointnet.geometry import theta_from_parameters
from jointnet.networks.affine_head import AffineHead, coarsest_px, transform_limits
from jointnet.networks.apply import Output
from jointnet.networks.gauss_newton import align
from jointnet.networks.mind import mind_descriptors
from jointnet.networks.unet import Decoder, Encoder, initialise
from jointnet.settings import ModelSettings
from jointnet.structures import CLASSES

MODALITIES = 2
"""Cine and LGE."""
REGISTRATION_SCALES = 3
"""Number of encoder scales, from the coarsest, that the fully connected registration head reads."""

GUIDE_PX = 56
"""Side of the probability maps that guide registration: 3 mm pixels. Block means keep sub-pixel positions."""


class JointModel(nn.Module):
    """Network that segments cine and LGE and registers them (the paper's section 2.3).

    The fully connected head reads the encoders' features, so that registration and segmentation share the encoders. In
    training the guided head reads only the predicted segmentations, so that registration shares all weights. The
    setting `sharing` defines which weights the two modalities share.
    """

    limits: Tensor

    def __init__(self, settings: ModelSettings, downsampling: int) -> None:
        super().__init__()
        self.downsampling = downsampling
        self.neighbours = settings.neighbours
        self.settings = settings
        encoders = 2 if settings.sharing == "none" else 1
        decoders = 1 if settings.sharing == "network" else 2
        slices = 1 + 2 * settings.neighbours
        self.encoders = nn.ModuleList(
            Encoder(slices, settings.widths, settings.stem, MODALITIES // encoders) for _ in range(encoders)
        )
        self.decoders = nn.ModuleList(
            Decoder(settings.widths, CLASSES, settings.stem, MODALITIES // decoders) for _ in range(decoders)
        )
        channels = [MODALITIES * width for width in settings.widths[-REGISTRATION_SCALES:]]
        self.head = (
            AffineHead(channels, coarsest_px(settings, SIZE_PX // downsampling), settings)
            if settings.head == "fully_connected"
            else None
        )
        self.register_buffer("limits", transform_limits(settings), persistent=False)
        initialise(self)

    def forward(self, cine: Tensor, lge: Tensor, same_patient: bool = False) -> Output:
        """Return theta (B, 2, 3) and class scores (B, C, H, W) of both images from images (B, N, H, W).

        N is the number of slices seen: a slice and its neighbours. With `same_patient` the batch contains all slices of
        one patient. The guided head then aligns them together and refines the result with MIND descriptors, depending
        on the settings. This is not done in training.
        """
        cine_features, cine_logits = self._segment(cine, 0)
        lge_features, lge_logits = self._segment(lge, 1)
        if self.head is not None:
            pairs = zip(cine_features[-REGISTRATION_SCALES:], lge_features[-REGISTRATION_SCALES:], strict=True)
            theta = theta_from_parameters(self.head([torch.cat(pair, 1) for pair in pairs]))
        else:
            weight, middle = self.settings.guide_descriptors, slice(self.neighbours, self.neighbours + 1)
            descriptors = None
            if same_patient and weight > 0:
                descriptors = (
                    weight * mind_descriptors(cine[:, middle], GUIDE_PX),
                    weight * mind_descriptors(lge[:, middle], GUIDE_PX),
                )
            theta = align(
                guide_map(cine_logits),
                guide_map(lge_logits),
                self.limits,
                self.settings.guide_steps,
                same_patient=same_patient and self.settings.guide_by_patient,
                descriptors=descriptors,
            )
        return Output(theta, cine_logits, lge_logits)

    def _segment(self, image: Tensor, modality: int) -> tuple[list[Tensor], Tensor]:
        """Return features and class scores of an image of modality cine (0) or LGE (1).

        A network shared by both modalities has separate normalisations for each.
        """
        encoders, decoders = len(self.encoders), len(self.decoders)
        features = self.encoders[modality % encoders](image, modality // encoders)
        return features, self.decoders[modality % decoders](features, modality // decoders)


def guide_map(logits: Tensor) -> Tensor:
    """Return the maps (B, structures, h, w) that guide registration, averaged to a side of at most `GUIDE_PX`.

    The value of a pixel with probability p is max(2 p - 1, 0). So uncertain pixels have no influence, and before
    training no pixel has any.
    """
    confident = (2 * logits.float().softmax(1)[:, 1:] - 1).clamp(min=0)
    return block_means(confident, math.ceil(logits.shape[-1] / GUIDE_PX))
