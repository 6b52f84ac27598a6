"""The stand-alone model: a spatial transformer for registration only."""

import torch
from torch import Tensor, nn

from jointnet.common_grid import SIZE_PX
from jointnet.geometry import theta_from_parameters
from jointnet.networks.affine_head import AffineHead, coarsest_px
from jointnet.networks.output import Output
from jointnet.networks.unet import Encoder, initialise
from jointnet.settings import Settings


class StandaloneModel(nn.Module):
    """Localisation network on the concatenated pair of images, then a bounded affine (the paper's section 2.2)."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        model = settings.model
        self.encoder = Encoder(2 * (1 + 2 * model.neighbours), model.widths, model.stem)
        size_px = coarsest_px(model, SIZE_PX // settings.training.downsampling)
        self.head = AffineHead(model.widths[-1:], size_px, model)
        initialise(self)

    def forward(self, cine: Tensor, lge: Tensor) -> Output:
        """Return theta (B, 2, 3) for images (B, N, H, W), where N counts a slice and its neighbours."""
        features = self.encoder(torch.cat([cine, lge], 1))
        return Output(theta_from_parameters(self.head(features[-1:])))
