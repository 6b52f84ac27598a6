"""Points of the unit cube and the samples that they stand for, each parameter on its own scale."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import qmc

from study.search.parameters import Choices, Parameter, Range


def sobol_samples(parameters: Sequence[Parameter], count: int, seed: int) -> list[dict[str, Any]]:
    """Return samples at scrambled Sobol points. A larger count only appends samples."""
    sequence = qmc.Sobol(len(parameters), rng=np.random.default_rng(seed))
    points = sequence.random_base2(math.ceil(math.log2(max(count, 2))))[:count].tolist()
    return [{p.name: _value_at(p.domain, x) for p, x in zip(parameters, point, strict=True)} for point in points]


def place_of(parameters: Sequence[Parameter], sample: Mapping[str, Any]) -> list[float]:
    """Return the point of a sample. Choices are spread evenly in their order."""
    return [_place_in(parameter.domain, sample[parameter.name]) for parameter in parameters]


def _value_at(domain: Range | Choices, x: float) -> Any:
    """Return the value at a place from 0 to below 1."""
    if isinstance(domain, Choices):
        return domain.values[int(x * len(domain.values))]
    if domain.scale == "log":
        return domain.low * (domain.high / domain.low) ** x
    return domain.low + (domain.high - domain.low) * x


def _place_in(domain: Range | Choices, value: Any) -> float:
    if isinstance(domain, Choices):
        return domain.values.index(value) / (len(domain.values) - 1)
    low, high, value = float(domain.low), float(domain.high), float(value)
    if domain.scale == "log":
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)
