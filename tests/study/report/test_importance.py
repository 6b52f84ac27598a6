"""Importance: all of it if one parameter decides, and none distinguishable from chance if no parameter does."""

import invented_search as invented
import numpy as np
import pytest

from study.report.search import importance
from study.report.search.importance import FOLD


def _arm(values, alphas, ratios=None, **changes):
    drawn = [
        {"alpha": float(a), **({} if ratios is None else {"lambda_2_to_1": float(ratios[k])})}
        for k, a in enumerate(alphas)
    ]
    return invented.arm(
        *(invented.trial(k, float(value), parameters=drawn[k]) for k, value in enumerate(values)), **changes
    )


SPACE = (invented.ALPHA, invented.RATIO_2)


def test_the_parameter_that_alone_decides_explains_nearly_all():
    random = np.random.default_rng(0)
    alphas, ratios = random.random(40), 10 ** random.uniform(-1, 1, 40)
    found = importance.importance([_arm(0.5 + alphas, alphas, ratios)], SPACE)
    first, second = found.shares
    assert first.name == "alpha"
    assert first.share > 0.85
    assert first.above_chance
    assert second.share < 0.05
    assert (found.trials, found.left_out, found.folds, found.reason) == (40, 0, 1, "")


def test_a_parameter_counts_on_the_scale_that_it_was_drawn_on():
    # A uniform grid in log10 with a step in its middle: half of the trials are on either side.
    ratios = 10 ** np.linspace(-1, 1, 40)
    found = importance.importance([_arm(np.where(ratios < 1, 0.5, 0.9), [0.5] * 40, ratios)], SPACE)
    assert found.shares[0].name == "lambda_2_to_1"
    assert found.shares[0].share > 0.9


def test_noise_is_not_distinguished_from_chance():
    random = np.random.default_rng(1)
    above = 0
    for seed in range(5):
        alphas, ratios = random.random(30), 10 ** random.uniform(-1, 1, 30)
        found = importance.importance([_arm(random.lognormal(0, 0.1, 30), alphas, ratios)], SPACE, seed)
        above += sum(one.above_chance for one in found.shares)
    assert above <= 2  # of 10; a share of 0.25 and more is common among them


def test_easier_patients_of_a_fold_do_not_pass_for_better_settings():
    random = np.random.default_rng(2)
    alphas = random.random((2, 20))
    arms = [_arm(level + 0.05 * alphas[k], alphas[k], fold=k + 1, folds=2) for k, level in enumerate((0.5, 0.9))]
    found = importance.importance(arms, (invented.ALPHA,))
    assert [one.name for one in found.shares] == [FOLD, "alpha"]
    assert found.shares[0].share > 0.9
    assert "2 test folds are pooled" in importance.note(found)


def test_trials_that_did_not_train_all_epochs_are_left_out():
    random = np.random.default_rng(3)
    alphas = random.random(20)
    stopped = [invented.trial(100 + k, 5.0, "early", parameters={"alpha": 0.5}) for k in range(7)]
    arm = _arm(0.5 + alphas, alphas)
    both = invented.arm(*arm.trials, *stopped)
    found = importance.importance([both], (invented.ALPHA,))
    assert (found.trials, found.left_out) == (20, 7)
    assert found.shares == importance.importance([arm], (invented.ALPHA,)).shares


def _few(count: int, ending: str = "complete"):
    return invented.arm(*(invented.trial(k, 0.5 + k / 100, ending, parameters={"alpha": 0.5}) for k in range(count)))


@pytest.mark.parametrize(
    ("arms", "space", "reason"),
    [
        ([], SPACE, "0 complete trials, fewer than 15 for 2 parameters"),
        ([invented.arm()], SPACE, "0 complete trials, fewer than 15 for 2 parameters"),
        ([_few(1)], (invented.ALPHA,), "1 complete trial, fewer than 15 for 1 parameter"),
        ([_few(14)], (invented.ALPHA,), "14 complete trials, fewer than 15 for 1 parameter"),
        ([_few(40, "early")], (invented.ALPHA,), "0 complete trials, fewer than 15 for 1 parameter"),
        ([_few(40, "failed")], (invented.ALPHA,), "0 complete trials, fewer than 15 for 1 parameter"),
        ([_few(40)], (), "the store has no searched parameter"),
        ([_few(40)], SPACE, "0 complete trials, fewer than 15 for 2 parameters"),
        (
            [_arm([0.7] * 20, [k / 20 for k in range(20)])],
            (invented.ALPHA,),
            "all complete trials have the same objective",
        ),
    ],
)
def test_where_there_is_too_little_it_gives_the_reason_and_draws_nothing(arms, space, reason):
    found = importance.importance(arms, space)
    assert found.reason == reason
    assert importance.draw(found) is None
    assert found.shares == ()
    assert importance.note(found) == f"Importance is not shown: {reason}."


def test_a_parameter_that_was_always_the_same_explains_nothing():
    alphas = np.linspace(0, 1, 20)
    found = importance.importance([_arm(0.5 + alphas, alphas, [1.0] * 20)], SPACE)
    assert {one.name: one.share for one in found.shares}["lambda_2_to_1"] == 0


def test_the_same_seed_gives_the_same_figure_and_the_words_name_every_share():
    found = importance.importance([invented.search(60)], invented.JOINT)
    assert found == importance.importance([invented.search(60)], invented.JOINT)
    assert importance.draw(found) is not None
    assert all(f"{one.name} {one.share:.0%}" in importance.alt(found) for one in found.shares)
    assert {one.name for one in found.shares} == {one.name for one in invented.JOINT}
