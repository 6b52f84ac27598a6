"""Searched choices and conditions in the table of trials, the figures of the search, importance and warnings."""

import math

import numpy as np
from invented_search import arm, trial

from study.report.search.importance import importance, note
from study.report.search.parameter_figures import draw_parallel, draw_slices, parallel_alt, slices_alt
from study.report.search.selection_warnings import warnings
from study.report.search.trial_table import SearchParameter, search_parameters, trial_table
from study.report.store.records import ArmRecord

SPECIFICATION = {
    "arms": [{"arm": "joint-25", "search": "own", "method": "joint"}],
    "searches": [
        {
            "name": "own",
            "parameters": {
                "model.head": {"choices": ["guided", "fully_connected"], "methods": ["joint"]},
                "model.widths": {"choices": [[8, 16], [16, 32], [4, 8]], "methods": ["joint"]},
                "training.batch_size": {"choices": [4, 8], "methods": ["joint"]},
                "model.guide_steps": {
                    "low": 2, "high": 8, "scale": "linear", "methods": ["joint"], "when": {"model.head": ["guided"]}
                },
            },
        }
    ],
}  # fmt: skip


def searched(count: int) -> ArmRecord:
    """Return trials as a tracking store holds them: numbers as floats, lists as text. Heads matter, widths do not."""
    random, trials = np.random.default_rng(0), []
    for number in range(count):
        head, batch = str(random.choice(["guided", "fully_connected"])), float(random.choice([4, 8]))
        values: dict[str, float | str] = {"model.head": head, "training.batch_size": batch}
        values["model.widths"] = str(random.choice(["[8, 16]", "[16, 32]", "[4, 8]"]))
        if head == "guided":
            values["model.guide_steps"] = float(random.integers(2, 9))
        objective = (0.5 if head == "guided" else 0.7) + 0.01 * random.random()
        trials.append(trial(number, objective, "complete" if number % 4 else "early", parameters=values))
    return arm(*trials, selected=min(range(count), key=lambda place: trials[place].objective))


def test_a_choice_is_its_place_and_a_value_that_was_not_drawn_is_nan():
    record = searched(12)
    space = search_parameters(SPECIFICATION, record)
    assert [(one.choices, one.conditional) for one in space] == [
        (("guided", "fully_connected"), False),
        (("[8, 16]", "[16, 32]", "[4, 8]"), False),
        (("4", "8"), False),
        ((), True),
    ]
    table = trial_table([record], space)
    for line, one in zip(table.to_dict("records"), record.trials, strict=True):
        assert space[0].text(line["model.head"]) == one.parameters["model.head"]
        assert space[1].text(line["model.widths"]) == one.parameters["model.widths"]
        assert float(space[2].text(line["training.batch_size"])) == one.parameters["training.batch_size"]
        assert math.isnan(line["model.guide_steps"]) == ("model.guide_steps" not in one.parameters)
    assert space[0].extent == "guided, fully_connected" and space[3].extent == "2 to 8"
    assert math.isnan(SearchParameter("a", 0, 1, False, ("x", "y")).number("z"))


def test_figures_show_choices_by_name_and_keep_trials_without_a_conditional_value():
    record = searched(12)
    space = search_parameters(SPECIFICATION, record)
    figure = draw_slices([record], space)
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["guided", "fully_connected"]
    parallel = draw_parallel([record], space)
    assert parallel is not None
    lines = [path for part in parallel.axes[0].collections for path in part.get_paths()]
    assert len(lines) == 12 and {len(line.vertices) for line in lines} == {4, 5}  # one axis fewer without guide_steps
    assert all(np.isfinite(line.vertices).all() for line in lines)
    chosen = record.trials[0] if record.selected is None else record.selected
    assert f"model.head {chosen.parameters['model.head']}" in slices_alt([record], space)
    assert "12 trials" in parallel_alt([record], space)


def test_importance_takes_choices_and_leaves_out_what_is_conditional():
    record = searched(60)
    found = importance([record], search_parameters(SPECIFICATION, record))
    assert found.shares[0].name == "model.head" and found.shares[0].above_chance
    assert {one.name for one in found.shares} == {"model.head", "model.widths", "training.batch_size"}
    assert found.trials == 45 and "in some trials only: model.guide_steps" in note(found)


def test_a_choice_is_never_on_a_bound():
    record = searched(20)
    assert not any("is on the bound" in line for line in warnings(record, search_parameters(SPECIFICATION, record)[:3]))
