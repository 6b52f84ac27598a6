"""The two models of the paper, and a function that builds one from its settings."""

import torch

from jointnet.models import MODELS
from jointnet.networks.apply import Output
from jointnet.networks.joint import JointModel
from jointnet.networks.standalone import StandaloneModel
from jointnet.settings import Settings

__all__ = ["JointModel", "Output", "StandaloneModel", "build_model"]


def build_model(settings: Settings) -> StandaloneModel | JointModel:
    """Create the model that the settings define, for images of the training size.

    Its weights are in channels-last order, which makes convolutions faster and does not change the results.
    """
    build = MODELS[settings.model.name].network_class()
    model: StandaloneModel | JointModel = build(settings.model, settings.training.downsampling)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
