"""The disk space of a study: estimates from tensor sizes against the files of a training."""

from pathlib import Path

import pytest
from cohort import cached_patients
from plans import plan_of

from jointnet.model_file import save_model
from jointnet.networks import build_model
from jointnet.settings import Settings, with_values
from jointnet.train.checkpoints import checkpoint_files
from jointnet.train.loop import train
from study.plan.disk_use import COPIES_IN_CHECKPOINT, checkpoint_megabytes, model_bytes, model_megabytes
from study.plan.plan_text import render

SMALL = with_values(Settings(), {"model.widths": [16, 32], "training.downsampling": 4, "training.epochs": 1})


def test_the_size_of_a_model_and_of_a_checkpoint_are_those_of_the_files(tmp_path: Path):
    expected = model_bytes(SMALL)
    save_model(tmp_path / "model.pt", build_model(SMALL).state_dict(), SMALL, {}, 1)
    assert expected < (tmp_path / "model.pt").stat().st_size < expected + 100_000
    patients = cached_patients(tmp_path / "cache", 2)
    train(SMALL, patients[:1], patients[1:], seed=0, device="cpu", checkpoints=tmp_path / "checkpoints")
    (checkpoint,) = checkpoint_files(tmp_path / "checkpoints")
    whole = COPIES_IN_CHECKPOINT * expected
    assert whole < checkpoint.stat().st_size < whole + 300_000


def test_the_plan_says_how_much_disk_it_takes():
    plan = plan_of()
    (space,) = plan.spaces
    one = model_bytes(space.settings_of("joint")) / 1e6
    assert model_megabytes(plan) == pytest.approx(2 * space.budget.num_samples * one)
    assert checkpoint_megabytes(plan) == 17 * one
    assert f"at most {model_megabytes(plan):.1f} MB of models" in render(plan)
