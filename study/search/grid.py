"""The grid: every combination of the parameters' values once, in an order that the seed decides.

Optuna's `GridSampler` keeps what it has tried in its storage and knows no conditions; here both follow from the trials.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from study.search.parameters import Choices, Parameter

Sample = Mapping[str, Any]
MOST_POINTS = 100_000


def points(parameters: Sequence[Parameter]) -> list[Sample]:
    """Return every combination of the values. A parameter whose condition does not hold has none.

    Args:
        parameters: parameters with countable values, each after those of its condition.
    """
    found: list[dict[str, Any]] = [{}]
    for parameter in parameters:
        domain = parameter.domain
        values = domain.values if isinstance(domain, Choices) else domain.values or ()
        found = [
            sample
            for before in found
            for sample in (
                [{**before, parameter.name: value} for value in values] if parameter.is_drawn(before) else [before]
            )
        ]
    return list(found)


def grid_size(parameters: Sequence[Parameter]) -> int:
    """Return the number of points of the grid, without building it where no condition makes that necessary."""
    if any(parameter.when for parameter in parameters):
        return len(points(parameters))
    return int(np.prod([len(parameter.domain.values or ()) for parameter in parameters], dtype=object))


class Grid:
    """Draws the points of a grid, each once.

    Args:
        parameters: the searched parameters, with countable values.
        seed: seed of the study.
    """

    def __init__(self, parameters: Sequence[Parameter], seed: int) -> None:
        every = points(parameters)
        self._points = [every[place] for place in np.random.default_rng(seed).permutation(len(every))]

    def next_point(self, drawn: Iterable[Sample]) -> Sample:
        """Return the first point that is not among the samples.

        Raises:
            ValueError: all of them are.
        """
        tried = [dict(sample) for sample in drawn]
        point = next((point for point in self._points if point not in tried), None)
        if point is None:
            raise ValueError(f"all {len(self._points)} points of the grid were drawn")
        return point
