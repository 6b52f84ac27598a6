"""The two models of the paper, and how one is built from its settings."""

from jointnet.networks.joint import JointModel
from jointnet.networks.output import Output
from jointnet.networks.standalone import StandaloneModel
from jointnet.settings import Settings

__all__ = ["JointModel", "Output", "StandaloneModel", "build_model"]


def build_model(settings: Settings) -> StandaloneModel | JointModel:
    """Build the model that the settings name, for images of the size that they train on."""
    build = StandaloneModel if settings.model.name == "standalone" else JointModel
    return build(settings.model, settings.training.downsampling)
