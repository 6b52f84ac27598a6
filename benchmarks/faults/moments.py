"""The moments of a study at which a fault can be injected, in chronological order."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from disturbed_study import DisturbedStudy

Condition = Callable[[DisturbedStudy], bool]


@dataclass(frozen=True)
class Moment:
    """A phase of a study.

    Attributes:
        name: name in the printed counts.
        begun: condition that the phase has begun or is over.
        over: condition that the phase is over.
        seconds: approximate duration. A fault comes at a random time within this many seconds of the beginning.
        kinds: kinds of faults that are specific to this phase.
        fresh_only: whether only a study in a fresh folder has this phase.
    """

    name: str
    begun: Condition
    over: Condition
    seconds: float
    kinds: tuple[str, ...] = ()
    fresh_only: bool = False


def _has(*kinds: str) -> Condition:
    """Return a condition: the ledger holds an event of one of these kinds."""
    return lambda study: any(event["event"] in kinds for event in study.events())


def _has_now(kind: str) -> Condition:
    """Return a condition: the running driver has written an event of this kind."""
    return lambda study: any(event["event"] == kind for event in study.events()[study.events_before :])


def _exists(*patterns: str) -> Condition:
    """Return a condition: the study's working directory has a file or folder that matches one of these patterns."""
    return lambda study: any(True for pattern in patterns for _ in study.place.glob(pattern))


RUNNING = ("worker", "raylet", "network")
MOMENTS = (
    Moment("starting", lambda _: True, _exists("data/*", "data/.*"), 5.0, fresh_only=True),
    Moment("phantom being written", _exists("data/.*.part-*"), _exists("data/phantom-*"), 1.5, fresh_only=True),
    Moment("patients being prepared", _exists("cache/*"), _exists("mlruns/*", "mlruns/.*"), 0.5, fresh_only=True),
    Moment("store being made", _exists("mlruns/*", "mlruns/.*"), _has("session"), 1.0, fresh_only=True),
    Moment("Ray starting", _has_now("session"), _has_now("epoch"), 6.0, ("raylet",)),
    Moment("first epoch", _has("drawn"), _has("epoch"), 2.0, RUNNING),
    Moment("any epoch", _has_now("epoch"), _has("selected"), 5.0, (*RUNNING, "checkpoint")),
    Moment("test being opened", _has("selected"), _has("tested"), 2.0),
    Moment("report being written", _has("tested"), lambda study: study.ended() == 0, 6.0),
)


def epoch_moments(count: int, draw: random.Random, epochs: int = 8) -> list[Moment]:
    """Return moments after random numbers of epochs, out of about as many as a study of the campaign has."""
    after = sorted(draw.randrange(epochs) for _ in range(count))
    return [Moment("any epoch", _has_epochs(number), lambda _: False, 4.0) for number in after]


def _has_epochs(number: int) -> Condition:
    return lambda study: study.epochs() >= number and any(event["event"] == "drawn" for event in study.events())


def moment_of(study: DisturbedStudy) -> Moment | None:
    """Return the current moment of a study; None between two moments."""
    here = [moment for moment in MOMENTS if moment.begun(study) and not moment.over(study)]
    here = [moment for moment in here if not (moment.fresh_only and study.server)]
    return here[-1] if here else None
