"""Search spaces: conversion of samples to settings, and overrides of the command."""

from dataclasses import replace

import pytest

from jointnet.errors import SettingsError
from jointnet.settings import Settings, with_values
from study.search.file.reading import load_spaces
from study.search.parameters import lambdas_of, settings_of_sample
from study.search.space import with_overrides


def test_lambdas_follow_the_ratios_and_sum_to_one():
    joint = with_values(Settings(), {"model.name": "joint"})
    assert lambdas_of(joint, {"lambda_2_to_1": 2.0, "lambda_3_to_1": 5.0}) == pytest.approx((1 / 8, 2 / 8, 5 / 8))
    assert lambdas_of(joint, {"lambda_2_to_1": 2.0}) == pytest.approx((1 / 4, 2 / 4, 1 / 4))
    assert lambdas_of(joint, {}) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    weighted = with_values(joint, {"loss.lambda_1": 2, "loss.lambda_2": 1, "loss.lambda_3": 1})
    assert lambdas_of(weighted, {}) == pytest.approx((1 / 2, 1 / 4, 1 / 4))
    assert lambdas_of(with_values(joint, {"model.name": "standalone"}), {}) == (1.0, 0.0, 0.0)


def test_a_sample_becomes_settings():
    joint = with_values(Settings(), {"model.name": "joint"})
    settings = settings_of_sample(
        joint, {"lambda_2_to_1": 1.0, "lambda_3_to_1": 2.0, "alpha": 0.3, "optimiser.learning_rate": 0.01}
    )
    assert (settings.loss.lambda_1, settings.loss.lambda_3) == pytest.approx((0.25, 0.5))
    assert settings.loss.alpha == 0.3 and settings.optimiser.learning_rate == 0.01
    with pytest.raises(SettingsError):
        settings_of_sample(joint, {"alpha": 2.0})


def test_overrides_replace_the_budget_and_shrink_the_grace():
    (joint,) = load_spaces(["joint"])
    space = with_overrides(joint, num_samples=3, max_epochs=2, minutes=1.5)
    assert (space.budget.num_samples, space.budget.minutes) == (3, 1.5)
    assert (space.fidelity.max_epochs, space.fidelity.grace_epochs) == (2, 2)
    assert with_overrides(joint) == joint


@pytest.mark.parametrize(("asked", "steps"), [(None, 600), (12, 120), (60, 600), (90, 900), (1, 10)])
def test_steps_of_a_file_belong_to_its_epochs(asked, steps):
    (joint,) = load_spaces(["joint"])
    base = with_values(joint.base, {"training.steps": 600})
    space = replace(joint, base=base, fidelity=replace(joint.fidelity, max_epochs=60))
    for own in (with_overrides(space, max_epochs=asked), with_overrides(with_overrides(space, max_epochs=asked))):
        training = own.settings_of("joint").training
        assert (training.steps, training.epochs) == (steps, asked or 60)
    (smoke,) = load_spaces(["smoke"])
    assert with_overrides(smoke, max_epochs=asked).settings_of("joint").training.steps is None
