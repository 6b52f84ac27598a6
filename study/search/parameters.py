"""The parameters of a search as frozen values, and the conversion of a drawn sample to the settings of one training.

Only ratios of the lambdas are searched, `lambda_2_to_1` and `lambda_3_to_1`; lambda_1..3 always have the sum 1.
Without gradient clipping Adam is invariant to a common factor, apart from its epsilon. With it, a factor only changes
which gradients are clipped.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jointnet.models import model_of
from jointnet.settings import Settings, with_values
from jointnet.settings.parsing import flat_settings

LAMBDAS = ("loss.lambda_1", "loss.lambda_2", "loss.lambda_3")
RATIOS = ("lambda_2_to_1", "lambda_3_to_1")
SHORT_NAMES = {"alpha": "loss.alpha"}
"""Short parameter names, apart from the ratios, and the settings key of each."""
ON_STEP = 1e-9
"""Distance from a step, as a fraction of the step, that is rounding."""


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both inclusive, on a scale (`linear` or `log`), every number or in steps."""

    low: float
    high: float
    scale: str = "linear"
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Return whether the numbers are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def values(self) -> Sequence[float] | None:
        """The numbers where they are countable: integers, or in steps; else None."""
        if self.whole:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return None
        return [self.low + self.step * place for place in range(round((self.high - self.low) / self.step) + 1)]

    def as_dict(self) -> dict[str, Any]:
        """Return the bounds, the scale, and the step if there is one."""
        step = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, "scale": self.scale, **step}

    def has(self, value: Any) -> bool:
        """Return whether a value lies between the bounds and on a step."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        step = self.step or (1 if self.whole else None)
        steps = 0.0 if step is None else (value - self.low) / step
        return abs(steps - round(steps)) <= ON_STEP

    def __str__(self) -> str:
        step = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.low:g} to {self.high:g}{step}{' (log)' if self.scale == 'log' else ''}"


@dataclass(frozen=True)
class Choices:
    """Listed values of any kind: numbers, texts, truth values or lists."""

    values: tuple[Any, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the values."""
        return {"choices": list(self.values)}

    def has(self, value: Any) -> bool:
        """Return whether a value is listed. A tuple equals a list."""
        return plain(value) in self.values

    def __str__(self) -> str:
        return ", ".join(map(value_text, self.values))


@dataclass(frozen=True)
class Parameter:
    """A searched parameter.

    Attributes:
        name: a settings key, `alpha`, or a ratio of lambdas.
        domain: its values.
        methods: the methods that it applies to.
        when: it is drawn only where each of these parameters has one of the listed values.
        why: the reason for its values.
    """

    name: str
    domain: Range | Choices
    methods: tuple[str, ...]
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    why: str = ""

    def is_drawn(self, sample: Mapping[str, Any]) -> bool:
        """Return whether the parameter is drawn beside the values of the parameters before it."""
        return all(name in sample and plain(sample[name]) in allowed for name, allowed in self.when.items())

    def __str__(self) -> str:
        conditions = [f"{name} = {' or '.join(map(value_text, allowed))}" for name, allowed in self.when.items()]
        return f"{self.name} {self.domain}" + (f", where {' and '.join(conditions)}" if conditions else "")


def in_order(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """Return the parameters so that each one follows those of its condition. Others keep their order.

    Raises:
        ValueError: conditions depend on each other in a circle, or on a parameter that is not there.
    """
    left, done = list(parameters), list[Parameter]()
    while left:
        ready = next((one for one in left if set(one.when) <= {before.name for before in done}), None)
        if ready is None:
            raise ValueError(", ".join(one.name for one in left))
        left.remove(ready)
        done.append(ready)
    return tuple(done)


def plain(value: Any) -> Any:
    """Return a value with lists for tuples, as in TOML and JSON."""
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def value_text(value: Any) -> str:
    """Return a value of a sample as text, such as `0.003`, `guided` or `[16, 32]`."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(plain(value))


def has_effect(settings: Settings, name: str) -> bool:
    """Return whether a setting or a parameter has an effect on a model with these settings.

    Weights of branches of the loss, and what the encoders share, need segmentations.
    """
    model = model_of(settings.model.name)
    if name.startswith("model.options."):
        return name in flat_settings(settings)
    if name in (*LAMBDAS, *RATIOS, "model.sharing"):
        return model.segments
    return model.has_setting(name, flat_settings(settings))


def value_of(settings: Settings, name: str) -> Any:
    """Return the value that a parameter has in the settings. A ratio of lambdas is infinite where lambda_1 is 0.

    A term of the loss that the settings do not name has the weight 0.
    """
    values = flat_settings(settings)
    if name in RATIOS:
        first, other = values[LAMBDAS[0]], values[LAMBDAS[1 + RATIOS.index(name)]]
        return other / first if first else math.inf
    if name not in values and name.startswith("loss.terms."):
        return 0.0
    return plain(values[SHORT_NAMES.get(name, name)])


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
