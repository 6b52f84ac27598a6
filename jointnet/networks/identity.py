"""The predictor without a network: every slice's transform is the identity, and the images alone are registered."""

from torch import Tensor, nn

from jointnet.geometry import identity
from jointnet.networks.output import Output
from jointnet.settings import Settings


class IdentityModel(nn.Module):
    """Module without parameters that predicts the identity. Registration is left to the stages that follow."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, cine: Tensor, lge: Tensor) -> Output:
        """Return the identity (B, 2, 3) for images (B, N, H, W)."""
        return Output(identity(len(cine), cine.device))
