"""The contract of all samplers and schedulers: functions of seed, number and outcomes that survive any kill."""

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from outcomes import outcome
from simulation import DICE, RIVALS, KilledError, MortalLedger, metrics_of, recorder_of, run_to_end, space, trials_of

from jointnet.train.objective import OBJECTIVE, REGISTRATION_RATIO, Objective
from study.search.first_trials import Sample
from study.search.grid import Grid, grid_size, points
from study.search.optuna_trials import optuna_trials
from study.search.outcome import TrialOutcome
from study.search.parameters import Choices, Parameter, Range, in_order
from study.search.pruning import Median, pruning_rule
from study.search.samplers import CLASSES, FOR_SEVERAL, STARTUP_TRIALS, options_of, sampler_errors
from study.search.sampling import Sampler
from study.search.space import Fidelity, Search
from study.store_names import EARLY, TIME_BUDGET
from study.trials.ledger import Ledger
from study.trials.scheduling import ArmSearch
from study.trials.work import SearchWork

SAMPLERS = [
    pytest.param(name, marks=pytest.mark.skipif(name == "cmaes" and find_spec("cmaes") is None, reason="no cmaes"))
    for name in (*CLASSES, "grid")
]
NUMBERS = (
    Parameter("alpha", Range(0.0, 1.0, "linear", 0.125), ()),
    Parameter("model.guide_steps", Range(1, 8), ()),
)
RATE = Parameter("optimiser.learning_rate", Range(1e-4, 1e-2, "log"), ())
CHOICES = (
    Parameter("model.head", Choices(("guided", "fully_connected")), ()),
    Parameter("model.widths", Choices(([4, 8], [8, 16], [16, 32])), ()),
)
CONDITIONAL = (
    *CHOICES,
    Parameter("model.guide_steps", Range(1, 4), (), {"model.head": ("guided",)}),
)
SPACES = {"numbers": NUMBERS, "rate": (*NUMBERS, RATE), "choices": CHOICES, "conditional": CONDITIONAL}


THREE = replace(RIVALS, further=(*RIVALS.further, Objective("val/lost")))


def can_draw(sampler: str, parameters: Sequence[Parameter], ranked_by: Objective) -> bool:
    refused = ranked_by.further and sampler not in FOR_SEVERAL
    return not refused and not [*sampler_errors(Search(sampler=sampler), parameters)]


def objective(sample: Sample) -> float:
    """Return an objective that is best for fully connected heads, alpha 0.25 and few steps."""
    value = abs(sample.get("alpha", 0.25) - 0.25) + 0.02 * sample.get("model.guide_steps", 1)
    return float(0.5 + value + 0.3 * (sample.get("model.head") == "guided"))


def searched(sampler: Sampler, count: int, ranked_by: Objective = REGISTRATION_RATIO) -> list[TrialOutcome]:
    """Return trials in order. Every third is stopped, every seventh fails, and the last two run.

    Where high values are good, the objective is mirrored. A second metric is the better the worse the first one is.
    """
    found: list[TrialOutcome] = []
    for number in range(1, count + 1):
        sample = sampler.sample(found, number)
        value = objective(sample)
        values, state = ([value + 0.1], "stopped") if number % 3 == 0 else ([value + 0.1, value], "complete")
        state = "failed" if number % 7 == 0 else "running" if number > count - 2 else state
        reason = (TIME_BUDGET if ranked_by.further else EARLY) if state == "stopped" else ""
        several = [(ranked_by.cost(value), 1 - value, number % 4)[: len(ranked_by.all)] for value in values]
        found.append(outcome(number, several, state, reason, dict(sample), ranked_by=ranked_by))
    return found


@pytest.mark.parametrize(
    ("name", "ranked_by"),
    [
        *((name, REGISTRATION_RATIO) for name in SPACES),
        *(("numbers", ranked_by) for ranked_by in (DICE, RIVALS, THREE)),
        *(("conditional", ranked_by) for ranked_by in (DICE, RIVALS)),
    ],
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_a_function_of_seed_number_and_outcomes_and_lies_in_the_space(
    sampler: str, name: str, ranked_by: Objective
):
    parameters, search = in_order(SPACES[name]), Search(sampler=sampler)
    if not can_draw(sampler, parameters, ranked_by):
        pytest.skip("refused, as tested below")
    count = 8 if sampler == "gp" and ranked_by.further else 14  # the Gaussian process of several metrics is slow
    count = min(count, grid_size(parameters)) if sampler == "grid" else count
    trials = searched(Sampler(parameters, search, 3, ranked_by), count, ranked_by)
    for trial in trials:
        drawn = dict(trial.sample)
        assert set(drawn) == {one.name for one in parameters if one.is_drawn(drawn)}
        assert all(one.domain.has(drawn[one.name]) for one in parameters if one.name in drawn)
    assert searched(Sampler(parameters, search, 3, ranked_by), count, ranked_by) == trials
    others = searched(Sampler(parameters, search, 4, ranked_by), count, ranked_by)
    assert [t.sample for t in others] != [t.sample for t in trials]


def _as_known(trials: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Return the trials as another driver reads them: equal, and no object the same."""
    return [replace(trial, sample=dict(trial.sample)) for trial in trials]


@pytest.mark.parametrize("ranked_by", [REGISTRATION_RATIO, DICE])
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name.values[0] not in ("random", "qmc", "grid")])
def test_what_is_modelled_is_better_than_what_is_drawn_at_random(sampler: str, ranked_by: Objective):
    trials: list[TrialOutcome] = []
    drawing = Sampler(NUMBERS, Search(sampler=sampler), 1, ranked_by)
    for number in range(1, 31):
        sample = drawing.sample(trials, number)
        value = ranked_by.cost(objective(sample))
        trials.append(outcome(number, [value], "complete", "", dict(sample), ranked_by=ranked_by))
    first = [objective(trial.sample) for trial in trials[:STARTUP_TRIALS]]
    last = [objective(trial.sample) for trial in trials[-8:]]
    assert sum(last) / len(last) < sum(first) / len(first)


@pytest.mark.parametrize(
    ("scheduler", "ranked_by"),
    [
        *((name, REGISTRATION_RATIO) for name in ("asha", "median", "none")),
        *(("asha", DICE), ("median", DICE), ("none", RIVALS)),
    ],
)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_is_killed_anywhere_ends_as_one_that_is_not(
    sampler: str, scheduler: str, ranked_by: Objective, tmp_path: Path
):
    if ranked_by.further and sampler not in FOR_SEVERAL:
        pytest.skip("refused by the rules of search files")
    own = space(5, epochs=3, grace=1)
    search = Search(sampler=sampler, scheduler=scheduler)
    parameters = (Parameter("alpha", Range(0.0, 1.0, "linear", 0.125), ("standalone",)),)
    work = SearchWork("standalone-1", parameters, own.fidelity, 5, 0, search, ({"alpha": 0.5},), ranked_by)

    def drive(ledger: Ledger) -> None:
        recorder = recorder_of(ledger, own)
        found = ArmSearch(work, recorder, 1)
        found.end_finished()
        run_to_end(found, recorder, train=lambda spec, epoch: metrics_of(spec.sample, epoch))

    with Ledger(tmp_path / "whole", ranked_by) as ledger:
        drive(ledger)
        whole, events = trials_of(ledger), len(ledger.events)
    stopped = sum(trial[3] == "stopped" for trial in whole)
    assert len(whole) == 5 and (scheduler != "none" or not stopped)
    for dies_at, written in ((events // 3, True), (events // 2, False), (events - 2, True)):
        folder = tmp_path / str(dies_at)
        with pytest.raises(KilledError), MortalLedger(folder, dies_at, written, ranked_by) as ledger:
            drive(ledger)
        with Ledger(folder, ranked_by) as ledger:
            drive(ledger)
            assert trials_of(ledger) == whole, (dies_at, written)


def test_a_second_metric_changes_what_is_drawn():
    trials = searched(Sampler(NUMBERS, Search(), 1, RIVALS), 14, RIVALS)
    assert Sampler(NUMBERS, Search(), 1, RIVALS).sample(trials, 15) != Sampler(NUMBERS, Search(), 1).sample(
        [replace(trial, ranked_by=REGISTRATION_RATIO) for trial in trials], 15
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_do_not_depend_on_which_driver_remembers_what(sampler: str):
    """Trials of a driver that drew all of them, and of one driver for each trial."""
    search, parameters = Search(sampler=sampler), NUMBERS
    one = searched(Sampler(parameters, search, 5), 10)
    many: list[TrialOutcome] = []
    for number in range(1, 11):
        sample = Sampler(parameters, search, 5).sample(_as_known(many), number)
        many.append(replace(one[number - 1], sample=dict(sample)))
        assert many[-1].sample == one[number - 1].sample


def test_a_grid_draws_every_point_once_and_says_when_it_is_exhausted():
    every = points(in_order(CONDITIONAL))
    assert len(every) == grid_size(in_order(CONDITIONAL)) == 3 * (4 + 1)
    grid, drawn = Grid(in_order(CONDITIONAL), 0), list[Sample]()
    for _ in every:
        drawn.append(grid.next_point(drawn))
    assert sorted(map(str, drawn)) == sorted(map(str, every)) and drawn != every
    with pytest.raises(ValueError, match="all 15 points of the grid were drawn"):
        grid.next_point(drawn)
    assert Grid(in_order(CONDITIONAL), 0).next_point([every[0]]) != every[0]
    assert grid_size((Parameter("a", Range(1, 10**6), ()), Parameter("b", Range(1, 10**6), ()))) == 10**12


def test_quasi_random_numbers_are_those_of_one_sequence():
    parameters = (Parameter("alpha", Range(0.0, 1.0), ()), Parameter("augmentation.noise", Range(0.0, 1.0), ()))
    trials: list[TrialOutcome] = []
    for number in range(1, 17):
        sample = Sampler(parameters, Search(sampler="qmc"), 0).sample(trials, number)
        trials.append(outcome(number, [1.0], "complete", "", dict(sample)))
    for name in ("alpha", "augmentation.noise"):  # 16 points of a scrambled Sobol sequence: one in each sixteenth
        assert sorted(int(16 * trial.sample[name]) for trial in trials) == list(range(16))


@pytest.mark.parametrize(
    ("search", "parameters", "error"),
    [
        (Search(sampler="cmaes"), CHOICES, "sampler: must be another than cmaes, .* for the choices of model.head"),
        (Search(sampler="gp"), CONDITIONAL, "sampler: must be tpe, random or grid for the condition of model.guide"),
        (Search(sampler="qmc"), CONDITIONAL, "sampler: must be tpe, random or grid for the condition of model.guide"),
        (Search(sampler="grid"), (RATE,), "sampler: must be another than grid, or parameters.optimiser.learning_rate"),
        (Search(options={"n_startup": 3}), NUMBERS, "options.n_startup: must be an option of tpe, .*n_startup_trials"),
        (Search(options={"seed": 3}), NUMBERS, "options.seed: must be an option of tpe"),
        (Search(options={"n_startup_trials": "a"}), NUMBERS, "options.n_startup_trials: .*integer, got 'a'"),
        (Search(sampler="qmc", options={"qmc_type": "x"}), NUMBERS, "options: must be accepted by Optuna's QMCSampler"),
        (Search(sampler="grid", options={"shuffle": True}), NUMBERS, r"must be an option of grid, \(none\), got True"),
    ],
)  # fmt: skip
def test_what_a_sampler_cannot_take_is_refused(search: Search, parameters: Sequence[Parameter], error: str):
    found = [*sampler_errors(search, parameters)]
    assert any(re.search(error, line) for line in found), found


def test_a_sampler_whose_package_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("study.search.samplers.find_spec", lambda name: None)
    assert [*sampler_errors(Search(sampler="cmaes"), NUMBERS)] == [
        "sampler: cmaes needs the package cmaes, which is not installed (pip install cmaes)"
    ]
    assert not [*sampler_errors(Search(sampler="gp"), NUMBERS)]


def test_options_reach_optunas_class():
    early = Sampler(NUMBERS, Search(options={"n_startup_trials": 1}), 2)
    late = Sampler(NUMBERS, Search(options={"n_startup_trials": 50}), 2)
    random = Sampler(NUMBERS, Search(sampler="random"), 2)
    trials = searched(random, 12)
    assert late.sample(trials, 13) == random.sample(trials, 13) != early.sample(trials, 13)
    assert {"n_startup_trials", "multivariate"} <= set(options_of("tpe")) and "gamma" not in options_of("tpe")


@pytest.mark.parametrize("grace", [1, 2, 3])
def test_the_median_rule_is_optunas(grace: int):
    fidelity, pruner = Fidelity(4, grace, 2), optuna.pruners.MedianPruner(0, n_warmup_steps=grace)
    complete = [outcome(number, [0.9 - 0.1 * number, 0.5 + 0.03 * number, 0.4, 0.3]) for number in range(1, 6)]
    rule, alpha, seen = Median(fidelity, complete), Parameter("alpha", Range(0.0, 1.0), ()), set()
    for values in ([0.95], [0.2], [0.9, 0.58], [0.9, 0.6], [0.7, 0.65, 0.5], [0.9, 0.9, 0.31]):
        trial = outcome(9, values, "running")
        study = optuna.create_study(pruner=pruner)
        study.add_trials(optuna_trials([alpha], [*complete, trial], TrialState.RUNNING))
        pruned = pruner.prune(study, study.trials[-1])
        assert rule.prunes(trial) == pruned, values
        seen.add(pruned)
    assert seen == {True, False}


def test_the_median_rule_decides_at_validations_only_and_by_complete_trials():
    fidelity = Fidelity(8, 2, 2)
    assert not Median(fidelity, [outcome(1, [0.1, 0.1], "stopped", EARLY)]).prunes(outcome(2, [0.9, 0.9]))
    rule = pruning_rule("median", fidelity, [outcome(1, [0.1] * 8)])
    assert rule.prunes(outcome(2, [0.9, 0.9])) and not rule.prunes(outcome(2, [0.9, 0.9, None]))
    assert OBJECTIVE not in outcome(2, [None]).epochs[-1].metrics
