"""What is said of a running study: counts, the best so far, and the time left."""

import io

import pytest
from rich.console import Console

from study.progress import ArmProgress, StudyProgress


def test_time_left_follows_the_epochs_and_stays_within_the_budget():
    arm = ArmProgress("joint-25", 4, expected_epochs=10, expected_seconds=100)
    assert arm.remaining_seconds(0, pace=2) == 200  # not begun: the plan, at the pace of the arms before
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


def test_plain_lines_where_there_is_no_terminal():
    text = io.StringIO()
    progress = StudyProgress({"joint-25": ArmProgress("joint-25", 2, 4, 40)}, 30, Console(file=text, width=80))
    with progress:
        progress.arm_started("joint-25", 60)
        for trial in ("a", "b"):
            progress.trial_started("joint-25", trial)
            progress.epoch_done("joint-25", trial, 0.9 if trial == "a" else 0.8)
        progress.trial_ended("joint-25", "a", "failed", "TrainingDivergedError: [NaN]")
        progress.trial_ended("joint-25", "b", "stopped", "early")
        progress.arm_ended("joint-25")
    said = text.getvalue()
    assert "trial a failed: TrainingDivergedError: [NaN]" in said
    assert "2 trials (0 complete, 1 stopped, 1 failed), 2 epochs, best 0.800" in said
    assert "\x1b" not in said
