"""The report of an epoch. This module does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

OBJECTIVE = "val/registration_ratio"
"""The metric by which a training keeps its best model, and a study ranks its trials, unless told otherwise."""


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
