"""One trial without Ray: its training data, its reports, and its files."""

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cohort import cached_patients

import study.trials.trial
from jointnet.model_file import save_model
from jointnet.model_path import MODEL_FILE
from jointnet.networks import build_model
from jointnet.preparation.cache import CachedPatient
from jointnet.settings import Settings, with_values
from jointnet.train.objective import EpochReport, Objective
from study.trials.trial import (
    BEST_FILE,
    ArmTask,
    ObjectiveNotFiniteError,
    TrialSpec,
    freeze_model,
    keep_best_only,
    run_in_worker,
    run_trial,
)
from study.trials.trial_files import PREVIOUS_FILE

TINY = with_values(
    Settings(),
    {
        "model.name": "standalone",
        "model.widths": [4, 4],
        "model.stem": 2,
        "training.epochs": 2,
        "training.validate_every": 1,
    },
)


def spec_in(folder: Path, patients: list[CachedPatient], sample: dict[str, Any] | None = None) -> TrialSpec:
    half = max(1, len(patients) // 2)
    task = ArmTask("standalone-2", TINY, tuple(patients[:half]), tuple(patients[half:]), 0, "cpu", 1, folder)
    return TrialSpec(task, "t1", sample or {"alpha": 0.3})


def test_a_trial_holds_training_and_validation_patients_only():
    assert [part.name for part in fields(ArmTask) if "Patient" in str(part.type)] == ["training", "validation"]
    assert not any("test" in part.name for cls in (ArmTask, TrialSpec) for part in fields(cls))


def test_a_real_training_reports_plain_floats_and_leaves_its_best_model(tmp_path: Path):
    spec = spec_in(tmp_path / "arm", cached_patients(tmp_path / "cache", 4))
    reports: list[EpochReport] = []
    best = run_trial(spec, reports.append)
    assert [report.epoch for report in reports] == [1, 2]
    assert all(type(value) is float for report in reports for value in (report.seconds, *report.metrics.values()))
    values = [report.metrics["val/registration_ratio"] for report in reports]
    assert best == reports[values.index(min(values))] and best.metrics["val/registration_ratio"] == min(values)
    assert freeze_model(spec.folder, best.epoch) == spec.folder / "best" / "model.pt"
    assert freeze_model(spec.folder, 9) is None
    assert torch.get_num_threads() == 1


def _fake(monkeypatch: pytest.MonkeyPatch, values: list[float | None]) -> list[Settings]:
    """Replace the training by one that reports these objectives (None: no validation) and writes dummy models."""
    seen: list[Settings] = []

    def train(settings: Settings, training: Any, validation: Any, *, on_epoch: Any, out: Path, **other: Any) -> None:
        seen.append(settings)
        for epoch, value in enumerate(values, start=1):
            (out / MODEL_FILE).write_text(str(epoch))
            metrics = {"train/loss": 1.0} | ({} if value is None else {"val/registration_ratio": value})
            on_epoch(EpochReport(epoch, 0.1, metrics))

    monkeypatch.setattr(study.trials.trial, "train", train)
    return seen


@pytest.mark.parametrize(("epochs", "best"), [(1, None), (2, 2), (3, 3), (4, 3), (5, 3)])
def test_the_model_of_the_best_reported_epoch_is_kept(
    epochs: int, best: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen = _fake(monkeypatch, [None, 0.9, 0.7, 0.8, 0.7][:epochs])
    reports: list[EpochReport] = []
    spec = spec_in(tmp_path, [])
    run_trial(spec, reports.append)
    assert [report.epoch for report in reports] == list(range(1, epochs + 1))
    previous = spec.folder / PREVIOUS_FILE
    assert (int(previous.read_text()) if previous.exists() else None) == best
    assert seen[0].loss.alpha == 0.3


def test_the_best_epoch_follows_the_objective_of_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _fake(monkeypatch, [0.7, 0.9, 0.8])
    spec = spec_in(tmp_path, [])
    upwards = Objective("val/registration_ratio", "maximize")
    run_trial(replace(spec, task=replace(spec.task, objective=upwards)))
    assert (spec.folder / PREVIOUS_FILE).read_text() == "2"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_objective_that_is_not_finite_fails_the_trial(value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _fake(monkeypatch, [0.9, value])
    with pytest.raises(ObjectiveNotFiniteError, match=r"must be finite, got .* in epoch 2"):
        run_trial(spec_in(tmp_path, []))


def test_a_further_metric_that_is_not_finite_fails_the_trial_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _fake(monkeypatch, [0.9, math.nan])
    spec = spec_in(tmp_path, [])
    both = Objective("val/lost", further=(spec.task.objective,))
    with pytest.raises(ObjectiveNotFiniteError, match=r"val/registration_ratio must be finite, got nan in epoch 2"):
        run_trial(replace(spec, task=replace(spec.task, objective=both)))


def test_the_frozen_model_is_that_of_the_reported_epoch(tmp_path: Path):
    """A trial that is stopped from outside may have written one more epoch than it reported."""
    weights = build_model(TINY).state_dict()
    save_model(tmp_path / "previous.pt", weights, TINY, {}, epoch=3)
    save_model(tmp_path / "model.pt", weights, TINY, {}, epoch=4)
    frozen = freeze_model(tmp_path, 3)
    assert frozen is not None and frozen.read_bytes() == (tmp_path / "previous.pt").read_bytes()
    frozen = freeze_model(tmp_path, 4)
    assert frozen is not None and frozen.read_bytes() == (tmp_path / "model.pt").read_bytes()
    (tmp_path / "model.pt").write_bytes(b"damaged")
    assert freeze_model(tmp_path, 4) is None


def test_a_file_without_weights_is_no_model(tmp_path: Path):
    save_model(tmp_path / "model.pt", {}, TINY, {}, epoch=2)
    assert freeze_model(tmp_path, 2) is None


def test_weights_that_are_not_finite_are_no_model(tmp_path: Path):
    weights = dict(build_model(TINY).state_dict())
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    save_model(tmp_path / "model.pt", {**weights, name: torch.full_like(weights[name], math.nan)}, TINY, {}, epoch=2)
    assert freeze_model(tmp_path, 2) is None
    save_model(tmp_path / "previous.pt", weights, TINY, {}, epoch=2)
    frozen = freeze_model(tmp_path, 2)
    assert frozen is not None and frozen.read_bytes() == (tmp_path / "previous.pt").read_bytes()


def test_of_a_finished_trial_only_the_frozen_model_is_left(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / BEST_FILE
    best.parent.mkdir()
    models = [best, tmp_path / MODEL_FILE, tmp_path / PREVIOUS_FILE]
    for path in (*models, *(path.with_name(f".{path.name}.12840.part") for path in models)):
        path.write_bytes(b"weights")
    keep_best_only(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [best]
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("device", "freed"), [("cuda", 1), ("cpu", 0)])
def test_a_worker_frees_a_gpus_memory_that_its_trial_before_left(device: str, freed: int, tmp_path: Path, monkeypatch):
    calls: list[None] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(None))
    spec = spec_in(tmp_path, [])
    config = {"trial_id": "t1", "sample": {}, "seed": 0, "attempt": 1}
    run_in_worker(config, replace(spec.task, device=device), lambda told: None, lambda spec, on_epoch: None)
    assert len(calls) == freed
