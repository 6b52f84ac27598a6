"""Samples depend on seed, number and known trials only; Optuna's states of all outcomes."""

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from outcomes import outcome
from simulation import DICE, RIVALS

from jointnet.train.objective import OBJECTIVE, REGISTRATION_RATIO, Objective
from study.search.optuna_trials import distributions, optuna_trials, write_optuna_file
from study.search.outcome import TrialOutcome
from study.search.parameters import Parameter, Range
from study.search.samplers import STARTUP_TRIALS
from study.search.sampling import Sampler
from study.search.space import Search
from study.store_names import EARLY, TIME_BUDGET

ALPHA = Parameter("alpha", Range(0.0, 1.0), ("standalone",))
RATE = Parameter("optimiser.learning_rate", Range(1e-4, 1e-2, "log"), ("joint",))
STEPS = Parameter("model.guide_steps", Range(1, 8), ("joint",))
TPE = Search()


def known(count: int) -> list:
    """Return trials whose objective is best at alpha 0.2. Every third is stopped early."""
    found = []
    for number in range(1, count + 1):
        sample = Sampler([ALPHA], TPE, 3).sample(found, number)
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
    assert Sampler([ALPHA], TPE, 3).sample(trials, 13) == Sampler([ALPHA], TPE, 3).sample(trials, 13)
    assert Sampler([ALPHA], TPE, 3).sample(trials, 13) != Sampler([ALPHA], TPE, 4).sample(trials, 13)


def test_after_the_start_up_the_model_looks_where_the_objective_is_small():
    trials = known(30)
    first = [abs(trial.sample["alpha"] - 0.2) for trial in trials[:STARTUP_TRIALS]]
    last = [abs(trial.sample["alpha"] - 0.2) for trial in trials[-10:]]
    assert sum(last) / 10 < sum(first) / STARTUP_TRIALS / 2


def test_samples_are_within_their_bounds():
    for number in range(1, 9):
        sample = Sampler([ALPHA, RATE, STEPS], TPE, 0).sample([], number)
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
    """Trials run, end, are cut and continue in any order. One sampler sees all events, others start in between."""
    parameters, sampler = [ALPHA, RATE, STEPS], Sampler([ALPHA, RATE, STEPS], TPE, 5)
    known: dict[int, TrialOutcome] = {}
    for number in range(1, 13):
        drawn = sampler.sample(known.values(), number)
        assert drawn == as_optuna_says(parameters, list(known.values()), number, seed=5)
        assert drawn == Sampler(parameters, TPE, 5).sample(known.values(), number)
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
def test_every_end_becomes_the_state_that_optuna_has_for_it(trial, state, value, intermediate):
    (optunas,) = optuna_trials([ALPHA], [trial], TrialState.RUNNING)
    assert (optunas.state, optunas.value, optunas.intermediate_values) == (
        state,
        value,
        intermediate,
    )
    assert optunas.user_attrs == {"trial.id": trial.trial_id, "reason": trial.reason}


def test_every_end_can_be_suggested_from():
    assert 0 <= Sampler([ALPHA], TPE, 0).sample([row[0] for row in ENDS], 9)["alpha"] <= 1


@pytest.mark.filterwarnings("ignore:.*plot_optimization_history is experimental")
def test_the_export_opens_as_optuna_studies_and_nothing_in_it_is_running(tmp_path: Path):
    path = tmp_path / "optuna.db"
    for left in (".optuna.db.999.part", ".optuna.db.999.part-journal"):  # left by a killed driver
        (tmp_path / left).write_text("half")
    timed = replace(ENDS[0][0], began_ms=1_000_000, until_ms=1_060_000)
    for trials in (
        [row[0] for row in ENDS[:3]],
        [timed, *(row[0] for row in ENDS[1:])],
    ):  # the second replaces the first
        write_optuna_file(path, {"joint-25": ([ALPHA], trials), "joint-35": ([ALPHA], [])}, REGISTRATION_RATIO)
    storage = f"sqlite:///{path}"
    assert set(optuna.get_all_study_names(storage)) == {"joint-25", "joint-35"}
    study = optuna.load_study(study_name="joint-25", storage=storage)
    expected = [TrialState.WAITING if row[1] is TrialState.RUNNING else row[1] for row in ENDS]
    assert [trial.state for trial in study.trials] == expected
    assert [trial.user_attrs["trial.id"] for trial in study.trials] == [row[0].trial_id for row in ENDS]
    assert (study.best_trial.user_attrs["trial.id"], study.best_value) == ("t0001", 0.5)
    assert study.metric_names == ["val/registration_ratio"]
    assert study.trials[0].duration == timedelta(minutes=1)
    optuna.visualization.matplotlib.plot_optimization_history(study)
    assert study.trials[1].intermediate_values == {2: 0.9, 3: 0.9}
    assert [file.name for file in tmp_path.iterdir()] == ["optuna.db"]


def test_the_export_has_the_objectives_direction(tmp_path: Path):
    trials = [outcome(number, [value], ranked_by=DICE) for number, value in enumerate([0.7, 0.9, 0.8], start=1)]
    write_optuna_file(tmp_path / "optuna.db", {"joint-25": ([ALPHA], trials)}, DICE)
    study = optuna.load_study(study_name="joint-25", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert (study.best_value, study.best_trial.user_attrs["trial.id"]) == (0.9, "t0002")
    assert study.metric_names == ["val/dice/lv"]


@pytest.mark.parametrize(
    ("trial", "state", "values"),
    [
        (outcome(1, [(0.9, 0.1), (0.5, 0.3), (0.7, 0.2)], ranked_by=RIVALS), TrialState.COMPLETE, [0.5, 0.3]),
        (outcome(2, [(0.9, 0.1)], "stopped", TIME_BUDGET, ranked_by=RIVALS), TrialState.PRUNED, [0.9, 0.1]),
        (outcome(3, [(0.9, math.nan)], ranked_by=RIVALS), TrialState.FAIL, None),
        (outcome(4, [0.9], ranked_by=RIVALS), TrialState.FAIL, None),
        (outcome(5, [(0.9, 0.1)], "failed", "NaN", ranked_by=RIVALS), TrialState.FAIL, None),
        (outcome(6, [(0.9, 0.1)], "running", ranked_by=RIVALS), TrialState.RUNNING, None),
    ],
)
def test_several_metrics_are_those_of_the_best_epoch_by_the_first(trial, state, values):
    (optunas,) = optuna_trials([ALPHA], [trial], TrialState.RUNNING)
    assert (optunas.state, optunas.values, optunas.intermediate_values) == (state, values, {})
    assert 0 <= Sampler([ALPHA], TPE, 0, RIVALS).sample([trial], 7)["alpha"] <= 1


FEW = st.sampled_from([0.1, 0.2, 0.3, math.nan])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FEW, FEW, FEW), max_size=8), st.booleans())
def test_the_front_is_optunas(values: list[tuple[float, ...]], maximized: bool):
    ends = [Objective("val/dice/lv", "maximize" if maximized else "minimize"), Objective("val/lost")]
    objective = Objective(OBJECTIVE, further=tuple(ends))
    trials = [outcome(number, [own], ranked_by=objective) for number, own in enumerate(values, start=1)]
    study = optuna.create_study(directions=[each.direction for each in objective.all])
    study.add_trials(optuna_trials([ALPHA], trials, TrialState.RUNNING))
    front = [trial for trial, chosen in zip(trials, objective.front(values), strict=True) if chosen]
    assert [trial.user_attrs["trial.id"] for trial in study.best_trials] == [trial.trial_id for trial in front]


def test_the_export_has_all_metrics_with_their_names(tmp_path: Path):
    both = Objective(OBJECTIVE, further=(DICE,))
    trials = [
        outcome(1, [(0.9, 0.5)], ranked_by=both),
        outcome(2, [(0.5, 0.3)], ranked_by=both),
        outcome(3, [(0.6, 0.2)], ranked_by=both),
    ]
    write_optuna_file(tmp_path / "optuna.db", {"joint-25": ([ALPHA], trials)}, both)
    study = optuna.load_study(study_name="joint-25", storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert study.metric_names == ["val/registration_ratio", "val/dice/lv"]
    assert [trial.user_attrs["trial.id"] for trial in study.best_trials] == ["t0001", "t0002"]
