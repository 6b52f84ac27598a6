"""Synthetic records of searches without a store. The objective is a known function of the parameters."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from study.report.search.trial_table import SearchParameter
from study.report.store.records import ArmRecord, TrialRecord
from study.store_names import EARLY, TIME_BUDGET

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
ALPHA = SearchParameter("alpha", 0.0, 1.0, False)
RATIO_2 = SearchParameter("lambda_2_to_1", 0.1, 10.0, True)
RATIO_3 = SearchParameter("lambda_3_to_1", 0.1, 10.0, True)
RATE = SearchParameter("optimiser.learning_rate", 3e-4, 3e-3, True)
JOINT = (ALPHA, RATIO_2, RATIO_3, RATE)
STANDALONE = (ALPHA, RATE)
ENDINGS = {
    "complete": ("complete", ""),
    "early": ("stopped", EARLY),
    "cut": ("stopped", TIME_BUDGET),
    "failed": ("failed", "TrainingDivergedError: the loss is nan"),
    "interrupted": ("interrupted", ""),
    "running": ("running", ""),
}


def trial(
    number: int,
    objective: float = math.nan,
    ending: str = "complete",
    minutes: float = 2.0,
    parameters: Mapping[str, float | str] | None = None,
    validation: Mapping[str, float] | None = None,
) -> TrialRecord:
    """Return trial `t<number>`; `ending` is a key of `ENDINGS`."""
    state, reason = ENDINGS[ending]
    epochs = 0 if math.isnan(objective) else 12 if ending == "complete" else 4
    return TrialRecord(
        run_id=f"run{number}",
        trial_id=f"t{number}",
        state=state,
        reason=reason,
        parameters=parameters or {},
        objective=objective,
        best_epoch=min(epochs, 3),
        epochs=epochs,
        started=BEGIN + timedelta(minutes=number),
        minutes=minutes,
        validation=validation or {},
    )


def arm(*trials: TrialRecord, selected: int | None = None, model: str = "joint", **changes: object) -> ArmRecord:
    """Return one arm; `selected` is the index of the selected trial in `trials`."""
    chosen = None if selected is None else {"run_id": trials[selected].run_id, "trial_id": trials[selected].trial_id}
    train = int(str(changes.pop("train", 25)))
    own = {
        **{"run_id": "arm", "arm": f"{model}-{train}", "model": model, "train": train, "validation": 15, "test": 5},
        **{"tags": {}, "trials": trials, "selection": chosen, "rows": None, "overlays": {}, "metrics": {}},
        **{"openings": 0, "minutes": 100.0, "look": 0 if model == "standalone" else 1, **changes},
    }
    return ArmRecord(**own)  # type: ignore[arg-type]


def search(count: int, model: str = "joint", seed: int = 0, **changes: object) -> ArmRecord:
    """Return an arm of `count` random trials with all endings. The complete trial with the least objective is selected.

    The objective of a complete trial is 0.6 + 0.5 (alpha - 0.4)^2 + 0.1 (log10 of lambda_2 / lambda_1)^2 and noise.
    """
    random = np.random.default_rng(seed)
    space = JOINT if model == "joint" else STANDALONE
    trials = []
    for number in range(count):
        places = random.random(len(space))
        drawn: dict[str, float | str] = {
            one.name: one.low * (one.high / one.low) ** place if one.log else one.low + place * (one.high - one.low)
            for one, place in zip(space, places.tolist(), strict=True)
        }
        ratios = (float(drawn.get("lambda_2_to_1", 0)), float(drawn.get("lambda_3_to_1", 0)))
        total = 1 + sum(ratios)
        drawn |= {"lambda_1": 1 / total, "lambda_2": ratios[0] / total, "lambda_3": ratios[1] / total, "model": model}
        level = 0.6 if model == "joint" else 0.8
        level += 0.5 * (float(drawn["alpha"]) - 0.4) ** 2 + 0.02 * random.standard_normal()
        level += 0.1 * math.log10(ratios[0]) ** 2 if model == "joint" else 0.0
        ending = str(random.choice(["complete", "early", "cut", "failed"], p=[0.55, 0.33, 0.07, 0.05]))
        objective = level + {"complete": 0.0, "early": 0.25, "cut": 0.1, "failed": 0.4}[ending]
        if ending == "failed" and random.random() < 0.5:
            objective = math.nan
        dice = 0.9 - 0.25 * (level - 0.6) - 0.05 * random.random()
        names = ("dice", "dice_cine", "dice_lge") if model == "joint" else ("dice",)
        validation = {f"val/{name}/{part}": dice for name in names for part in ("lv", "myo", "rv")}
        minutes = 3 + random.random() if ending == "complete" else 1.2
        trials.append(trial(number, objective, ending, minutes, drawn, validation))
    finished = [place for place, one in enumerate(trials) if one.finished]
    best = min(finished, key=lambda place: trials[place].objective, default=None)
    return arm(*trials, selected=best, model=model, **changes)
