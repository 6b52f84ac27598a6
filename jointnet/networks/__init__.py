"""The models, and a function that builds one from its settings."""

import torch
from torch import nn

from jointnet.models import MODELS
from jointnet.networks.joint import JointModel
from jointnet.networks.output import Output
from jointnet.networks.standalone import StandaloneModel
from jointnet.settings import Settings

__all__ = ["JointModel", "Output", "StandaloneModel", "build_model"]


def build_model(settings: Settings) -> nn.Module:
    """Create the model that the settings define, for images of the training size.

    Its weights are in channels-last order, which makes convolutions faster and does not change the results.
    """
    model: nn.Module = MODELS[settings.model.name].network_class()(settings)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
