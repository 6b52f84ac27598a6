"""Every choice that a training depends on, as frozen values: defaults in code, named variants in TOML beside it.

`Settings()` is what `python -m jointnet.train` uses; `paper.toml` holds the 2021 paper's own values. A settings
file names only what differs from the defaults. Unknown keys and values outside their bounds are refused, all together.
"""

from jointnet.settings.parsing import (
    load_settings,
    settings_from_dict,
    settings_names,
    settings_to_dict,
    with_values,
)
from jointnet.settings.schema import (
    MODELS,
    AugmentationSettings,
    LossSettings,
    ModelSettings,
    OptimiserSettings,
    Settings,
    TrainingSettings,
)

__all__ = [
    "MODELS",
    "AugmentationSettings",
    "LossSettings",
    "ModelSettings",
    "OptimiserSettings",
    "Settings",
    "TrainingSettings",
    "load_settings",
    "settings_from_dict",
    "settings_names",
    "settings_to_dict",
    "with_values",
]
