"""The models, and a function that builds one from its settings."""

import torch
from torch import nn

from jointnet.models import model_of
from jointnet.networks.affine_head import transform_limits
from jointnet.networks.joint import JointModel, guided_output, with_absent
from jointnet.networks.output import Network, Output
from jointnet.networks.standalone import StandaloneModel
from jointnet.settings import Settings

__all__ = [
    "JointModel",
    "Network",
    "Output",
    "StandaloneModel",
    "build_model",
    "guided_output",
    "transform_limits",
    "with_absent",
]


def build_model(settings: Settings) -> nn.Module:
    """Create the model that the settings define, for images of the training size.

    Its weights are in channels-last order, which makes convolutions faster and does not change the results. Its
    attribute `settings` holds the settings.
    """
    model: nn.Module = model_of(settings.model.name).build(settings)
    model.settings = settings  # type: ignore[assignment]
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
