"""Suggestions depend on seed, number and known trials only; conversion of each outcome to Optuna's states."""

import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from outcomes import outcome

from study.plan.search_space import Parameter
from study.store_names import EARLY, OBJECTIVE, TIME_BUDGET
from study.trials.outcome import TrialOutcome
from study.trials.suggestion import STARTUP_TRIALS, Suggester, distributions, export, optuna_trials, suggest

ALPHA = Parameter("alpha", 0.0, 1.0, "linear", "all of it", ("standalone",))
RATE = Parameter("optimiser.learning_rate", 1e-4, 1e-2, "log", "?", ("joint",))
STEPS = Parameter("model.guide_steps", 1, 8, "linear", "?", ("joint",))


def known(count: int) -> list:
    """Return trials whose objective is best at alpha 0.2. Every third is stopped early."""
    found = []
    for number in range(1, count + 1):
        sample = suggest([ALPHA], found, number, seed=3)
        value = (sample["alpha"] - 0.2) ** 2
        early = number % 3 == 0
        found.append(
            outcome(
                number,
                [value + 0.1] if early else [value + 0.1, value],
                "stopped" if early else "complete",
                EARLY if early else "",
                dict(sample),
            )
        )
    return found


def test_parameters_become_optunas_distributions():
    assert distributions((ALPHA, RATE, STEPS)) == {
        "alpha": optuna.distributions.FloatDistribution(0.0, 1.0),
        "optimiser.learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
        "model.guide_steps": optuna.distributions.IntDistribution(1, 8),
    }


def test_the_same_knowledge_gives_the_same_suggestion_and_no_two_trials_get_the_same():
    trials = known(12)
    assert [trial.sample for trial in trials] == [trial.sample for trial in known(12)]
    assert len({trial.sample["alpha"] for trial in trials}) == 12
    assert suggest([ALPHA], trials, 13, seed=3) == suggest([ALPHA], trials, 13, seed=3)
    assert suggest([ALPHA], trials, 13, seed=3) != suggest([ALPHA], trials, 13, seed=4)


def test_after_the_start_up_the_model_looks_where_the_objective_is_small():
    trials = known(30)
    first = [abs(trial.sample["alpha"] - 0.2) for trial in trials[:STARTUP_TRIALS]]
    last = [abs(trial.sample["alpha"] - 0.2) for trial in trials[-10:]]
    assert sum(last) / 10 < sum(first) / STARTUP_TRIALS / 2


def test_samples_are_within_their_bounds():
    for number in range(1, 9):
        sample = suggest([ALPHA, RATE, STEPS], [], number, seed=0)
        assert 0 <= sample["alpha"] <= 1 and 1e-4 <= sample["optimiser.learning_rate"] <= 1e-2
        assert sample["model.guide_steps"] in range(1, 9) and isinstance(sample["model.guide_steps"], int)


def as_optuna_says(parameters: list[Parameter], outcomes: list[TrialOutcome], number: int, seed: int) -> dict:
    """Return the suggestion by Optuna alone, from a new study with all trials added."""
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(
        seed=own, multivariate=True, constant_liar=True, n_startup_trials=STARTUP_TRIALS
    )
    study = optuna.create_study(sampler=sampler, direction="minimize")
    study.add_trials(optuna_trials(parameters, outcomes, TrialState.RUNNING))
    return dict(study.ask(distributions(parameters)).params)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_remembered_changes_no_suggestion(data: st.DataObject):
    """Trials run, end, are cut and continue in any order. One suggester sees all events, others start in between."""
    parameters, suggester = [ALPHA, RATE, STEPS], Suggester([ALPHA, RATE, STEPS], seed=5)
    known: dict[int, TrialOutcome] = {}
    for number in range(1, 13):
        drawn = suggester.suggest(known.values(), number)
        assert drawn == as_optuna_says(parameters, list(known.values()), number, seed=5)
        assert drawn == suggest(parameters, known.values(), number, seed=5)
        known[number] = outcome(number, [], "running", sample=dict(drawn))
        for one in data.draw(st.lists(st.sampled_from(sorted(known)), max_size=4)):
            state, reason = data.draw(st.sampled_from(STATES))
            values = [epoch.metrics.get(OBJECTIVE) for epoch in known[one].epochs]
            value = data.draw(st.one_of(st.none(), st.floats(0, 2)))
            known[one] = outcome(one, [*values, value], state, reason, dict(known[one].sample))


STATES = [("running", ""), ("complete", ""), ("stopped", EARLY), ("stopped", TIME_BUDGET), ("failed", "ValueError: x")]
ENDS = [
    (outcome(1, [0.9, 0.5]), TrialState.COMPLETE, 0.5, {1: 0.9, 2: 0.5}),
    (outcome(2, [None, 0.9, 0.95], "stopped", EARLY), TrialState.PRUNED, 0.9, {2: 0.9, 3: 0.9}),
    (outcome(3, [0.9], "stopped", TIME_BUDGET), TrialState.PRUNED, 0.9, {1: 0.9}),
    (outcome(4, [], "stopped", TIME_BUDGET), TrialState.PRUNED, None, {}),
    (outcome(5, [0.9], "failed", "TrainingDivergedError: NaN"), TrialState.FAIL, None, {1: 0.9}),
    (outcome(6, [math.nan]), TrialState.FAIL, None, {}),
    (outcome(7, [0.8], "running"), TrialState.RUNNING, None, {1: 0.8}),
    (outcome(8, [], "running"), TrialState.RUNNING, None, {}),
]


@pytest.mark.parametrize(("trial", "state", "value", "intermediate"), ENDS)
def test_optuna_is_told_of_every_end_as_what_it_is(trial, state, value, intermediate):
    (told,) = optuna_trials([ALPHA], [trial], TrialState.RUNNING)
    assert (told.state, told.value, told.intermediate_values) == (state, value, intermediate)
    assert told.user_attrs == {"trial.id": trial.trial_id, "reason": trial.reason}


def test_every_end_can_be_suggested_from():
    assert 0 <= suggest([ALPHA], [row[0] for row in ENDS], 9, seed=0)["alpha"] <= 1


def test_the_export_opens_as_optuna_studies_and_nothing_in_it_is_running(tmp_path: Path):
    path = tmp_path / "optuna.db"
    for left in (".optuna.db.999.part", ".optuna.db.999.part-journal"):  # left by a killed driver
        (tmp_path / left).write_text("half")
    for trials in ([row[0] for row in ENDS[:3]], [row[0] for row in ENDS]):  # the second replaces the first
        export(path, {"joint-25": ([ALPHA], trials), "joint-35": ([ALPHA], [])})
    storage = f"sqlite:///{path}"
    assert set(optuna.get_all_study_names(storage)) == {"joint-25", "joint-35"}
    study = optuna.load_study(study_name="joint-25", storage=storage)
    expected = [TrialState.WAITING if row[1] is TrialState.RUNNING else row[1] for row in ENDS]
    assert [trial.state for trial in study.trials] == expected
    assert study.best_value == 0.5 and study.trials[1].intermediate_values == {2: 0.9, 3: 0.9}
    assert [file.name for file in tmp_path.iterdir()] == ["optuna.db"]
