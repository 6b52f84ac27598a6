"""What a search asks, as frozen values, and how a drawn sample becomes the settings of one training.

Only ratios of the lambdas are searched: under Adam a common factor of the loss does nothing, so lambda_1..3 always
have the sum 1 and `lambda_2_to_1` and `lambda_3_to_1` say how they stand to each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jointnet.settings import Settings, with_values
from study.store_layout import OBJECTIVE

RATIOS = ("lambda_2_to_1", "lambda_3_to_1")
SHORT_NAMES = {"alpha": "loss.alpha"}
"""Parameters with a name of their own, beside the ratios, and the settings key that each stands for."""
JOINT_ONLY = (*RATIOS, "model.guide_steps")
"""Parameters that the stand-alone model does not have."""


@dataclass(frozen=True)
class Parameter:
    """One searched value: its bounds, both inclusive, why they are so, and the models that have it."""

    name: str
    low: float
    high: float
    scale: str
    why: str
    models: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class Objective:
    """What is to become small (or large) on the validation patients."""

    metric: str = OBJECTIVE
    direction: str = "minimize"


@dataclass(frozen=True)
class Fidelity:
    """ASHA's epochs: none ends before `grace_epochs`; then one in `reduction_factor` goes on at each rung."""

    max_epochs: int
    grace_epochs: int
    reduction_factor: int


@dataclass(frozen=True)
class Budget:
    """How long an arm is searched for.

    Attributes:
        num_samples: trials of each arm; None draws trials until the minutes are over.
        minutes: of searching; None for no limit.
        per_arm: whether the minutes are those of each arm, else of all arms of the file together.
    """

    num_samples: int | None
    minutes: float | None
    per_arm: bool = False


@dataclass(frozen=True)
class SearchSpace:
    """One question, as a file of `search_spaces/` asks it.

    Attributes:
        name: the file's name without `.toml`.
        question: one sentence.
        models: an arm is one of these with one split.
        settings: name or file of the settings that everything else starts from.
        base: those settings with the `fixed` ones in place.
        fixed: dotted settings keys that differ from `settings`.
        parameters: what is searched.
        splits: split counts of the file's own, e.g. `6/3/3`; None leaves them to the command.
        phantom_patients: patients of the phantom that is used where no data is given; None leaves it to the command.
        margin_mm: how much worse, in mm, still counts as not inferior: of LV CD, or by endpoint such as `cd_mm/lv`;
            None where the file claims nothing.
    """

    name: str
    question: str
    models: tuple[str, ...]
    settings: str
    base: Settings
    fixed: Mapping[str, Any]
    objective: Objective
    parameters: tuple[Parameter, ...]
    fidelity: Fidelity
    budget: Budget
    splits: tuple[str, ...] | None = None
    phantom_patients: int | None = None
    margin_mm: float | Mapping[str, float] | None = None

    def parameters_of(self, model: str) -> tuple[Parameter, ...]:
        """Give the parameters that are searched for a model."""
        return tuple(parameter for parameter in self.parameters if model in parameter.models)

    def settings_of(self, model: str) -> Settings:
        """Give the settings that all trials of a model start from."""
        return with_values(self.base, {"model.name": model, "training.epochs": self.fidelity.max_epochs})


def lambdas_of(settings: Settings, sample: Mapping[str, Any]) -> tuple[float, float, float]:
    """Give lambda_1..3 with sum 1: from the drawn ratios, and from the settings' own lambdas where none is drawn."""
    if settings.model.name == "standalone":
        return 1.0, 0.0, 0.0
    loss = settings.loss
    own = (loss.lambda_1, loss.lambda_2, loss.lambda_3)
    if not any(ratio in sample for ratio in RATIOS):
        weights = own
    else:
        first = own[0]
        weights = (
            1.0,
            float(sample.get(RATIOS[0], own[1] / first if first else 1.0)),
            float(sample.get(RATIOS[1], own[2] / first if first else 1.0)),
        )
    total = sum(weights)
    return weights[0] / total, weights[1] / total, weights[2] / total


def settings_of_sample(settings: Settings, sample: Mapping[str, Any]) -> Settings:
    """Give the settings of one trial: `settings` with a drawn sample and lambdas of sum 1 in place.

    Raises:
        SettingsFaultError: where the sample breaks a rule of the settings.
    """
    values = {SHORT_NAMES.get(name, name): value for name, value in sample.items() if name not in RATIOS}
    lambdas = lambdas_of(settings, sample)
    values |= {f"loss.lambda_{number}": value for number, value in enumerate(lambdas, start=1)}
    return with_values(settings, values)


def with_overrides(
    space: SearchSpace,
    num_samples: int | None = None,
    max_epochs: int | None = None,
    minutes: float | None = None,
    equal_compute: bool = False,
) -> SearchSpace:
    """Give a space with the command's own budget; ASHA's grace shrinks with the epochs where it must.

    With `equal_compute` the minutes are those of each arm, and trials are drawn until they are over.
    """
    epochs = max_epochs or space.fidelity.max_epochs
    own = Budget(num_samples or space.budget.num_samples, minutes or space.budget.minutes)
    return replace(
        space,
        fidelity=replace(space.fidelity, max_epochs=epochs, grace_epochs=min(space.fidelity.grace_epochs, epochs)),
        budget=Budget(None, own.minutes, per_arm=True) if equal_compute else own,
    )
