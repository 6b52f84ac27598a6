"""Baselines: registration without annotation, evaluated on the test patients for comparison with the arms.

A baseline is not trained, so it needs no annotated patients. It is not an arm: it is neither searched nor selected, and
no claim is about it. It is evaluated once per fold, after the test patients were opened for an arm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from jointnet.evaluate.mutual_information import is_installed, mutual_information
from jointnet.evaluate.rows import evaluate, predicted_rows
from jointnet.model_file import untrained_model
from jointnet.preparation.cache import CachedPatient, fingerprint
from study.plan.plan import Plan
from study.selection.held_out import HeldOutResult, device_here, held_out_metrics, write_rows
from study.store_names import BASELINES, DESCRIPTORS, SIMPLEITK


@dataclass(frozen=True)
class Baseline:
    """One baseline in one fold.

    Attributes:
        name: one of `study.store_names.BASELINES`.
        test: names of the fold's test patients.
        fold, folds: number of the outer fold, from 1, and number of folds; both 1 without cross-validation.
    """

    name: str
    test: tuple[str, ...]
    fold: int = 1
    folds: int = 1

    @property
    def key(self) -> str:
        """The unique name within the study, also its folder: `baselines/NAME`, in folds `fold-2/baselines/NAME`."""
        return f"{'' if self.folds == 1 else f'fold-{self.fold}/'}baselines/{self.name}"

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its run in the tracking store."""
        own = {"baseline": self.name}
        return own if self.folds == 1 else {**own, "fold": str(self.fold), "folds": str(self.folds)}


def baselines_of(plan: Plan) -> tuple[Baseline, ...]:
    """Return the baselines of each fold of a study. All arms of a fold have the same test patients."""
    of_fold = {arm.fold: arm for arm in reversed(plan.arms)}
    return tuple(
        Baseline(name, arm.split.test, fold, arm.folds) for fold, arm in sorted(of_fold.items()) for name in BASELINES
    )


def evaluators() -> Mapping[str, Callable[[Sequence[CachedPatient], str], pd.DataFrame]]:
    """Return the baselines that can run here by name: functions of the patients and the device that return the rows.

    Their settings are the defaults in every study, so that they are the same method whatever the arms were given.
    """
    found: dict[str, Callable[[Sequence[CachedPatient], str], pd.DataFrame]] = {
        DESCRIPTORS: lambda patients, device: evaluate(untrained_model(DESCRIPTORS, device).model, patients, device)
    }
    if is_installed():
        found[SIMPLEITK] = lambda patients, _: predicted_rows(patients, mutual_information)
    return found


def evaluate_baseline(name: str, patients: Sequence[CachedPatient], folder: Path, device: str) -> HeldOutResult:
    """Evaluate a baseline on the opened test patients and write `slices.csv` and `patients.csv` into a folder.

    The CPU is used where the driver does not have the device.
    """
    rows = evaluators()[name](patients, device_here(device))
    write_rows(rows, folder)
    return HeldOutResult(fingerprint(patients), held_out_metrics(rows, patients))
