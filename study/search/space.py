"""Search spaces as frozen values, and the conversion of a drawn sample to the settings of one training.

Only ratios of the lambdas are searched, `lambda_2_to_1` and `lambda_3_to_1`; lambda_1..3 always have the sum 1.
Without gradient clipping Adam is invariant to a common factor, apart from its epsilon. With it, a factor only changes
which gradients are clipped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as validated

from jointnet.models import model_of
from jointnet.settings import Settings, with_epochs, with_values
from jointnet.settings.parsing import flat_settings
from jointnet.settings.schema import TABLE

MOST_EPOCHS = 100_000
LAMBDAS = ("loss.lambda_1", "loss.lambda_2", "loss.lambda_3")
RATIOS = ("lambda_2_to_1", "lambda_3_to_1")
SHORT_NAMES = {"alpha": "loss.alpha"}
"""Short parameter names, apart from the ratios, and the settings key of each."""


@dataclass(frozen=True)
class Parameter:
    """A searched parameter: its bounds, both inclusive, the reason for them, and the methods that it applies to."""

    name: str
    low: float
    high: float
    scale: str
    why: str
    methods: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Return whether the parameter is an integer."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@validated(frozen=True, config=TABLE)
class Objective:
    """The metric to optimise on the validation patients. A trial keeps its best model by it."""

    metric: Literal["val/registration_ratio"]
    """The geometric mean over the registration metrics of the data's structures of after / before."""
    direction: Literal["minimize"]
    """A smaller ratio is better."""


@validated(frozen=True, config=TABLE)
class Fidelity:
    """The epochs of ASHA."""

    max_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS, strict=True)]
    """Epochs of a trial that is never pruned."""
    grace_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS, strict=True)]
    """Epochs before which no trial is pruned, at most `max_epochs`. The first rung."""
    reduction_factor: Annotated[int, Field(ge=2, le=MOST_EPOCHS, strict=True)]
    """At each rung one trial in so many continues. The next rung is at as many times the epochs."""


@dataclass(frozen=True)
class Budget:
    """The budget of a search: number of trials and time.

    Attributes:
        num_samples: trials of each arm; None draws trials until the minutes are over.
        minutes: minutes of searching; None for no limit.
        per_arm: whether each arm has these minutes. Otherwise all arms of the file share them.
    """

    num_samples: int | None
    minutes: float | None
    per_arm: bool = False


@dataclass(frozen=True)
class Method:
    """What a search file compares: a model with its own settings. A method with a split of the patients is an arm.

    Attributes:
        name: NAME of `[arms.NAME]`, or the model's name in a file without such tables.
        model: name of the model, or the reference to one of the user's own.
        fixed: dotted settings keys and their values, which replace those of the file.
    """

    name: str
    model: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, base: Settings) -> Settings:
        """Return `base` with the model and the fixed values of this method.

        Raises:
            SettingsError: a fixed value breaks a rule of the settings.
        """
        return with_values(base, {"model.name": self.model, **self.fixed})


@dataclass(frozen=True)
class SearchSpace:
    """A search space, as read from a file of `search_spaces/`.

    Attributes:
        name: the file's name without `.toml`.
        question: the research question, one sentence.
        methods: what is compared. Each method with each split is an arm.
        settings: name or file of the base settings.
        base: the base settings with the `fixed` values applied.
        fixed: dotted settings keys and their values, which replace those of `settings`.
        parameters: the searched parameters.
        settings_first: whether the first trial of an arm has the settings themselves. The others are drawn.
        splits: split counts of this file, e.g. `6/3/3`; None uses those of the command line.
        phantom_patients: number of phantom patients when no data is given; None uses the command's default.
        file_epochs: `max_epochs` of the file, over which its `training.steps` are spread; None stands for those of the
            fidelity. Fewer epochs have fewer steps in proportion.
        margin_mm: non-inferiority margin in mm, of LV CD or by endpoint such as `cd_mm/lv`; None where the file makes
            no claim.
    """

    name: str
    question: str
    methods: tuple[Method, ...]
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
    settings_first: bool = False
    file_epochs: int | None = None

    def method(self, name: str) -> Method:
        """Return the method of a name."""
        return next(method for method in self.methods if method.name == name)

    def parameters_of(self, method: str) -> tuple[Parameter, ...]:
        """Return the parameters that are searched for a method."""
        return tuple(parameter for parameter in self.parameters if method in parameter.methods)

    def settings_of(self, method: str) -> Settings:
        """Return the settings of a method before a sample is applied."""
        own = self.method(method).settings(self.base)
        whole = with_values(own, {"training.epochs": self.file_epochs or self.fidelity.max_epochs})
        return with_epochs(whole, self.fidelity.max_epochs)

    def budget_of(self, method: str) -> Budget:
        """Return the budget of an arm: one trial where the method has no parameter to search."""
        return self.budget if self.parameters_of(method) else replace(self.budget, num_samples=1)

    def first_sample_of(self, method: str) -> Mapping[str, float] | None:
        """Return the sample of an arm's first trial where it is the settings themselves; None where it is drawn."""
        parameters = self.parameters_of(method)
        if parameters and not self.settings_first:
            return None
        settings = self.settings_of(method)
        return {parameter.name: value_of(settings, parameter.name) for parameter in parameters}


def has_effect(settings: Settings, name: str) -> bool:
    """Return whether a setting or a parameter has an effect on a model with these settings.

    Weights of branches of the loss, and what the encoders share, need segmentations.
    """
    model = model_of(settings.model.name)
    if name in (*LAMBDAS, *RATIOS, "model.sharing"):
        return model.segments
    return model.has_setting(name, flat_settings(settings))


def value_of(settings: Settings, name: str) -> float:
    """Return the value that a parameter has in the settings. A ratio of lambdas is infinite where lambda_1 is 0."""
    values = flat_settings(settings)
    if name in RATIOS:
        first, other = values[LAMBDAS[0]], values[LAMBDAS[1 + RATIOS.index(name)]]
        return other / first if first else math.inf
    value: float = values[SHORT_NAMES.get(name, name)]
    return value


def lambdas_of(settings: Settings, sample: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return lambda_1..3, scaled to the sum 1.

    A ratio that was not drawn is taken from the lambdas of the settings.
    """
    if not model_of(settings.model.name).segments:
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
    """Return the settings of one trial: `settings` with the sample applied and the lambdas scaled to the sum 1.

    Raises:
        SettingsError: the sample breaks a rule of the settings.
    """
    values = {SHORT_NAMES.get(name, name): value for name, value in sample.items() if name not in RATIOS}
    lambdas = lambdas_of(settings, sample)
    values |= dict(zip(LAMBDAS, lambdas, strict=True))
    return with_values(settings, values)


def with_overrides(
    space: SearchSpace,
    num_samples: int | None = None,
    max_epochs: int | None = None,
    minutes: float | None = None,
    equal_compute: bool = False,
) -> SearchSpace:
    """Return a search space with the budget of the command line. `grace_epochs` is limited to `max_epochs`.

    With `equal_compute` each arm has these minutes, and trials are drawn until they are over.
    """
    epochs = max_epochs or space.fidelity.max_epochs
    own = Budget(num_samples or space.budget.num_samples, minutes or space.budget.minutes)
    return replace(
        space,
        fidelity=replace(space.fidelity, max_epochs=epochs, grace_epochs=min(space.fidelity.grace_epochs, epochs)),
        file_epochs=space.file_epochs if max_epochs is None else space.file_epochs or space.fidelity.max_epochs,
        budget=Budget(None, own.minutes, per_arm=True) if equal_compute else own,
    )
