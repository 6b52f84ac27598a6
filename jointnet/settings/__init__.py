"""Settings of a training as frozen pydantic dataclasses, and named variants as TOML files in this folder.

`python -m jointnet.train` uses `Settings()` by default. `paper.toml` contains the values of the 2021 paper. A settings
file contains only the differences from the defaults. All unknown keys and invalid values raise one error.
"""

from jointnet.settings.parsing import (
    for_data,
    load_settings,
    own_code_of,
    settings_from_dict,
    settings_names,
    settings_to_dict,
    with_epochs,
    with_values,
)
from jointnet.settings.schema import (
    AugmentationSettings,
    LossSettings,
    ModelSettings,
    OptimiserSettings,
    RegistrationSettings,
    Settings,
    TrainingSettings,
)

__all__ = [
    "AugmentationSettings",
    "LossSettings",
    "ModelSettings",
    "OptimiserSettings",
    "RegistrationSettings",
    "Settings",
    "TrainingSettings",
    "for_data",
    "load_settings",
    "own_code_of",
    "settings_from_dict",
    "settings_names",
    "settings_to_dict",
    "with_epochs",
    "with_values",
]
