"""Reading a study from a store that was written by client calls."""

import math
from pathlib import Path

import pytest
import synthetic_store as synthetic

from jointnet.errors import InputError
from study.report.stored_study import best_value, read_study, study_ids


def test_arms_come_in_the_order_of_the_paper(studies: str) -> None:
    study = read_study(studies, synthetic.PARTIAL)
    assert [arm.arm for arm in study.arms] == ["standalone-25", "standalone-35", "joint-25", "joint-35"]
    assert (study.metric, study.direction, study.minutes) == (synthetic.RATIO, "minimize", 10.0)
    assert (study.arms[2].train, study.arms[2].validation, study.arms[2].test) == (25, 15, 5)
    assert study.missing == ()


def test_every_stage_of_an_arm_is_told_apart(studies: str) -> None:
    failed, empty, tested, selected = read_study(studies, synthetic.PARTIAL).arms
    assert [trial.state for trial in failed.trials] == ["failed"]
    assert failed.trials[0].reason == "RuntimeError: out of memory"
    assert math.isnan(failed.trials[0].objective) and not failed.trials[0].finished
    assert empty.trials == () and empty.selected is None
    assert selected.selected is selected.trials[0] and selected.rows is None and selected.openings == 0
    assert tested.rows is not None and tested.openings == 1
    assert tested.overlays["cine"].shape == (5, 96, 112)  # the format of older studies: one slice per patient


def test_the_ends_of_trials_are_told_apart(studies: str) -> None:
    trials = read_study(studies, synthetic.PARTIAL).arms[2].trials
    assert [(trial.ending, trial.finished) for trial in trials] == [
        ("complete", True),
        ("stopped early by ASHA", True),
        ("cut short by the time budget", True),
        ("interrupted", False),
    ]


def test_rows_survive_the_store_unchanged(studies: str) -> None:
    arm = read_study(studies, synthetic.PARTIAL).arms[2]
    expected = synthetic.slice_rows(0.9, True)
    assert arm.rows is not None
    assert list(arm.rows.columns) == list(expected.columns)
    assert (arm.rows["after"].to_numpy() == expected["after"].to_numpy()).all()


def test_parameters_are_numbers_where_they_can_be(studies: str) -> None:
    trial = read_study(studies, synthetic.PARTIAL).arms[3].trials[0]
    assert trial.parameters["lambda_2"] == 0.3 and trial.parameters["model"] == "joint"
    assert (trial.objective, trial.best_epoch, trial.minutes) == (0.8, 1, 1.0)


def test_best_value_takes_the_last_word_on_a_repeated_epoch() -> None:
    assert best_value([(1, 0.9), (2, 0.1), (2, 0.7), (3, 0.8)], "minimize") == (0.7, 2, 3)
    assert best_value([(1, 0.9), (2, 0.7)], "maximize") == (0.9, 1, 2)
    assert best_value([(1, math.nan), (2, 0.7), (3, -1.8e308)], "minimize") == (0.7, 2, 1)
    assert math.isnan(best_value([], "minimize")[0])


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(InputError, match="no such tracking store"):
        study_ids(f"sqlite:///{path}")
    assert not path.exists()


def test_an_unknown_study_names_those_that_are_there(studies: str) -> None:
    with pytest.raises(InputError, match=synthetic.PARTIAL):
        read_study(studies, "nope' OR 'x' = 'x")
