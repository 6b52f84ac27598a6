"""The report of an epoch, and the best epoch of a training. This module does not import torch."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

OBJECTIVE = "val/registration_ratio"
"""The metric by which a training keeps its best model, and the only one by which a study ranks its trials."""


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


Report = TypeVar("Report", bound=HasMetrics)


def best_report(reports: Iterable[Report]) -> Report | None:
    """Return the report with the smallest finite objective, the first one if equal; None if no objective is finite."""
    finite = [report for report in reports if math.isfinite(report.metrics.get(OBJECTIVE, math.nan))]
    return min(finite, key=lambda report: report.metrics[OBJECTIVE], default=None)
