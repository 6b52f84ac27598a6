"""The joint model: two U-Nets and a registration branch that reads both encoders' features at several scales."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jointnet.geometry import SIZE_PX, theta_from_motion
from jointnet.networks.affine_head import AffineHead, coarsest_px
from jointnet.networks.guide import align
from jointnet.networks.output import Output
from jointnet.networks.unet import Decoder, Encoder, initialise
from jointnet.settings import ModelSettings
from jointnet.structures import CLASSES

REGISTRATION_SCALES = 3
"""How many of the encoders' scales, from the coarsest, the registration branch reads."""

GUIDE_PX = 56
"""Side of the probability maps that guide registration: 3 mm pixels, whose averages hold sub-pixel positions."""


class JointModel(nn.Module):
    """Segments cine and LGE and registers them (the paper's section 2.3).

    What the branches share: registration reads the features of the encoder or encoders that segmentation trains. With
    `shared_encoder` both modalities also share one encoder, its normalisations apart. With the guided head,
    registration reads the predicted segmentations too, so it shares the decoders as well.
    """

    def __init__(self, settings: ModelSettings, downsampling: int) -> None:
        super().__init__()
        self.downsampling = downsampling
        self.neighbours = settings.neighbours
        self.settings = settings
        modalities = 2 if settings.shared_encoder else 1
        self.encoders = nn.ModuleList(
            Encoder(1 + 2 * settings.neighbours, settings.widths, settings.stem, modalities)
            for _ in range(3 - modalities)
        )
        self.cine_decoder = Decoder(settings.widths, CLASSES, settings.stem)
        self.lge_decoder = Decoder(settings.widths, CLASSES, settings.stem)
        channels = [2 * width for width in settings.widths[-REGISTRATION_SCALES:]]
        self.head = AffineHead(channels, coarsest_px(settings, SIZE_PX // downsampling), settings)
        initialise(self)

    def forward(self, cine: Tensor, lge: Tensor, same_patient: bool = False) -> Output:
        """Give theta (B, 2, 3) and both images' class scores (B, C, H, W) of images (B, N, H, W).

        N counts a slice and its neighbours. With `same_patient` the batch is the slices of one patient, which the
        guided head aligns together.
        """
        shared = self.settings.shared_encoder
        cine_features = self.encoders[0](cine)
        lge_features = self.encoders[0](lge, 1) if shared else self.encoders[1](lge)
        cine_logits, lge_logits = self.cine_decoder(cine_features), self.lge_decoder(lge_features)
        pairs = zip(cine_features[-REGISTRATION_SCALES:], lge_features[-REGISTRATION_SCALES:], strict=True)
        motion = self.head([torch.cat(pair, 1) for pair in pairs])
        if self.settings.head == "guided":
            maps = [guide_map(logits) for logits in (cine_logits, lge_logits)]
            together = same_patient and self.settings.guide_by_patient
            theta = align(maps[0], maps[1], self.head.limits, self.settings.guide_steps, motion, together)
        else:
            theta = theta_from_motion(motion)
        return Output(theta, cine_logits, lge_logits)


def guide_map(logits: Tensor) -> Tensor:
    """Give the maps (B, structures, h, w) that guide registration, averaged to at most `GUIDE_PX` a side.

    A pixel counts as 2 p - 1 where its probability p is above a half, else as nothing: what the network is unsure of
    does not pull, and before training nothing does.
    """
    trusted = (2 * logits.float().softmax(1)[:, 1:] - 1).clamp(min=0)
    return F.avg_pool2d(trusted, max(1, logits.shape[-1] // GUIDE_PX))
