"""The parts of a U-Net (Ronneberger et al. 2015): an encoder that returns features at every scale, and a decoder."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from jointnet.compute.instance_norm import InstanceNorm
from jointnet.structures import CLASSES

SCORES_SPREAD = 0.1
"""SD of a decoder's scores before training. It is small, so that no class has a probability above 0.5 anywhere."""
SCORES_FACTOR = 10.0
"""Factor of the last convolution's result. Adam changes every weight by about the learning rate per step, so the last
layer learns faster by this factor. With a factor of 1 and small initial scores, training predicts only background for
many steps."""


def initialise(module: nn.Module) -> None:
    """Draw the weights of all convolutions after He et al. (2015), and smaller ones for the decoders' scores.

    The bias of background makes up for the structures that are not segmented, so that every other structure has a
    probability of about 1 / `CLASSES`, however many there are.

    With torch's default, smaller weights, the myocardium had a Dice of 0 after 120 steps on the real crops. With these
    it had 0.7.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    for part in module.modules():
        if isinstance(part, Decoder):
            nn.init.normal_(part.scores.weight, std=SCORES_SPREAD / SCORES_FACTOR / part.scores.in_channels**0.5)
            nn.init.zeros_(part.scores.bias)  # type: ignore[arg-type]
            pixels = part.stem**2
            absent = CLASSES - part.scores.out_channels // pixels
            nn.init.constant_(part.scores.bias[:pixels], math.log(1 + absent) / SCORES_FACTOR)  # type: ignore[index]


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, each followed by an instance normalisation and a ReLU.

    Batch normalisation is not used because batches are small.

    Args:
        incoming: channels of the input.
        outgoing: channels of the output.
        modalities: number of separate normalisations; each call selects one.
    """

    def __init__(self, incoming: int, outgoing: int, modalities: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False)
        self.second = nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False)
        self.first_norms = nn.ModuleList(InstanceNorm(outgoing) for _ in range(modalities))
        self.second_norms = nn.ModuleList(InstanceNorm(outgoing) for _ in range(modalities))

    def forward(self, x: Tensor, modality: int = 0) -> Tensor:
        """Map (B, incoming, H, W) to (B, outgoing, H, W)."""
        x = F.relu(self.first_norms[modality](self.first(x)), inplace=True)
        return F.relu(self.second_norms[modality](self.second(x)), inplace=True)


class Encoder(nn.Module):
    """Encoder of blocks with 2 x 2 average pooling between them.

    Args:
        incoming: number of channels of the image.
        widths: channels of the blocks, finest first.
        stem: side of the block of pixels that is folded into channels before the first block.
        modalities: number of separate normalisations in each block.
    """

    def __init__(self, incoming: int, widths: Sequence[int], stem: int = 1, modalities: int = 1) -> None:
        super().__init__()
        self.stem = stem
        pairs = zip([incoming * stem**2, *widths[:-1]], widths, strict=True)
        self.blocks = nn.ModuleList(ConvBlock(before, after, modalities) for before, after in pairs)

    def forward(self, image: Tensor, modality: int = 0) -> list[Tensor]:
        """Return the features of an image (B, incoming, H, W): one map per width, each half the size of the last."""
        image = F.pixel_unshuffle(image, self.stem)
        features: list[Tensor] = []
        for block in self.blocks:
            features.append(block(F.avg_pool2d(features[-1], 2) if features else image, modality))
        return features


class Decoder(nn.Module):
    """Decoder from an encoder's features to class scores at the image's size. Skip connections add the features.

    Args:
        widths: the encoder's widths.
        classes: number of scores per pixel.
        stem: the encoder's stem.
        modalities: number of separate normalisations in each block.
    """

    def __init__(self, widths: Sequence[int], classes: int, stem: int = 1, modalities: int = 1) -> None:
        super().__init__()
        self.stem = stem
        pairs = list(pairwise(widths))[::-1]
        self.narrow = nn.ModuleList(nn.Conv2d(deep, shallow, 1) for shallow, deep in pairs)
        self.blocks = nn.ModuleList(ConvBlock(shallow, shallow, modalities) for shallow, _ in pairs)
        self.scores = nn.Conv2d(widths[0], classes * stem**2, 1)

    def forward(self, features: Sequence[Tensor], modality: int = 0) -> Tensor:
        """Return class scores (B, classes, H, W)."""
        x = features[-1]
        for skip, narrow, block in zip(features[-2::-1], self.narrow, self.blocks, strict=True):
            upsampled = F.interpolate(narrow(x), size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(skip + upsampled, modality)
        return SCORES_FACTOR * pixels_from_channels(self.scores(x), self.stem)


def pixels_from_channels(maps: Tensor, block: int) -> Tensor:
    """Rearrange maps (B, C block^2, h, w), which have a block of pixels in their channels, to maps (B, C, H, W).

    The result equals `torch.nn.functional.pixel_shuffle`, but is contiguous in channels-first order. The softmax over
    few channels and the comparison with labels, which have the same order, are then faster.
    """
    parts = maps.unflatten(1, (-1, block, block)).permute(0, 1, 4, 2, 5, 3)
    count, channels, height, _, width, _ = parts.shape
    return parts.reshape(count, channels, height * block, width * block).contiguous()
