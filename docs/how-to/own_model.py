"""A model of one's own: a small convolutional network segments both images, and the guided head registers them."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from jointnet.models import Model
from jointnet.networks import Output, guided_output, transform_limits, with_absent
from jointnet.settings import Settings


@dataclass(frozen=True)
class Options:
    """The table `[model.options]`. Its fields can be searched as `model.options.width`."""

    width: Annotated[int, Field(ge=1, le=256)] = 16


class SmallNet(nn.Module):
    """Two convolutions with instance normalisation, and class scores that are 0 before training."""

    limits: Tensor

    def __init__(self, settings: Settings, options: Options) -> None:
        super().__init__()
        self.model, width = settings.model, options.width
        self.features = nn.Sequential()
        for channels in (1 + 2 * self.model.neighbours, width):
            self.features.append(nn.Conv2d(channels, width, 5, padding=2, bias=False))
            self.features.append(nn.InstanceNorm2d(width, affine=True)).append(nn.ReLU())
        self.scores = nn.Conv2d(width, 1 + len(self.model.structures), 1)
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)
        self.register_buffer("limits", transform_limits(self.model), persistent=False)

    def segment(self, image: Tensor) -> Tensor:
        """Return the scores (B, classes, H, W) of an image and its neighbours (B, N, H, W)."""
        return with_absent(self.scores(self.features(image)), self.model.structures)

    def forward(self, cine: Tensor, lge: Tensor) -> Output:
        """Return theta and the scores of both images."""
        return guided_output(self.segment(cine), self.segment(lge), self.limits, self.model.guide_steps)


MODEL = Model("small-net", title="Small net", short_title="Small", segments=True, network=SmallNet, options=Options)
