"""The progress display of a running study: counts, the best objective so far, and the time left."""

import io
from dataclasses import replace

import pytest
from outcomes import outcome
from rich.console import Console

from jointnet.train.objective import Objective
from study.store_names import EARLY, TIME_BUDGET
from study.trials.progress import ArmProgress, StudyProgress


def test_time_left_follows_the_epochs_and_stays_within_the_budget():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=100)
    assert arm.remaining_seconds(0, pace=2) == 200  # not begun: the planned time, scaled by the pace of the arms before
    arm.began, arm.epochs = 0.0, 5
    assert arm.remaining_seconds(80, pace=1) == pytest.approx(80)  # half the epochs took 80 s
    arm.limit_seconds = 100
    assert arm.remaining_seconds(80, pace=1) == pytest.approx(20)
    assert arm.pace(80) == pytest.approx(1.6)
    arm.over = True
    assert arm.remaining_seconds(80, pace=1) == 0


def test_an_arm_that_takes_more_epochs_than_expected_is_nearly_done():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=100, began=0.0, epochs=15)
    assert arm.remaining_seconds(150, pace=1) == 0


def test_without_an_estimate_the_time_left_is_the_budgets_or_unknown():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=None)
    assert arm.remaining_seconds(0, pace=1) is None
    progress = StudyProgress({"joint-25": arm}, 30, Console(file=io.StringIO()))
    assert progress.remaining_seconds() is None
    arm.limit_seconds = 100
    assert arm.remaining_seconds(0, pace=1) == 100
    arm.began, arm.epochs, arm.limit_seconds = 0.0, 5, None
    assert arm.remaining_seconds(80, pace=1) == pytest.approx(80)
    assert arm.pace(80) is None


def test_plain_lines_where_there_is_no_terminal():
    text = io.StringIO()
    progress = StudyProgress({"joint-25": ArmProgress("joint-25", 2, 4, 40)}, 30, Console(file=text, width=80))
    with progress:
        progress.arm_started("joint-25", 60)
        for trial in ("a", "b", "c"):
            progress.trial_started("joint-25", trial)
            one = replace(outcome(1, [0.9 if trial == "a" else 0.8], "running"), trial_id=trial)
            progress.epoch_done("joint-25", one)
        progress.trial_ended("joint-25", "a", "failed", "TrainingDivergedError: [NaN]")
        progress.trial_ended("joint-25", "b", "stopped", EARLY)
        progress.trial_ended("joint-25", "c", "stopped", TIME_BUDGET)
        progress.arm_ended("joint-25")
    said = text.getvalue()
    assert "trial a failed: TrainingDivergedError: [NaN]" in said
    assert "3 trials (1 stopped early, 1 stopped by the time budget, 1 failed), 3 epochs, " in said
    assert " min, best 0.800 (b: alpha 0.5)" in said
    assert "\x1b" not in said


def test_the_time_left_falls_between_epochs_and_after_the_search(monkeypatch: pytest.MonkeyPatch):
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=100, began=0.0, epochs=5, latest=50.0)
    assert [arm.remaining_seconds(now, pace=1) for now in (50, 60, 200)] == [50, 40, 0]
    assert arm.pace(60) == pytest.approx(1)
    moment = [1000.0]
    monkeypatch.setattr("study.trials.progress.time.monotonic", lambda: moment[0])
    progress = StudyProgress({"joint-25": arm}, 30, Console(file=io.StringIO()))
    progress.arm_ended("joint-25")
    for moment[0], left in ((1000.0, 30), (1012.0, 18), (1100.0, 0)):
        assert progress.remaining_seconds() == left


def test_a_search_slower_than_planned_has_no_estimate_before_its_second_epoch():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=100, began=0.0, epochs=1)
    assert [arm.remaining_seconds(now, pace=1) for now in (60, 120)] == [40, None]
    arm.limit_seconds = 200
    assert arm.remaining_seconds(120, pace=1) == 80


def test_of_equal_trials_the_first_is_the_best():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=None)
    for trial in (outcome(1, [0.5]), outcome(2, [0.5]), outcome(1, [0.5, 0.5]), outcome(3, [0.1], "failed")):
        arm.add_objective(trial)
    assert arm.best == outcome(1, [0.5, 0.5])


def test_the_best_has_the_objectives_direction_and_unit():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=None)
    for number, value in enumerate([0.5, 0.7, 0.6], start=1):
        arm.add_objective(outcome(number, [value], ranked_by=Objective("val/dice/lv", "maximize")))
    assert arm.best_text == "0.700 (t0002: alpha 0.5)"
    arm.best = outcome(1, [2.5], ranked_by=Objective("val/cd_mm/lv"))
    assert arm.best_text == "2.500 mm (t0001: alpha 0.5)"


def test_the_live_table_fits_into_80_columns_and_names_the_best_the_running_and_the_time_left():
    arms = {name: ArmProgress(name, 6, 12, 120) for name in ("standalone-25", "joint-25")}
    console = Console(file=io.StringIO(), width=80)
    progress = StudyProgress(arms, 30, Console(file=io.StringIO()))
    for number, (objective, state) in enumerate([(0.6, "complete"), (0.5, "stopped"), (0.9, "failed")], start=1):
        progress.add_earlier("joint-25", outcome(number, [objective], state, EARLY))
    progress.arm_started("joint-25", None, "searching joint-25")
    progress.trial_started("joint-25", "t0004")
    sample = {"lambda_2_to_1": 2.0, "lambda_3_to_1": 1.0, "alpha": 0.25}
    progress.epoch_done("joint-25", replace(outcome(4, [0.413], "running"), sample=sample))
    console.print(progress._render())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    words = [line.split() for line in lines]
    assert words[0] == ["arm", "trials", "epochs", "best", "ended"]
    assert words[2] == ["joint-25", "3/6", "4", "0.413", "1", "complete,", "1", "stopped", "early,", "1", "failed"]
    assert lines[3] == "Best on validation: joint-25 0.413 (t0004: lambda 0.25/0.50/0.25, alpha 0.25)"
    assert lines[4].startswith("Now searching joint-25 (t0004 after 1 epoch); about ")


def test_what_an_earlier_driver_did_counts_as_done_but_not_as_pace():
    text = io.StringIO()
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=100)
    progress = StudyProgress({"joint-25": arm}, 0, Console(file=text, width=80))
    progress.add_earlier("joint-25", outcome(1, [0.9, 0.8, 0.7]))
    progress.add_earlier("joint-25", outcome(2, [0.6], "stopped", TIME_BUDGET))
    progress.add_earlier("joint-25", outcome(3, [0.1], "failed"))
    progress.add_earlier("joint-25", outcome(4, [], "running"))
    assert arm.best is not None
    assert (arm.ended, arm.epochs, arm.best.objective) == (3, 5, 0.6)
    assert arm.remaining_seconds(0, pace=1) == pytest.approx(50)  # half of the epochs are already done
    arm.began, arm.epochs = 0.0, 7
    assert arm.remaining_seconds(30, pace=1) == pytest.approx(45)  # two epochs in 30 s, three to go
    assert arm.pace(30) == pytest.approx(1.5)
    progress.arm_ended("joint-25")
    assert "3 trials (1 complete, 1 stopped by the time budget, 1 failed)" in text.getvalue()
