"""Selection of a trial for the evaluation, and of a model for the registry, by the objective on validation patients.

One trial of each arm and fold is selected before its test patients are opened. Of the models that were then evaluated,
one for each arm is registered in MLflow.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from study.plan.plan import Arm, Plan
from study.search.outcome import NoFinishedTrialError, TrialOutcome
from study.store_names import TIME_BUDGET, ending
from study.trials.ledger import Ledger
from study.trials.work import retrain_prefix, retrain_seeds


@dataclass(frozen=True)
class Selection:
    """The selected trial of an arm.

    Attributes:
        candidates: number of candidates for the selection.
        remarks: lines about trials that were no candidates or were stopped by the time budget.
        front: the candidates on the Pareto front of an objective of several metrics, by id; else None.
    """

    arm: str
    trial: TrialOutcome
    model: Path
    candidates: int
    remarks: tuple[str, ...]
    frozen_at: datetime
    front: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the selection as it is recorded in the ledger."""
        return {
            "arm": self.arm,
            "metric": self.trial.ranked_by.metric,
            "trial_id": self.trial.trial_id,
            "objective": self.trial.objective,
            "epoch": self.trial.best_epoch,
            "parameters": dict(self.trial.sample),
            "candidates": self.candidates,
            "remarks": list(self.remarks),
            "frozen_at": self.frozen_at.isoformat(),
            "validation": {name: value for name, value in self.trial.metrics.items() if name.startswith("val/")},
            **({} if self.front is None else {"front": list(self.front)}),
        }


def select_best(arm: str, trials: Iterable[TrialOutcome], planned: int | None, now: datetime) -> Selection:
    """Select the trial with the best objective, of equal ones that with the better further metrics, then the first.

    A trial is a candidate if it ended (complete, pruned, or stopped by the time budget), has a finite objective, and
    has the model of its best epoch. Failed and running trials are no candidates. Where fewer than `planned` trials are
    candidates (None: as many as the time allowed), the remarks give the reasons.

    Raises:
        NoFinishedTrialError: there is no candidate.
    """
    trials = list(trials)
    candidates = [trial for trial in trials if is_candidate(trial)]
    remarks = _remarks(trials, planned)
    if not candidates:
        reasons = "; ".join(remarks) or "no trial was started"
        raise NoFinishedTrialError(
            f"{arm}: at least one trial must end with an objective and a model, none did ({reasons})"
        )
    best = min(candidates, key=lambda trial: (trial.costs, trial.trial_id))
    assert best.model is not None
    return Selection(arm, best, best.model, len(candidates), remarks, now, _front(candidates))


def _front(candidates: list[TrialOutcome]) -> tuple[str, ...] | None:
    """Return the ids of the trials on the Pareto front; None where the objective has one metric."""
    objective = candidates[0].ranked_by
    if not objective.further:
        return None
    missing = (math.nan,) * len(objective.all)
    on_front = objective.front([trial.values or missing for trial in candidates])
    return tuple(trial.trial_id for trial, chosen in zip(candidates, on_front, strict=True) if chosen)


def is_candidate(trial: TrialOutcome) -> bool:
    """Return whether a trial ended with a finite objective and a model."""
    finite = trial.objective is not None and math.isfinite(trial.objective)
    return trial.state in ("complete", "stopped") and finite and trial.model is not None


def _remarks(trials: list[TrialOutcome], planned: int | None) -> tuple[str, ...]:
    """Return lines about trials that were no candidates or were stopped by the time budget, in the report's terms."""
    counts = {
        ending("failed", ""): sum(trial.state == "failed" for trial in trials),
        ending("running", ""): sum(trial.state == "running" for trial in trials),
        ending("stopped", TIME_BUDGET): sum(trial.out_of_time for trial in trials),
        "ended without a model": sum(
            trial.state in ("complete", "stopped") and not is_candidate(trial) for trial in trials
        ),
        "never started": 0 if planned is None else planned - len(trials),
    }
    total = max(planned or 0, len(trials))
    return tuple(f"{count} of {total} trials {what}" for what, count in counts.items() if count > 0)


@dataclass(frozen=True)
class EvaluatedModel:
    """A model of an arm that was evaluated on the test patients.

    Attributes:
        arm: the arm in the model's fold.
        model: the trial, or the retraining of a trial.
        file: its model file.
        seed_index, seed: seed index and seed of a retraining; 0 and None for a trial.
        candidates: number of evaluated models of the arm, over folds and seeds.
    """

    arm: Arm
    model: TrialOutcome
    file: Path
    seed_index: int
    seed: int | None
    candidates: int


def model_to_register(plan: Plan, ledger: Ledger, name: str) -> EvaluatedModel | None:
    """Return the evaluated model of an arm with the best validation objective, over all folds.

    None where no model was evaluated, or none has a model file and an objective. Test values are not used. Models of
    different folds were validated on different patients, so the choice is a convention and does not show which model is
    best.
    """
    evaluated: list[tuple[Arm, TrialOutcome, bool]] = []
    for arm in (arm for arm in plan.arms if arm.name == name):
        tested = ledger.last("tested", arm.key)
        if tested is None:
            continue
        trials = ledger.outcomes(arm.key)
        retrainings = ledger.outcomes(f"{retrain_prefix(arm)}{tested['trial']}")
        for trial_id, _ in tested["models"]:
            retrained = trial_id in retrainings
            evaluated.append((arm, (retrainings if retrained else trials)[trial_id], retrained))
    candidates = [one for one in evaluated if one[1].model is not None and one[1].objective is not None]
    if not candidates:
        return None
    arm, model, retrained = min(candidates, key=lambda one: (one[1].costs, one[0].fold, one[1].trial_id))
    index = model.number if retrained else 0
    seed = retrain_seeds(plan.seed, index)[index - 1] if retrained else None
    assert model.model is not None
    return EvaluatedModel(arm, model, model.model, index, seed, len(evaluated))
