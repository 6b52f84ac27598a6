"""The stand-alone model: a spatial transformer for registration only."""

import torch
from torch import Tensor, nn

from jointnet.common_grid import SIZE_PX
from jointnet.geometry import theta_from_parameters
from jointnet.networks.affine_head import AffineHead, coarsest_px
from jointnet.networks.apply import Output
from jointnet.networks.unet import Encoder, initialise
from jointnet.settings import ModelSettings


class StandaloneModel(nn.Module):
    """Localisation network on the concatenated pair of images, then a bounded affine (the paper's section 2.2)."""

    def __init__(self, settings: ModelSettings, downsampling: int) -> None:
        super().__init__()
        self.downsampling = downsampling
        self.neighbours = settings.neighbours
        self.encoder = Encoder(2 * (1 + 2 * settings.neighbours), settings.widths, settings.stem)
        channels = settings.widths[-1:]
        self.head = AffineHead(channels, coarsest_px(settings, SIZE_PX // downsampling), settings)
        initialise(self)

    def forward(self, cine: Tensor, lge: Tensor, same_patient: bool = False) -> Output:
        """Return theta (B, 2, 3) for images (B, N, H, W), where N counts a slice and its neighbours.

        Each slice is registered separately; `same_patient` has no effect.
        """
        features = self.encoder(torch.cat([cine, lge], 1))
        return Output(theta_from_parameters(self.head(features[-1:])))
