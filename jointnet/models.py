"""The models: their names, what each computes, the class that builds it, and what a training costs.

A new model is one entry of `MODELS` and its class. This module does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from jointnet.errors import SettingsError


@dataclass(frozen=True)
class Model:
    """The properties of a model that are needed without building it.

    Attributes:
        title: name in Table 1 of the report.
        short_title: name in figures.
        segments: whether it also segments cine and LGE. Its loss then has three branches and weights to search,
            otherwise the registration branch only.
        network: module and class, `module:class`. The class is called with the settings.
        trained: whether it has a network that is trained.
        without_effect: numeric settings that may have no effect on the model, with the values of other settings with
            which they have none; always, if no values are given. Then they may not be searched.
        seconds_per_patient_epoch: seconds per epoch and training patient on one CPU core, measured on the phantom with
            the settings `quick`; None where it was not measured. Accurate to a factor of two.
    """

    title: str
    short_title: str
    segments: bool
    network: str
    trained: bool = True
    without_effect: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seconds_per_patient_epoch: float | None = None

    def network_class(self) -> type[Any]:
        """Return the class of the network. It imports torch."""
        module, _, name = self.network.partition(":")
        return getattr(import_module(module), name)

    def has_setting(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Return whether a numeric setting has an effect on the model with the values of all settings by dotted key."""
        none_with = self.without_effect.get(name)
        return none_with is None or any(settings[key] != value for key, value in none_with.items())


UNREFINED = MappingProxyType({"registration.refinement": "none"})
ONLY_REFINED = MappingProxyType(dict.fromkeys(("registration.descriptor_weight", "model.guide_steps"), UNREFINED))
"""Settings of the refinement, which have an effect on a network's prediction only with it."""
LIMITS = ("model.max_rotation_deg", "model.max_scale", "model.max_shear", "model.max_translation_mm")


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "descriptors": Model(
            title="MIND descriptors",
            short_title="Descriptors",
            segments=False,
            network="jointnet.networks.identity:IdentityModel",
            trained=False,
            without_effect=MappingProxyType(
                {
                    **{name: {} for name in ("model.stem", "model.neighbours", "model.hidden")},
                    **dict.fromkeys(LIMITS, UNREFINED),
                    **ONLY_REFINED,
                }
            ),
        ),
        "standalone": Model(
            title="Stand-alone STN",
            short_title="Stand-alone",
            segments=False,
            network="jointnet.networks.standalone:StandaloneModel",
            without_effect=ONLY_REFINED,
            seconds_per_patient_epoch=0.12,
        ),
        "joint": Model(
            title="Joint model",
            short_title="Joint",
            segments=True,
            network="jointnet.networks.joint:JointModel",
            without_effect=MappingProxyType(
                {
                    "model.hidden": {"model.head": "guided"},
                    "model.guide_steps": {"model.head": "fully_connected", **UNREFINED},
                    "registration.descriptor_weight": UNREFINED,
                }
            ),
            seconds_per_patient_epoch=0.5,
        ),
    }
)
"""All models by name: the one without a network, then the paper's in the order of its Table 1."""
TRAINED = tuple(name for name, model in MODELS.items() if model.trained)
"""Names of the models that are trained."""
UNTRAINED = tuple(name for name, model in MODELS.items() if not model.trained)
"""Names of the models without a network. They have no file: the name alone is a value of `--model`."""


def require_trained(name: str) -> None:
    """Check that a model is one that is trained.

    Raises:
        SettingsError: if it has no network.
    """
    if not MODELS[name].trained:
        raise SettingsError(
            f"model.name: must be a model that is trained ({', '.join(TRAINED)}), got {name}, which needs no training: "
            f"use it with `jointnet.predict --model {name}` or `jointnet.evaluate --model {name}`"
        )
