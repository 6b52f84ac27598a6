"""Early stopping: the rule of ASHA, compared with Ray Tune's implementation."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import outcome
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from simulation import DICE

from study.search.outcome import TrialOutcome
from study.search.pruning import Asha, pruning_rule, rungs
from study.search.space import Fidelity


@pytest.mark.parametrize(
    ("fidelity", "expected"),
    [
        (Fidelity(12, 4, 2), (4, 8)),
        (Fidelity(16, 4, 2), (4, 8)),
        (Fidelity(2, 1, 2), (1,)),
        (Fidelity(5, 5, 2), ()),
        (Fidelity(81, 1, 3), (1, 3, 9, 27)),
    ],
)
def test_rungs_are_powers_of_the_factor_below_the_most_epochs(fidelity, expected):
    assert rungs(fidelity) == expected


def test_the_first_at_a_rung_goes_on_and_the_worse_half_does_not():
    fidelity = Fidelity(8, 2, 2)
    first = outcome(1, [0.9, 0.9])
    assert not Asha(fidelity, []).prunes(first)
    assert Asha(fidelity, [first]).prunes(outcome(2, [0.95, 0.95]))
    assert not Asha(fidelity, [first]).prunes(outcome(2, [0.95, 0.8]))
    others = [outcome(number, [value, value]) for number, value in enumerate((0.5, 0.6, 0.7), start=1)]
    assert not Asha(fidelity, others).prunes(outcome(4, [0.9, 0.6]))  # a trial at the median is not pruned
    assert Asha(fidelity, others).prunes(outcome(4, [0.9, 0.61]))


def test_each_rung_is_asked_once_and_only_from_the_first_objective_on():
    fidelity, good = Fidelity(8, 2, 2), outcome(1, [0.1] * 8)
    assert not Asha(fidelity, [good]).prunes(outcome(2, [0.9]))  # before the rung
    assert Asha(fidelity, [good]).prunes(outcome(2, [0.9, 0.9]))
    assert not Asha(fidelity, [good]).prunes(outcome(2, [0.9, 0.9, 0.9]))  # a rung is checked once only
    assert Asha(fidelity, [good]).prunes(outcome(2, [0.9] * 4))  # at the next rung
    assert not Asha(fidelity, [good]).prunes(outcome(2, [None, None]))
    assert Asha(fidelity, [good]).prunes(outcome(2, [None, None, 0.9]))


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("grace", [1, 2])
def test_the_decisions_are_those_of_ray_tune(factor: int, grace: int):
    fidelity, draw = Fidelity(9, grace, factor), random.Random(factor)
    asha = ASHAScheduler(
        time_attr="epoch", metric="objective", mode="min", max_t=9, grace_period=grace, reduction_factor=factor
    )
    trials = {number: outcome(number, []) for number in range(1, 31)}
    rays = {number: SimpleNamespace(trial_id=str(number)) for number in trials}
    for ray in rays.values():
        asha.on_trial_add(None, ray)
    alive, stopped, kept = list(trials), 0, Asha(fidelity)
    while alive:
        number = draw.choice(alive)
        values = [each.metrics["val/registration_ratio"] for each in trials[number].epochs]
        trials[number] = outcome(number, [*values, draw.random()])
        now = trials[number]
        others = [trial for trial in trials.values() if trial.number != number]
        if now.epoch >= fidelity.max_epochs:
            alive.remove(number)
            continue
        pruned = Asha(fidelity, others).prunes(now)
        assert pruned == kept.prunes(now)
        kept.update(now)
        decision = asha.on_trial_result(None, rays[number], {"epoch": now.epoch, "objective": now.objective})
        assert pruned == (decision == TrialScheduler.STOP)
        if pruned:
            alive.remove(number)
            stopped += 1
    assert 5 < stopped < 30


def plainly_pruned(trial: TrialOutcome, others: list[TrialOutcome], fidelity: Fidelity) -> bool:
    """Return whether the trial is pruned, by a direct implementation of the rule on all epochs of all trials."""
    reached = [rung for rung in rungs(fidelity) if trial.epoch >= rung]
    if not reached or min((e for e in trial.history if e >= reached[-1]), default=None) != trial.epoch:
        return False
    at = {other.number: min((e for e in other.history if e >= reached[-1]), default=None) for other in others}
    known = [other.history[at[other.number]] for other in others if at[other.number] is not None]
    return bool(known) and trial.history[trial.epoch] > np.quantile(known, 1 / fidelity.reduction_factor)


@given(
    reports=st.lists(st.tuples(st.integers(1, 6), st.one_of(st.none(), st.floats(0, 1), st.just(np.nan))), max_size=60),
    fidelity=st.builds(Fidelity, st.just(9), st.integers(1, 3), st.integers(2, 4)),
    restart=st.integers(0, 60),
)
def test_what_is_kept_decides_as_a_look_at_everything_does(reports, fidelity: Fidelity, restart: int):
    """This includes a driver that restarts in between and reads the earlier trials."""
    values: dict[int, list] = {}
    kept = Asha(fidelity)
    for moment, (number, value) in enumerate(reports):
        if moment == restart:
            kept = Asha(fidelity, [outcome(one, had) for one, had in values.items()])
        now = outcome(number, [*values.get(number, []), value])
        others = [outcome(one, had) for one, had in values.items() if one != number]
        assert kept.prunes(now) == plainly_pruned(now, others, fidelity)
        kept.update(now)
        values.setdefault(number, []).append(value)


@given(
    values=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=2, max_size=6),
    scheduler=st.sampled_from(["asha", "median"]),
)
def test_where_high_values_are_good_the_mirrored_values_decide_the_same(values, scheduler: str):
    fidelity = Fidelity(5, 1, 2)
    low = [outcome(number, list(map(float, had))) for number, had in enumerate(values, start=1)]
    high = [outcome(t.number, [-e.metrics["val/registration_ratio"] for e in t.epochs], ranked_by=DICE) for t in low]
    assert [t.best_epoch for t in low] == [t.best_epoch for t in high]
    decisions = [pruning_rule(scheduler, fidelity, trials[:-1]).prunes(trials[-1]) for trials in (low, high)]
    assert decisions[0] == decisions[1]
