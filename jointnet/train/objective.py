"""The report of an epoch, and the objective: the metric that selects a training's best epoch and a study's best trial.

Further metrics make a Pareto front of the trials. They choose neither the best model of a trial nor the best trial.

This module does not import torch, and numpy and pandas, which are slow to import, only where they are needed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeVar

from jointnet.structures import STRUCTURE_TITLES, STRUCTURES

OBJECTIVE = "val/registration_ratio"
"""The metric by which a training keeps its best model, and a study ranks its trials, unless another is stated."""


@dataclass(frozen=True)
class EpochReport:
    """The number, duration and metrics of one epoch.

    Attributes:
        epoch: the epoch's number, from 1.
        seconds: wall time of training and validation.
        metrics: `train/loss` and `train/loss/<branch>`. After a validation also `val/registration_ratio`,
            `val/<metric>/<structure>`, `val/lost`, `val/cut` (structures left out because the common field cuts them)
            and `train/gradient/<branch>`. The last one is the norm of the weighted branch's gradient on the parameters
            that branches share, in the epoch's last step.
    """

    epoch: int
    seconds: float
    metrics: dict[str, float]


class HasMetrics(Protocol):
    """Anything with the metrics of an epoch."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics by name."""


Direction = Literal["minimize", "maximize"]
Report = TypeVar("Report", bound=HasMetrics)
_TITLES = {OBJECTIVE: "registration ratio", "val/lost": "structures moved out of view"}


@dataclass(frozen=True)
class Objective:
    """A validation metric and its direction.

    Attributes:
        metric: its logged name, such as `val/cd_mm/lv`.
        direction: `minimize` where low values are good, else `maximize`.
        further: the other metrics of a Pareto front, each without further ones.
    """

    metric: str = OBJECTIVE
    direction: Direction = "minimize"
    further: tuple["Objective", ...] = ()

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Objective":
        """Return the objective of plain values, as `as_dict` gives them."""
        return cls(content["metric"], content["direction"], tuple(map(cls.from_dict, content.get("further", ()))))

    def as_dict(self) -> dict[str, Any]:
        """Return the objective as plain values for JSON, without a key of further metrics where there are none."""
        further = [each.as_dict() for each in self.further]
        return {"metric": self.metric, "direction": self.direction, **({"further": further} if further else {})}

    @property
    def all(self) -> tuple["Objective", ...]:
        """The metric itself and the further ones, each by itself."""
        return (replace(self, further=()), *self.further)

    @property
    def rule(self) -> str:
        """All metrics with their directions, such as `minimize val/cd_mm/lv and maximize val/dice/lv`."""
        return " and ".join(f"{each.direction} {each.metric}" for each in self.all)

    @property
    def is_ratio(self) -> bool:
        """Return whether it is the registration ratio: 1 then means no improvement."""
        return self.metric == OBJECTIVE

    @property
    def minimizes(self) -> bool:
        """Return whether low values are good."""
        return self.direction == "minimize"

    @property
    def title(self) -> str:
        """The metric in words without its unit, such as `LV CD`."""
        from jointnet.evaluate.aggregation import METRIC_TITLES

        kind, _, structure = self.metric.removeprefix("val/").partition("/")
        words = f"{STRUCTURE_TITLES.get(structure, structure)} {METRIC_TITLES.get(kind, kind)}".strip()
        return _TITLES.get(self.metric, words)

    @property
    def unit(self) -> str:
        """The unit of its values, `mm` or none."""
        return "mm" if "_mm/" in self.metric else ""

    @property
    def better(self) -> str:
        """Which values are better, in words."""
        return "lower is better" if self.minimizes else "higher is better"

    def text(self, value: float, digits: int = 3) -> str:
        """Return a value with its unit."""
        return f"{value:.{digits}f} {self.unit}".rstrip()

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """Return the finite value among the metrics of an epoch; None where there is none."""
        value = metrics.get(self.metric, math.nan)
        return value if math.isfinite(value) else None

    @property
    def sign(self) -> int:
        """1 where lower values are better, else -1."""
        return 1 if self.minimizes else -1

    def cost(self, value: float) -> float:
        """Return the value, negated if higher is better."""
        return self.sign * value

    def values(self, metrics: Mapping[str, float]) -> tuple[float, ...] | None:
        """Return the finite values of all metrics of the front in an epoch; None where one is missing."""
        values = [value for each in self.all if (value := each.value(metrics)) is not None]
        return tuple(values) if len(values) == len(self.all) else None

    def front(self, values: Sequence[Sequence[float]]) -> list[bool]:
        """Return which trials are on the Pareto front: no other is as good by every metric and better by one.

        Args:
            values: the values of all metrics for each trial. A trial with a value that is not finite is not on the
                front.
        """
        import numpy as np

        signs = [each.sign for each in self.all]
        costs = np.array(values, dtype=float).reshape(-1, len(signs)) * signs
        costs[~np.isfinite(costs).all(axis=1)] = np.nan
        return [
            not (np.isnan(own).any() or ((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any()) for own in costs
        ]

    def best(self, reports: Iterable[Report]) -> Report | None:
        """Return the report with the best finite value, the first one if equal; None if no value is finite."""
        costs = [(self.cost(value), report) for report in reports if (value := self.value(report.metrics)) is not None]
        return min(costs, key=lambda each: each[0], default=(0.0, None))[1]


REGISTRATION_RATIO = Objective()
"""The default objective of a training or a study."""


def known_directions(
    structures: Sequence[str], segmented: Sequence[str], own: Iterable[str]
) -> dict[str, Direction | None]:
    """Return the validation metrics that a training logs and that can be its objective, with their direction.

    Args:
        structures: the data's structures.
        segmented: those that the model segments.
        own: names of the user's own metrics, whose direction is not known.
    """
    from jointnet.evaluate.aggregation import endpoints_of

    structures = [name for name in STRUCTURES if name in structures]
    known: dict[str, Direction | None] = {OBJECTIVE: "minimize", "val/lost": "minimize"}
    known |= {f"val/{metric}/{structure}": "minimize" for metric, structure in endpoints_of(structures)}
    known |= {f"val/dice/{structure}": "maximize" for structure in structures}
    known |= {
        f"val/{image}/{structure}": "maximize"
        for image in ("dice_cine", "dice_lge")
        for structure in structures
        if structure in segmented
    }
    return known | {f"val/{name}/{structure}": None for name in own for structure in structures}
