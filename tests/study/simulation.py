"""A simulated search of an arm without Ray and training: objectives from a formula, and drivers that are killed."""

import io
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console

from jointnet.model_file import save_model
from jointnet.model_path import MODEL_FILE
from jointnet.networks import build_model
from jointnet.settings import Settings, with_values
from jointnet.train.objective import OBJECTIVE, REGISTRATION_RATIO, Objective
from study.search.parameters import Parameter, Range
from study.search.space import Budget, Fidelity, Method, SearchSpace
from study.trials.ledger import Event, Ledger
from study.trials.progress import ArmProgress, StudyProgress
from study.trials.recorder import ArmRecorder
from study.trials.scheduling import ArmSearch
from study.trials.trial import ArmTask, TrialSpec
from study.trials.work import SearchWork

Metrics = Mapping[str, float]
ARM = "standalone-1"
DICE = Objective("val/dice/lv", "maximize")
RIVALS = Objective(OBJECTIVE, further=(Objective(DICE.metric, "minimize"),))
"""Two metrics of which a trial has the lower one the better the other is: all trials are on the front."""
ALPHA = Parameter("alpha", Range(0.0, 1.0), ("standalone",))
TINY = with_values(Settings(), {"model.name": "standalone", "model.widths": [4, 4], "training.downsampling": 4})


class KilledError(BaseException):
    """The driver was killed. No exception handler of the driver catches it."""


class MortalLedger(Ledger):
    """A ledger whose driver is killed at the n-th event, before or after the event is written."""

    def __init__(
        self, folder: Path, dies_at: int = 0, written: bool = True, objective: Objective = REGISTRATION_RATIO
    ) -> None:
        super().__init__(folder, objective)
        self._left, self._written = dies_at, written

    def append(self, kind: str, **values: Any) -> Event:
        self._left -= 1
        if self._left == 0 and not self._written:
            raise KilledError
        event = super().append(kind, **values)
        if self._left == 0:
            raise KilledError
        return event


class NullOutbox:
    """An outbox that ignores its entries."""

    def put(self, write: Callable[[], Any], optional: str = "") -> None:
        """Ignore the entry."""


def space(samples: int | None = 6, epochs: int = 4, grace: int = 2, minutes: float | None = None) -> SearchSpace:
    """Return a search space of alpha only."""
    base = with_values(TINY, {"training.epochs": epochs})
    fidelity, budget = Fidelity(epochs, grace, 2), Budget(samples, minutes)
    return SearchSpace(
        "own",
        "?",
        (Method("standalone", "standalone"),),
        "default",
        base,
        {},
        REGISTRATION_RATIO,
        (ALPHA,),
        fidelity,
        budget,
    )


def work(own: SearchSpace, seed: int = 0) -> SearchWork:
    """Return the trials of that search."""
    return SearchWork(ARM, own.parameters_of("standalone"), own.fidelity, own.budget.num_samples, seed)


def recorder_of(ledger: Ledger, own: SearchSpace, outbox: Any = None, tracker: Any = None) -> ArmRecorder:
    """Return a recorder whose progress is not displayed."""
    task = ArmTask(ARM, own.settings_of("standalone"), (), (), 0, "cpu", 1, ledger.folder / ARM)
    progress = StudyProgress({ARM: ArmProgress(ARM, 6, 24, 60)}, 0, Console(file=io.StringIO()))
    return ArmRecorder(task, {"arm": ARM}, ledger, tracker, outbox or NullOutbox(), progress)


def metrics_of(sample: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """Return metrics of a trial. The ratio falls with the epochs and has its minimum at alpha 0.3. Dice mirrors it."""
    value = abs(sample["alpha"] - 0.3) + 0.5 / epoch
    return {"train/loss": 1 / epoch, OBJECTIVE: value, DICE.metric: 1 - value}


@lru_cache(maxsize=1)
def _weights() -> dict[str, Any]:
    return dict(build_model(TINY).state_dict())


def write_model(folder: Path, epoch: int) -> None:
    """Write the model of an epoch, as a training does."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / MODEL_FILE, _weights(), TINY, {}, epoch)


def falling(spec: TrialSpec, epoch: int) -> dict[str, float]:
    """Simulate an epoch. The objective falls, so each epoch is the best and its model is written."""
    write_model(spec.folder, epoch)
    return metrics_of(spec.sample, epoch)


def run_to_end(
    search: ArmSearch, recorder: ArmRecorder, at_once: int = 1, train: Callable[[TrialSpec, int], Metrics] = falling
) -> None:
    """Run attempts until the search is done, one epoch of each in turn by `train`."""
    most = recorder.task.settings.training.epochs
    running: dict[str, tuple[str, int]] = {}
    number = 0
    while True:
        while len(running) < at_once and (trial := search.next_trial(f"attempt {number}")) is not None:
            running[f"attempt {number}"] = (trial.trial_id, 0)
            number += 1
        if not running:
            return
        for attempt, (trial_id, epoch) in list(running.items()):
            spec = TrialSpec(recorder.task, trial_id, recorder.outcomes[trial_id].sample)
            stop = search.reported(attempt, epoch + 1, train(spec, epoch + 1))
            running[attempt] = (trial_id, epoch + 1)
            if stop or epoch + 1 == most:
                del running[attempt]
                search.returned(attempt)


def trials_of(ledger: Ledger) -> list[tuple[Any, ...]]:
    """Return what must not depend on when a driver was killed: all data of the trials except times."""
    return [
        (
            t.number,
            t.trial_id,
            dict(t.sample),
            t.state,
            t.reason,
            [(e.epoch, dict(e.metrics)) for e in t.epochs],
            t.pruned,
        )
        for t in ledger.outcomes(ARM).values()
    ]
