"""A study as frozen dataclasses that do not depend on MLflow: plan, trials, selections and test values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from jointnet.evaluate.aggregation import ENDPOINTS, Endpoint
from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.arm_differences import annotated_training
from study.store_names import BASELINES, ending


@dataclass(frozen=True)
class TrialRecord:
    """One trial: a model trained with one set of sampled parameters.

    Attributes:
        state: `complete`, `stopped` (by the scheduler or the time budget), `failed`, `interrupted` or `running`.
        reason: why it is not complete, as defined in `study.store_names`, or the error that it raised.
        parameters: as logged, numbers as floats.
        objective: best value over the epochs so far, or NaN where none was logged.
        best_epoch: the epoch of that value (1-based), 0 where there is none.
        epochs: number of epochs with a finite objective.
        minutes: wall-clock minutes, NaN while running.
        validation: the metrics of the best epoch by name, e.g. `val/dice/lv`; empty where the store has none.
    """

    run_id: str
    trial_id: str
    state: str
    reason: str
    parameters: Mapping[str, float | str]
    objective: float
    best_epoch: int
    epochs: int
    started: datetime
    minutes: float
    validation: Mapping[str, float] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether the trial is complete or stopped, and can therefore be selected."""
        return self.state in ("complete", "stopped")

    @property
    def ending(self) -> str:
        """The ending of the trial, as text.

        The text distinguishes early stopping, the end of the time budget and an interruption.
        """
        return ending(self.state, self.reason)


@dataclass(frozen=True)
class RetrainRecord:
    """A retraining of an arm's selected trial with a new seed.

    Attributes:
        seed_index: the 1-based index of the seed; also the `seed_index` of its test rows.
        seed: the seed of the training.
        objective: best value over the epochs so far, or NaN where none was logged.
        best_epoch: the epoch of that value (1-based), 0 where there is none.
        epochs: number of epochs with a finite objective.
        minutes: wall-clock minutes, NaN while running.
        state: `complete`, `failed`, `interrupted` or `running`.
    """

    run_id: str
    seed_index: int
    seed: int
    objective: float
    best_epoch: int
    epochs: int
    minutes: float
    state: str


@dataclass(frozen=True)
class ArmRecord:
    """One arm in one fold: a method with a number of training patients, its trials, selection and test rows.

    Attributes:
        arm: the name, such as `joint-25`, the same in all folds.
        model: the name of the model; several methods may have the same model.
        train, validation, test: numbers of patients.
        selection: the frozen selection, recorded before the test evaluation; None where nothing was selected yet.
        rows: per-slice test rows (`patient,slice,structure,metric,before,after,lost`), None before the test evaluation.
            They have a column `seed_index` where the selected trial was retrained; otherwise the tuned model itself
            was tested.
        overlays: arrays of the overlay slices by name, empty before the test evaluation.
        metrics: the metrics logged on the arm's own run.
        openings: number of test evaluations of this arm.
        minutes: wall-clock minutes, NaN while running.
        fold, folds: the outer fold (1-based) and the number of folds; 1 and 1 without cross-validation.
        retrains: the retrainings of the selected trial, in the order of their seeds.
        given: what the arm was given, as texts for `study.arm_differences`; empty for studies of older versions.
        look: number of the method in the study, which determines colour and marker in figures; 0 and 1 are the methods
            named after the models stand-alone and joint.
        ranked_by: the objective of the study.
    """

    run_id: str
    arm: str
    model: str
    train: int
    validation: int
    test: int
    tags: Mapping[str, str]
    trials: tuple[TrialRecord, ...]
    selection: Mapping[str, Any] | None
    rows: pd.DataFrame | None = field(compare=False)
    overlays: Mapping[str, np.ndarray] = field(compare=False)
    metrics: Mapping[str, float]
    openings: int
    minutes: float
    fold: int = 1
    folds: int = 1
    retrains: tuple[RetrainRecord, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)
    look: int = 0
    ranked_by: Objective = REGISTRATION_RATIO

    @property
    def method(self) -> str:
        """The arm's name without its number of training patients: the name of the model, or that in `[arms.NAME]`."""
        return self.arm.removesuffix(f"-{self.train}")

    @property
    def annotated(self) -> int:
        """The number of annotated patients that the arm needs: training and validation patients."""
        return self.learned + self.validation

    @property
    def learned(self) -> int:
        """The number of annotated patients that the arm's models learned from."""
        return annotated_training(self.given, self.train)

    @property
    def selected(self) -> TrialRecord | None:
        """The trial that the recorded selection names; None where there is none."""
        chosen = self.selection or {}
        wanted = {self.tags.get("selected.run.id"), chosen.get("run_id")}
        same_run = (trial for trial in self.trials if trial.run_id in wanted)
        same_id = (trial for trial in self.trials if trial.trial_id == chosen.get("trial_id"))
        return next(same_run, None) or next(same_id, None)


@dataclass(frozen=True)
class BaselineRecord:
    """A registration without annotation in one fold, evaluated on the same test patients as the arms.

    Attributes:
        name: one of `study.store_names.BASELINES`.
        rows: per-slice test rows, as of an arm; None where the store has none yet.
        fold, folds: the outer fold (1-based) and the number of folds; 1 and 1 without cross-validation.
    """

    run_id: str
    name: str
    rows: pd.DataFrame | None = field(compare=False)
    fold: int = 1
    folds: int = 1


@dataclass(frozen=True)
class StudyRecord:
    """One study and all its arms, read from the store `tracking_uri` and its experiment with the id `experiment`.

    `baselines` is empty for studies of older versions.
    """

    run_id: str
    study_id: str
    started: datetime
    minutes: float
    tags: Mapping[str, str]
    specification: Mapping[str, Any]
    splits: Mapping[str, Any]
    objective: Objective
    arms: tuple[ArmRecord, ...]
    tracking_uri: str = ""
    experiment: str = ""
    baselines: tuple[BaselineRecord, ...] = ()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The registration metrics of the objective: those of the data's structures. Older studies had all of them."""
        named = self.specification.get("endpoints") or ["/".join(endpoint) for endpoint in ENDPOINTS]
        return tuple(endpoint for endpoint in ENDPOINTS if "/".join(endpoint) in named)

    @property
    def by_baseline(self) -> dict[str, tuple[BaselineRecord, ...]]:
        """The records of each baseline, one per fold and sorted by fold, in the order of `BASELINES`."""
        held = sorted(self.baselines, key=lambda record: record.fold)
        by_name = {name: tuple(record for record in held if record.name == name) for name in BASELINES}
        return {name: records for name, records in by_name.items() if records}

    @property
    def by_arm(self) -> dict[str, tuple[ArmRecord, ...]]:
        """The records of each arm, one per fold and sorted by fold, with the arms in the study's order."""
        names = dict.fromkeys(record.arm for record in self.arms)
        return {
            name: tuple(sorted((r for r in self.arms if r.arm == name), key=lambda record: record.fold))
            for name in names
        }

    def training_patients(self, arm: ArmRecord) -> frozenset[str]:
        """Return the training patients of an arm's record; none where the store has no splits."""
        counts = arm.tags.get("split", "")
        split = self.splits.get(counts if arm.folds == 1 else f"fold-{arm.fold}/{counts}", {})
        return frozenset(map(str, split.get("train", ())))  # numbers in older studies

    @property
    def missing(self) -> tuple[str, ...]:
        """The arms of the specification that the store lacks, each with its fold in a cross-validation."""
        planned = [arm for arm in self.specification.get("arms", []) if isinstance(arm, Mapping) and arm.get("arm")]
        held = {(arm.tags.get("arm", arm.arm), arm.fold) for arm in self.arms}
        return tuple(
            str(arm["arm"]) + (f" fold {arm['fold']}" if "fold" in arm else "")
            for arm in planned
            if (str(arm["arm"]), int(arm.get("fold", 1))) not in held
        )
