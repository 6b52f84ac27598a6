"""The choice of the model that is registered for an arm: the tested one with the best validation objective."""

from dataclasses import dataclass
from pathlib import Path

from study.plan.plan import Arm, Plan
from study.trials.ledger import Ledger
from study.trials.outcome import TrialOutcome
from study.trials.sampling import retrain_prefix, retrain_seeds


@dataclass(frozen=True)
class TestedModel:
    """A tested model of an arm.

    Attributes:
        arm: the arm in the model's fold.
        model: the trial, or the retraining of a trial.
        file: its model file.
        seed_index, seed: seed index and seed of a retraining; 0 and None for a trial.
        of: number of tested models of the arm, over folds and seeds.
    """

    arm: Arm
    model: TrialOutcome
    file: Path
    seed_index: int
    seed: int | None
    of: int


def best_tested(plan: Plan, ledger: Ledger, name: str) -> TestedModel | None:
    """Return the tested model of an arm with the best validation objective, over all folds.

    None where no model was tested, or none has a model file and an objective. The choice uses the validation patients
    only. Models of different folds were validated on different patients, so it is a convention and no estimate of which
    model is best.
    """
    found: list[tuple[Arm, TrialOutcome, bool]] = []
    for arm in (arm for arm in plan.arms if arm.name == name):
        tested = ledger.last("tested", arm.key)
        if tested is None:
            continue
        trials = ledger.outcomes(arm.key)
        again = ledger.outcomes(f"{retrain_prefix(arm)}{tested['trial']}")
        for trial_id, _ in tested["models"]:
            retrained = trial_id in again
            found.append((arm, (again if retrained else trials)[trial_id], retrained))
    kept = [one for one in found if one[1].model is not None and one[1].objective is not None]
    if not kept:
        return None
    arm, model, retrained = min(kept, key=lambda one: (one[1].objective, one[0].fold, one[1].trial_id))
    index = model.number if retrained else 0
    seed = retrain_seeds(plan.seed, index)[index - 1] if retrained else None
    assert model.model is not None
    return TestedModel(arm, model, model.model, index, seed, len(found))
