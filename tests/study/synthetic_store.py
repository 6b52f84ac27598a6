"""A small MLflow store with synthetic studies, written by client calls in the documented format, without training."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from jointnet.structures import CLASS_INDEX
from study.store_names import EARLY, EXPERIMENT, INTERRUPTED, TIME_BUDGET

RATIO = "val/registration_ratio"
START_MS = 1_780_000_000_000
BEFORE = {
    ("cd_mm", "lv"): 3.3,
    ("cd_mm", "rv"): 4.4,
    ("asd_mm", "lv"): 2.5,
    ("asd_mm", "myo"): 1.8,
    ("asd_mm", "rv"): 2.4,
    ("dice", "lv"): 0.8,
    ("dice", "myo"): 0.55,
    ("dice", "rv"): 0.7,
}
VERSIONS = {"version.torch": "2.13.0", "version.mlflow": "3.17.2", "version.python": "3.11.9"}
FULL, PARTIAL = "20260601-120000-0a1b2c3d", "20260602-120000-4e5f6a7b"


@dataclass(frozen=True)
class Trial:
    """A synthetic trial: its state, and its objective per epoch as `(epoch, value)`."""

    state: str
    history: tuple[tuple[int, float], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Arm:
    """A synthetic arm. `gain` multiplies the distances; None if there was no test evaluation.

    `old` arms have their pictures in the format of older studies.
    """

    model: str
    split: str
    trials: tuple[Trial, ...]
    gain: float | None = None
    selected: int | None = None
    old: bool = False

    @property
    def name(self) -> str:
        return f"{self.model}-{self.split.partition('/')[0]}"


def slice_rows(
    gain: float, segments: bool, patients: Iterable[int | str] = range(41, 46), slices: int = 6
) -> pd.DataFrame:
    """Return per-slice test rows. `before` does not depend on `gain`. Slice counts differ, so that pooling shows."""
    before_of, after_of = np.random.default_rng(7), np.random.default_rng(int(gain * 1000))
    rows: list[tuple[Any, ...]] = []
    for patient in patients:
        scale = before_of.lognormal(0, 0.35)
        for index in range(2, 2 + slices + int(patient) % 3):
            for (metric, structure), level in BEFORE.items():
                if metric == "dice":
                    before = float(np.clip(1 - (1 - level) * scale * before_of.lognormal(0, 0.2), 0, 1))
                    after = float(np.clip(1 - (1 - before) * gain * after_of.lognormal(0, 0.2), 0, 1))
                else:
                    before = float(level * scale * before_of.lognormal(0, 0.3))
                    after = float(before * gain * after_of.lognormal(0, 0.25))
                rows.append((str(patient), index, structure, metric, before, after, False))
            if segments:
                for metric, level in (("dice_cine", 0.86), ("dice_lge", 0.76)):
                    for structure in ("lv", "myo", "rv"):
                        value = float(level - 0.08 * after_of.random())
                        rows.append((str(patient), index, structure, metric, float("nan"), value, False))
    return pd.DataFrame(rows, columns=["patient", "slice", "structure", "metric", "before", "after", "lost"])


def lose_one(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the first patient's first RV lost, with the worst value in its three metrics."""
    place = (rows["patient"] == rows["patient"].iloc[0]) & (rows["slice"] == rows["slice"].iloc[0])
    place &= (rows["structure"] == "rv") & rows["metric"].isin(["cd_mm", "asd_mm", "dice"])
    changed = rows.copy()
    changed.loc[place, "lost"] = True
    changed.loc[place, "after"] = np.where(changed.loc[place, "metric"] == "dice", 0.0, 237.588)
    return changed


def picture_arrays(gain: float, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return all test slices in the format of `study.selection.slice_pictures`, with LGE displaced relative to cine.

    Each patient's LGE is shifted by the last digit of the patient's number, in pixels. After registration, a
    fraction `gain` of the shift remains.
    """
    places = rows[["patient", "slice"]].astype(int).drop_duplicates().sort_values(["patient", "slice"]).to_numpy()
    draw = np.random.default_rng(3)
    parts: dict[str, list[np.ndarray]] = {}
    for patient, _ in places:
        cine = _heart(48.0, 60.0)
        for name, shift in (("before", patient % 10), ("after", gain * (patient % 10))):
            labels = _heart(48.0, 60.0 + shift)
            parts.setdefault(f"lge_labels_{name}", []).append(labels)
            parts.setdefault(f"lge_{name}", []).append(_grey(labels, (40, 30, 150, 140), draw))
        parts.setdefault("cine_labels", []).append(cine)
        parts.setdefault("cine", []).append(_grey(cine, (40, 60, 200, 190), draw))
    stacked = {name: np.stack(arrays) for name, arrays in parts.items()}
    return {"patients": places[:, 0].astype(str), "slices": places[:, 1], **stacked}


def old_picture_arrays(gain: float, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return pictures in the format of older studies: one slice per patient, as floats."""
    arrays = picture_arrays(gain, rows)
    _, first = np.unique(arrays["patients"], return_index=True)
    images = {"cine", "lge_before", "lge_after"}
    kept = {name: array[first] for name, array in arrays.items()}
    return {name: (array / 255).astype(np.float16) if name in images else array for name, array in kept.items()}


def _heart(row: float, column: float) -> np.ndarray:
    rows, columns = np.mgrid[:96, :112]
    distance = np.hypot(rows - row, columns - column)
    crescent = np.hypot((rows - row) / 1.1, columns - column + 34) < 24
    labels = np.zeros(rows.shape, np.uint8)
    labels[crescent] = CLASS_INDEX["rv"]
    labels[distance < 28] = CLASS_INDEX["myo"]
    labels[distance < 19] = CLASS_INDEX["lv"]
    return labels


def _grey(labels: np.ndarray, levels: tuple[int, int, int, int], draw: np.random.Generator) -> np.ndarray:
    return (np.choose(labels, levels) + draw.integers(0, 8, labels.shape)).astype(np.uint8)


def full_arms() -> tuple[Arm, ...]:
    """Return the four arms of a study that succeeded."""

    def some(level: float) -> tuple[Trial, ...]:
        return (
            Trial("complete", ((1, 1.2), (2, level + 0.1), (3, level + 0.05))),
            Trial("stopped", ((1, 1.3), (2, 1.1))),
            Trial("complete", ((1, 0.99), (2, level), (2, level), (3, level + 0.02))),
            Trial("stopped", ((1, 0.97),)),
            Trial("failed", ((1, 1.15),), "TrainingDivergedError: the loss is nan <epoch 2>"),
        )

    return (
        Arm("joint", "35/5/5", some(0.55), 0.5, 2),
        Arm("joint", "25/15/5", some(0.6), 0.6, 2),
        Arm("standalone", "35/5/5", some(0.7), 0.75, 2),
        Arm("standalone", "25/15/5", some(0.8), 0.85, 2),
    )


def partial_arms() -> tuple[Arm, ...]:
    """Return arms without test values for different reasons, and one complete arm."""
    ends = (
        Trial("complete", ((1, 0.9),)),
        Trial("stopped", ((1, 1.2),), EARLY),
        Trial("stopped", ((1, 1.1),), TIME_BUDGET),
        Trial("interrupted", ((1, 1.0),), INTERRUPTED),
    )
    return (
        Arm("joint", "25/15/5", ends, 0.9, 0, old=True),
        Arm("joint", "35/5/5", (Trial("complete", ((1, 0.8),)),), None, 0),
        Arm("standalone", "25/15/5", (Trial("failed", (), "RuntimeError: out of memory"),)),
        Arm("standalone", "35/5/5", ()),
    )


def write_study(
    uri: str, study_id: str, arms: Iterable[Arm], scratch: Path, rows: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Write a study with its arms and trials. `rows` replaces the synthetic test rows of arms."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        number = client.create_experiment(EXPERIMENT, artifact_location=(scratch / "artifacts").as_uri())
    else:
        number = experiment.experiment_id
    arms = list(arms)
    start = START_MS + len(client.search_runs([number])) * 60_000
    tags = {"study.id": study_id, "data.kind": "phantom", "data.fingerprint": "fp" * 16, "seed": "0"}
    tags |= {"git.commit": "c0ffee", "machine.cpu": "Testor 3000", "machine.cpus": "2", **VERSIONS}
    study = client.create_run(number, start_time=start, tags=tags | {"study.kind": "study"}).info.run_id
    specification = {
        "objective": {"metric": RATIO, "direction": "minimize"},
        "searches": [{"name": "joint", "question": "Does <joint> need fewer annotated patients?"}],
        "arms": [{"arm": arm.name, "model": arm.model, "split": arm.split} for arm in arms],
    }
    client.log_dict(study, specification, "specification.json")
    client.log_dict(study, {}, "splits.json")
    for place, arm in enumerate(arms):
        given = (rows or {}).get(arm.name)
        _write_arm(client, number, tags, arm, start + 1000 * place, scratch / f"{study_id}-{place}", given)
    client.set_terminated(study, end_time=start + 600_000)


def write_baseline(uri: str, study_id: str, name: str, rows: pd.DataFrame | None, scratch: Path) -> None:
    """Write the run of a baseline; `rows` is None for one whose files were not stored yet."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    tags = {"study.id": study_id, "study.kind": "baseline", "baseline": name}
    run = client.create_run(experiment.experiment_id, start_time=START_MS, tags=tags).info.run_id
    if rows is not None:
        rows.to_csv(scratch / "slices.csv", index=False)
        client.log_artifact(run, str(scratch / "slices.csv"), "test")
        client.set_tag(run, "test.fingerprint", "t")
    client.set_terminated(run)


def _write_arm(
    client: MlflowClient,
    number: str,
    tags: Mapping[str, str],
    arm: Arm,
    start: int,
    scratch: Path,
    rows: pd.DataFrame | None,
) -> None:
    own = {**tags, "arm": arm.name, "model": arm.model, "split": arm.split, "split.sha256": "ab" * 32}
    kind = {"study.kind": "arm"}
    run = client.create_run(number, start_time=start, tags=own | kind, run_name=arm.name).info.run_id
    runs = [_write_trial(client, number, run, own, arm, place, start) for place in range(len(arm.trials))]
    scratch.mkdir(parents=True)
    if arm.selected is not None:
        history = arm.trials[arm.selected].history
        selection = {
            **{"arm": arm.name, "metric": RATIO, "trial_id": f"t{arm.selected}", "run_id": runs[arm.selected]},
            **{"objective": min(value for _, value in history), "parameters": {"lambda_2_to_1": 0.5}, "remarks": []},
        }
        client.log_dict(run, selection, "selection.json")
        client.set_tag(run, "selected.run.id", runs[arm.selected])
    if arm.gain is not None:
        table = slice_rows(arm.gain, arm.model == "joint") if rows is None else rows
        table.to_csv(scratch / "slices.csv", index=False)
        drawn = old_picture_arrays if arm.old else picture_arrays
        np.savez_compressed(scratch / "overlays.npz", **drawn(arm.gain, table))
        client.log_artifacts(run, str(scratch), "test")
        client.set_tag(run, "test.openings", "1")
    client.set_terminated(run, end_time=start + 300_000)


def _write_trial(
    client: MlflowClient, number: str, parent: str, tags: Mapping[str, str], arm: Arm, place: int, start: int
) -> str:
    trial = arm.trials[place]
    kind = {"study.kind": "trial", "trial.id": f"t{place}", "mlflow.parentRunId": parent, "trial.state": trial.state}
    begun = start + 100 * (place + 1)
    run = client.create_run(number, start_time=begun, tags={**tags, **kind, "trial.reason": trial.reason}).info.run_id
    drawn = {"lambda_1": 0.5, "lambda_2": 0.3, "lambda_3": 0.2, "alpha": 0.1 * place, "model": arm.model}
    points = [
        Metric(RATIO, value, int(time.time() * 1000) + order, epoch)
        for order, (epoch, value) in enumerate(trial.history)
    ]
    client.log_batch(run, metrics=points, params=[Param(name, str(value)) for name, value in drawn.items()])
    status = "FAILED" if trial.state == "failed" else "FINISHED"
    client.set_terminated(run, status, end_time=begun + 60_000)
    return str(run)
