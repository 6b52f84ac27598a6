"""The models: their names, what each computes, the class that builds it, and what a training costs.

A model is one entry, a `Model`: of `MODELS`, or in the user's own code, which a reference names
(`jointnet.own_code`). This module does not import torch.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.own_code import REFERENCE_WORDS, is_reference, named

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?")
"""Names of models and arms are part of folder names and of the tracking store's keys."""
NAME_WORDS = "1 to 40 letters, digits and inner hyphens"


@dataclass(frozen=True)
class Model:
    """The properties of a model that are needed without building it.

    Attributes:
        name: name of the model, and of its arms in a study.
        title: name in Table 1 of the report.
        short_title: name in figures.
        segments: whether it also segments cine and LGE. Its loss then has three branches and weights to search,
            otherwise the registration branch only.
        network: the class or function that is called with the settings and returns the network, a torch module that
            follows `jointnet.networks.output.Network`; or `module:class`, which is imported only when it is needed.
        options: the frozen dataclass of the model's own settings, the table `[model.options]`; None if it has none.
            The network is then called with the settings and an instance.
        trained: whether it has a network that is trained.
        without_effect: numeric settings that may have no effect on the model, with the values of other settings with
            which they have none; always, if no values are given. Then they may not be searched.
        seconds_per_patient_epoch: seconds per epoch and training patient on one CPU core, measured on the phantom with
            the settings `quick`; None where it was not measured. Accurate to a factor of two.
    """

    name: str
    title: str
    short_title: str
    segments: bool
    network: str | Callable[..., Any]
    options: type[Any] | None = None
    trained: bool = True
    without_effect: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seconds_per_patient_epoch: float | None = None

    def build(self, settings: Any) -> Any:
        """Return a new network with these settings (`jointnet.settings.Settings`). It imports torch."""
        network = self.network
        if isinstance(network, str):
            module, _, name = network.partition(":")
            network = getattr(import_module(module), name)
        return network(settings, *([] if self.options is None else [self.options(**dict(settings.model.options))]))

    def has_setting(self, name: str, settings: Mapping[str, Any]) -> bool:
        """Return whether a numeric setting has an effect on the model with the values of all settings by dotted key."""
        none_with = self.without_effect.get(name)
        return none_with is None or any(settings[key] != value for key, value in none_with.items())


UNREFINED = MappingProxyType({"registration.refinement": "none"})
ONLY_REFINED = MappingProxyType(dict.fromkeys(("registration.descriptor_weight", "model.guide_steps"), UNREFINED))
"""Settings of the refinement, which have an effect on a network's prediction only with it."""
DENSE = ("model.hidden", "model.negative_slope")
"""Settings of the dense layer of the stand-alone model and the fully connected head."""
LIMITS = ("model.max_rotation_deg", "model.max_scale", "model.max_shear", "model.max_translation_mm")


MODELS: Mapping[str, Model] = MappingProxyType(
    {
        "descriptors": Model(
            name="descriptors",
            title="MIND descriptors",
            short_title="Descriptors",
            segments=False,
            network="jointnet.networks.identity:IdentityModel",
            trained=False,
            without_effect=MappingProxyType(
                {
                    **{name: {} for name in ("model.stem", "model.neighbours", *DENSE)},
                    **dict.fromkeys(LIMITS, UNREFINED),
                    **ONLY_REFINED,
                }
            ),
        ),
        "standalone": Model(
            name="standalone",
            title="Stand-alone STN",
            short_title="Stand-alone",
            segments=False,
            network="jointnet.networks.standalone:StandaloneModel",
            without_effect=ONLY_REFINED,
            seconds_per_patient_epoch=0.12,
        ),
        "joint": Model(
            name="joint",
            title="Joint model",
            short_title="Joint",
            segments=True,
            network="jointnet.networks.joint:JointModel",
            without_effect=MappingProxyType(
                {
                    **{name: {"model.head": "guided"} for name in DENSE},
                    "model.guide_steps": {"model.head": "fully_connected", **UNREFINED},
                    "registration.descriptor_weight": UNREFINED,
                }
            ),
            seconds_per_patient_epoch=0.5,
        ),
    }
)
"""All models here by name: the one without a network, then the paper's in the order of its Table 1."""
TRAINED = tuple(name for name, model in MODELS.items() if model.trained)
"""Names of the models that are trained."""
UNTRAINED = tuple(name for name, model in MODELS.items() if not model.trained)
"""Names of the models without a network. They have no file: the name alone is a value of `--model`."""


def model_of(name: str) -> Model:
    """Return the model of a value of the setting `model.name`: one of `MODELS`, or a reference to the user's own.

    Raises:
        SettingsError: if there is no such model.
    """
    if name in MODELS:
        return MODELS[name]
    if not is_reference(name):
        raise SettingsError(f"model.name: must be one of {', '.join(MODELS)}, or {REFERENCE_WORDS}, got {name}")
    try:
        model = named(name)
    except SettingsError as error:
        raise SettingsError(f"model.name: {line}" for line in error.errors) from error
    if not isinstance(model, Model):
        raise SettingsError(
            f"model.name: {short_repr(name)} must be a `jointnet.models.Model`, got {type(model).__name__}; "
            "write MODEL = Model(name=..., title=..., short_title=..., segments=..., network=...) and name that"
        )
    if model.name in MODELS or NAME.fullmatch(model.name) is None:
        raise SettingsError(
            f"model.name: {short_repr(name)} must have a name of {NAME_WORDS} that none of {', '.join(MODELS)} has, "
            f"got {short_repr(model.name)}"
        )
    return model


def require_trained(name: str) -> None:
    """Check that a model is one that is trained.

    Raises:
        SettingsError: if it has no network.
    """
    if not model_of(name).trained:
        raise SettingsError(
            f"model.name: must be a model that is trained ({', '.join(TRAINED)}), got {name}, which needs no training: "
            f"use it with `jointnet.predict --model {name}` or `jointnet.evaluate --model {name}`"
        )
