"""The two models of the paper, and how one is built from its settings."""

import torch

from jointnet.networks.joint import JointModel
from jointnet.networks.output import Output
from jointnet.networks.standalone import StandaloneModel
from jointnet.settings import Settings

__all__ = ["JointModel", "Output", "StandaloneModel", "build_model"]


def build_model(settings: Settings) -> StandaloneModel | JointModel:
    """Build the model that the settings name, for images of the size that they train on.

    Its weights lie channels last, which makes convolutions faster and changes no result.
    """
    build = StandaloneModel if settings.model.name == "standalone" else JointModel
    model = build(settings.model, settings.training.downsampling)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
