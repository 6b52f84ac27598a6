"""Which training is drawn next: the trials of a search, and the retrainings of its winner with new seeds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState
from outcomes import outcome
from plans import plan_of

from study.plan.plan import Design
from study.search.optuna_trials import optuna_trials
from study.search.pruning import pruning_rule
from study.search.sampling import Sampler
from study.trials.work import RetrainWork, retrain_seeds, retrain_work, search_work


@given(seed=st.integers(0, 2**40), count=st.integers(1, 12))
def test_seeds_are_fresh_different_and_more_begin_with_the_fewer(seed: int, count: int):
    seeds = retrain_seeds(seed, count)
    assert len(set(seeds)) == count and seed not in seeds
    assert all(0 <= each < 2**31 for each in seeds)
    assert retrain_seeds(seed, count + 3)[:count] == seeds
    assert retrain_seeds(seed + 1, count) != seeds


def test_a_seed_that_would_be_the_tuned_one_is_skipped(monkeypatch: pytest.MonkeyPatch):
    class Generator:
        values = iter([7, 3, 3, 9])

        def integers(self, most: int) -> int:
            return next(self.values)

    monkeypatch.setattr("study.trials.work.np.random.default_rng", lambda sequence: Generator())
    assert retrain_seeds(7, 2) == (3, 9)


def test_a_retraining_is_the_winner_with_another_seed_and_no_early_stopping():
    plan = plan_of(design=Design(seeds=2))
    arm, winner = plan.arms[0], outcome(3, [0.9, 0.5], sample={"alpha": 0.25})
    work = retrain_work(plan, arm, winner)
    assert isinstance(work, RetrainWork) and (work.most, work.key) == (2, "joint-25/retrain/t0003")
    drawn = [work.draw(number, ()) for number in (1, 2)]
    assert [each.trial_id for each in drawn] == ["t0003-s1", "t0003-s2"]
    assert [each.seed for each in drawn] == list(retrain_seeds(plan.seed, 2))
    assert all(each.sample == {"alpha": 0.25} for each in drawn)
    assert work.fidelity.max_epochs == arm.space.fidelity.max_epochs
    rule = pruning_rule(work.scheduler, work.fidelity, [outcome(1, [0.1] * 12)])
    assert not any(rule.prunes(outcome(2, [0.9] * epochs)) for epochs in range(1, 12))


def test_a_trial_of_a_search_has_the_studys_seed():
    plan = plan_of()
    work = search_work(plan, plan.arms[1])
    drawn = work.draw(2, ())
    assert (work.key, drawn.trial_id, drawn.seed) == ("joint-35", "t0002", None)
    assert set(drawn.sample) == {parameter.name for parameter in plan.arms[1].space.parameters}


def test_a_first_sample_is_the_settings_own_and_the_others_are_drawn_as_without_it():
    plan = plan_of("paper")
    arm = next(arm for arm in plan.arms if arm.name == "joint-25")
    first = search_work(plan, arm)
    assert first.draw(1, []).sample == {"lambda_2_to_1": 1.0, "lambda_3_to_1": 1.0, "alpha": 0.5}
    trial = outcome(1, [0.8, 0.7], "complete", "", dict(first.draw(1, []).sample))
    drawn = first.draw(2, [trial]).sample
    assert drawn != trial.sample and set(drawn) == set(trial.sample)
    assert drawn == Sampler(arm.parameters, arm.space.search, plan.seed).sample([trial], 2)
    assert len(optuna_trials(arm.parameters, [trial], TrialState.RUNNING)) == 1
