"""The expected duration and disk use of a study."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cohort import cached_patients
from plans import SPLITS, plan_of

from jointnet.model_file import save_model
from jointnet.models import MODELS
from jointnet.networks import build_model
from jointnet.settings import Settings, load_settings, with_values
from jointnet.train.checkpoint_files import checkpoint_files
from jointnet.train.loop import train
from study.plan.cost import (
    COPIES_IN_CHECKPOINT,
    SLICES,
    arm_minutes,
    arm_trials,
    budget_share_minutes,
    checkpoint_megabytes,
    expected_epochs,
    expected_minutes,
    model_bytes,
    model_megabytes,
    relative_work,
    retrain_minutes,
    seconds_per_epoch,
    seconds_per_step,
    training_hours,
)
from study.plan.plan import Arm, Design, make_arms
from study.plan.plan_text import render
from study.search.file.reading import load_spaces
from study.search.space import Budget, Fidelity, with_overrides


def test_expected_minutes_are_the_estimate_up_to_the_budgets_share():
    space = with_overrides(load_spaces(["joint"], "quick")[0], num_samples=2, max_epochs=1)
    space = replace(space, base=load_settings("quick"))
    plan = plan_of()
    arms = make_arms([replace(space, budget=replace(space.budget, minutes=None))], SPLITS)
    free = replace(plan, arms=arms)
    # two trials at once, one epoch each: 25 training patients, 15 validation patients at half the cost
    assert arm_minutes(free, arms[0]) == pytest.approx(MODELS["joint"].seconds_per_patient_epoch * (25 + 15 / 2) / 60)
    assert budget_share_minutes(free, arms[0]) is None
    rarely = replace(space, base=with_values(space.base, {"training.validate_every": 3}), budget=Budget(2, None))
    assert arm_minutes(free, make_arms([rarely], SPLITS)[0]) == pytest.approx(
        MODELS["joint"].seconds_per_patient_epoch * (25 + 15 / 6) / 60
    )
    tight = make_arms([replace(space, budget=replace(space.budget, minutes=0.02))], SPLITS)
    assert arm_minutes(replace(plan, arms=tight), tight[0]) == pytest.approx(0.01)


def test_an_epoch_of_steps_costs_its_slices_whatever_the_number_of_patients():
    steps = 10 * 45 * SLICES // 8  # ten times the slices of 45 patients
    space = load_spaces(["joint"], "quick")[0]
    space = replace(space, base=with_values(space.base, {"training.steps": steps, "training.validate_every": 10}))
    space = replace(space, fidelity=Fidelity(10, 10, 2))
    plan = replace(plan_of(), arms=make_arms([space], SPLITS))
    for arm in plan.arms:
        expected = MODELS["joint"].seconds_per_patient_epoch * (45 + 0.05 * arm.split.counts.validation)
        assert seconds_per_epoch(plan, arm) == pytest.approx(expected, rel=0.01)


def test_the_default_study_is_planned_within_twelve_minutes():
    plan = plan_of()
    share = [budget_share_minutes(plan, arm) for arm in plan.arms]
    assert sum(minutes or 99 for minutes in share) <= 10


def test_expected_epochs_by_hand():
    # 8 trials for 4 epochs, 4 of them for 4 more, 2 of these for the last 8
    assert expected_epochs(Fidelity(16, 4, 2), 8) == 8 * 4 + 4 * 4 + 2 * 8
    assert expected_epochs(Fidelity(5, 5, 2), 3) == 15
    assert expected_epochs(Fidelity(8, 1, 4), 1) == 8


def test_work_scales_with_pixels_and_channels():
    quick = load_settings("quick")
    assert relative_work(quick) == 1
    double = [2 * width for width in quick.model.widths]
    assert relative_work(with_values(quick, {"model.widths": double})) == pytest.approx(4)
    fine = with_values(quick, {"model.stem": 1, "training.downsampling": 1})
    coarse = with_values(quick, {"model.stem": 1, "training.downsampling": 2})
    assert relative_work(fine) / relative_work(coarse) == pytest.approx(4)
    assert "roughly: scaled from the settings quick" in render(plan_of(settings="paper"))


def test_on_a_gpu_the_time_is_unknown_up_to_the_budget():
    plan = plan_of(device="cuda")
    free = [replace(arm.space, budget=Budget(2, None)) for arm in plan.arms[:1]]
    open_end = replace(plan, arms=tuple(Arm(plan.arms[0].model, plan.arms[0].split, space) for space in free))
    assert arm_minutes(open_end, open_end.arms[0]) is None and expected_minutes(open_end) is None
    assert "unknown time" in render(open_end) and "unknown: no epoch of joint was measured on cuda" in render(open_end)
    tight = replace(open_end.arms[0].space, budget=Budget(2, 3.0))
    limited = replace(plan, arms=make_arms([tight], SPLITS[:1]))
    assert arm_minutes(limited, limited.arms[0]) == 3


def test_retrainings_train_to_the_end_in_turns():
    plan = replace(plan_of(), design=Design(seeds=3))  # two at once, so 3 retrainings take two rounds
    arm = plan.arms[0]
    each = seconds_per_epoch(plan, arm) * arm.space.fidelity.max_epochs / 60
    assert retrain_minutes(plan, arm) == pytest.approx(2 * each)
    assert retrain_minutes(plan_of(), arm) == 0
    assert expected_minutes(plan) - expected_minutes(plan_of()) == pytest.approx(
        sum(retrain_minutes(plan, arm) for arm in plan.arms)
    )
    more = training_hours(plan) - training_hours(plan_of())
    assert more == pytest.approx(sum(1.5 * retrain_minutes(plan, arm) for arm in plan.arms) / 60)
    assert f"{sum(arm.space.budget.num_samples for arm in plan.arms)} trials and 6 retrainings, about " in render(plan)


def test_equal_compute_gives_each_arm_the_minutes_and_counts_what_probably_fits():
    plan = plan_of("joint", "standalone")
    arms = tuple(replace(a, space=with_overrides(a.space, minutes=60.0, equal_compute=True)) for a in plan.arms)
    equal = replace(plan, arms=arms)
    assert [budget_share_minutes(equal, arm) for arm in arms] == [60.0] * 4
    assert [arm_minutes(equal, arm) for arm in arms] == [60.0] * 4
    assert training_hours(equal) == pytest.approx(4 * 60 / 60 * plan.resources.concurrent)
    trials = [arm_trials(equal, arm) for arm in arms]
    assert trials[2] > trials[0] > 1  # a stand-alone trial costs less
    text = render(equal)
    assert (
        "equal compute: each arm draws trials for 60 minutes" in text
        and "as many trials as fit, the first its settings, of" in text
    )
    unknown = replace(equal, resources=replace(plan.resources, device="cuda"))
    assert arm_trials(unknown, arms[0]) is None and training_hours(unknown) is None
    assert "a model of each training, twice" in render(unknown)


def test_a_step_of_a_model_that_was_never_measured_is_timed(monkeypatch: pytest.MonkeyPatch):
    plan = plan_of("joint", "standalone")
    arm, cost = plan.arms[0], MODELS["joint"].seconds_per_patient_epoch
    patients = seconds_per_epoch(plan, arm) / relative_work(arm.settings) / cost
    models = {**MODELS, "joint": replace(MODELS["joint"], seconds_per_patient_epoch=None)}
    monkeypatch.setattr("jointnet.models.MODELS", models)
    timed = []

    def one_second(settings: Settings) -> float:
        timed.append(settings.model.name)
        return 1.0

    monkeypatch.setattr("study.plan.cost.seconds_per_step", one_second)
    assert seconds_per_epoch(plan, arm) == pytest.approx(patients * SLICES / arm.settings.training.batch_size)
    assert "roughly: one step of joint was timed" in render(plan)
    assert timed == ["joint"]  # once, although several arms and texts need it
    unknown = replace(plan, resources=replace(plan.resources, device="cuda"))
    assert seconds_per_epoch(unknown, arm) is None


def test_the_time_of_a_step_is_that_of_the_machine_and_changes_nothing():
    state = torch.get_rng_state()
    seconds = seconds_per_step(TINY)
    assert 0 < seconds < 30
    assert torch.equal(torch.get_rng_state(), state)


TINY = with_values(Settings(), {"model.widths": [16, 32], "training.downsampling": 4, "training.epochs": 1})


def test_the_size_of_a_model_and_of_a_checkpoint_are_those_of_the_files(tmp_path: Path):
    expected = model_bytes(TINY)
    save_model(tmp_path / "model.pt", build_model(TINY).state_dict(), TINY, {}, 1)
    assert expected < (tmp_path / "model.pt").stat().st_size < expected + 100_000
    patients = cached_patients(tmp_path / "cache", 2)
    train(TINY, patients[:1], patients[1:], seed=0, device="cpu", checkpoints=tmp_path / "checkpoints")
    (checkpoint,) = checkpoint_files(tmp_path / "checkpoints")
    whole = COPIES_IN_CHECKPOINT * expected
    assert whole < checkpoint.stat().st_size < whole + 300_000


def test_the_plan_lists_its_disk_use():
    plan = plan_of()
    (space,) = plan.spaces
    one = model_bytes(space.settings_of("joint")) / 1e6
    assert model_megabytes(plan) == pytest.approx(2 * space.budget.num_samples * one)
    assert checkpoint_megabytes(plan) == 17 * one
    assert f"at most {model_megabytes(plan):.1f} MB of models" in render(plan)
