"""The decisions of a search: the same after any kill, and right about every way in which an attempt can end."""

import errno
from pathlib import Path

import pytest
from simulation import (
    ARM,
    KilledError,
    MortalLedger,
    metrics_of,
    recorder_of,
    run_to_end,
    space,
    told,
    work,
    write_model,
)

from study.driver.ending import ending_of
from study.driver.interruption import StudyHaltedError
from study.driver.rounds import check_halted
from study.search.arm_search import MOST_FAILURES, ArmSearch
from study.store_layout import EARLY, TIME_BUDGET
from study.trials.failures import Cause
from study.trials.ledger import Ledger


def searched(folder: Path, own, at_once: int = 1, dies_at: int = 0, written: bool = True) -> list:
    """Let one driver search; give what the ledger says, also where it died."""
    with MortalLedger(folder, dies_at, written) as ledger:
        recorder = recorder_of(ledger, own)
        search = ArmSearch(work(own), recorder, at_once)
        recorder.catch_up()
        search.settle()
        run_to_end(search, recorder, at_once)
        return told(ledger)


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> list:
    return searched(tmp_path_factory.mktemp("twin"), space())


def test_an_undisturbed_search_draws_trains_and_stops(twin):
    assert [trial[0] for trial in twin] == [1, 2, 3, 4, 5, 6]
    assert {trial[3] for trial in twin} == {"complete", "stopped"}
    for number, _, sample, state, reason, epochs, behind in twin:
        assert epochs == [(epoch, metrics_of(sample, epoch)) for epoch in range(1, len(epochs) + 1)]
        assert (state, reason, behind, len(epochs)) in [("complete", "", False, 4), ("stopped", EARLY, True, 2)], number


@pytest.mark.parametrize("written", [False, True])
def test_a_driver_killed_at_any_event_leaves_a_search_that_ends_like_its_twin(twin, tmp_path, written: bool):
    with Ledger(tmp_path / "count") as ledger:
        recorder = recorder_of(ledger, space())
        run_to_end(ArmSearch(work(space()), recorder, 1), recorder)
        events = len(ledger.events)
    assert events > 25
    for moment in range(1, events + 1):
        folder = tmp_path / f"at-{moment}"
        with pytest.raises(KilledError):
            searched(folder, space(), dies_at=moment, written=written)
        assert searched(folder, space()) == twin, moment
        assert not list(folder.rglob("checkpoints")) and not list(folder.rglob("previous.pt"))


def test_a_driver_that_is_killed_again_and_again_gets_there(twin, tmp_path):
    for _ in range(200):
        try:
            assert searched(tmp_path, space(), dies_at=2) == twin
            return
        except KilledError:
            continue
    pytest.fail("never ended")


def test_several_at_once_are_the_same_trials_whenever_one_is_resumed(tmp_path):
    with pytest.raises(KilledError):
        searched(tmp_path, space(), at_once=3, dies_at=11)
    with Ledger(tmp_path) as ledger:
        before = {trial[1]: trial[2] for trial in told(ledger)}
    after = searched(tmp_path, space(), at_once=3)
    assert [trial[0] for trial in after] == [1, 2, 3, 4, 5, 6]
    assert {trial[1]: trial[2] for trial in after}.items() >= before.items()
    assert {trial[3] for trial in after} <= {"complete", "stopped"}
    assert len({trial[2]["alpha"] for trial in after}) == 6


def test_more_trials_are_drawn_from_what_is_known(twin, tmp_path):
    assert searched(tmp_path / "a", space(samples=4)) == twin[:4]
    assert searched(tmp_path / "a", space(samples=6)) == twin
    assert searched(tmp_path / "a", space(samples=2)) == twin  # fewer never removes any


@pytest.fixture
def started(tmp_path):
    """A search of two trials at once, both under way with one epoch."""
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, space())
        search = ArmSearch(work(space()), recorder, 2)
        for attempt in ("a", "b"):
            trial = search.next_trial(attempt)
            write_model(recorder.task.folder / trial.trial_id, 1)
            assert not search.reported(attempt, 1, metrics_of(trial.sample, 1))
        yield search, recorder


def state(recorder, trial_id: str) -> tuple[str, str]:
    return recorder.outcomes[trial_id].state, recorder.outcomes[trial_id].reason


def test_no_more_than_the_limit_run_at_once(started):
    search, _ = started
    assert search.next_trial("c") is None and not search.idle and search.work_left()


def test_what_the_training_did_is_final(started):
    search, recorder = started
    search.raised("a", Cause.TRAINING, "TrainingDivergedError: NaN")
    assert state(recorder, "t0001") == ("failed", "TrainingDivergedError: NaN")
    assert not (recorder.task.folder / "t0001").exists()
    assert search.next_trial("c").trial_id == "t0003"


def test_what_the_machine_did_is_tried_again_and_at_last_recorded(started):
    search, recorder = started
    attempt = "a"
    for again in range(1, MOST_FAILURES):
        search.raised(attempt, Cause.MACHINE, "worker died")
        assert state(recorder, "t0001") == ("running", "")
        attempt = f"again {again}"
        assert search.next_trial(attempt).trial_id == "t0001"
        assert not search.reported(attempt, 1, {"val/registration_ratio": 9.9})  # a repeated epoch counts once
    assert recorder.outcomes["t0001"].objective != 9.9
    search.raised(attempt, Cause.MACHINE, "worker died")
    assert state(recorder, "t0001") == ("failed", f"{MOST_FAILURES} attempts in a row: worker died")


def test_an_epoch_between_failures_starts_the_count_again(started):
    search, recorder = started
    for epoch in (2, 3):
        for _ in range(MOST_FAILURES - 1):
            attempt = next(name for name, trial in search._active.items() if trial == "t0001")
            search.raised(attempt, Cause.MACHINE, "worker died")
            assert search.next_trial(f"{attempt}+").trial_id == "t0001"
        search.reported(next(n for n, t in search._active.items() if t == "t0001"), epoch, {"train/loss": 1.0})
    assert state(recorder, "t0001") == ("running", "")


def test_where_memory_was_short_fewer_run_beside_it(started):
    search, recorder = started
    search.raised("a", Cause.MEMORY, "OutOfMemoryError: ...")
    assert search.limit == 1 and search.next_trial("c") is None
    search.raised("b", Cause.MEMORY, "OutOfMemoryError: ...")
    assert search.limit == 1 and search.next_trial("c").trial_id == "t0001"
    assert {outcome.state for outcome in recorder.outcomes.values()} == {"running"}


def test_a_full_disk_halts_the_search_and_blames_no_trial(started):
    search, recorder = started
    search.raised("a", Cause.DISK, "OSError: No space left on device")
    assert (search.halted, search.faulty) == ("OSError: No space left on device", True)
    assert search.next_trial("c") is None
    assert search.reported("b", 2, metrics_of(recorder.outcomes["t0002"].sample, 2))
    search.returned("b")
    assert search.idle and {outcome.state for outcome in recorder.outcomes.values()} == {"running"}


def test_a_ledger_that_cannot_be_written_halts_the_search(started, monkeypatch):
    search, recorder = started

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recorder._ledger, "append", full)
    assert search.reported("a", 2, {"train/loss": 1.0})
    assert search.faulty and "No space left" in search.halted
    search.returned("a")
    search.close(TIME_BUDGET)
    assert recorder.outcomes["t0001"].epoch == 1 and state(recorder, "t0001") == ("running", "")


def test_rights_that_are_missing_end_the_study_for_good_and_a_full_disk_does_not(started, monkeypatch):
    for number, status in ((errno.EACCES, 2), (errno.ENOSPC, 5)):
        search, recorder = ArmSearch(started[0]._work, started[1], 2), started[1]
        monkeypatch.setattr(recorder, "started", _raising(OSError(number, "no")))
        assert search.next_trial("c") is None
        with pytest.raises(StudyHaltedError) as caught:
            check_halted(search)
        assert ending_of(caught.value).status == status


def _raising(error: OSError):
    def raise_it(*_, **__):
        raise error

    return raise_it


def test_a_gentle_stop_ends_no_trial_and_a_later_driver_goes_on(started):
    search, recorder = started
    search.halt("interrupted")
    for attempt, trial_id in (("a", "t0001"), ("b", "t0002")):
        write_model(recorder.task.folder / trial_id, 2)
        assert search.reported(attempt, 2, metrics_of(recorder.outcomes[trial_id].sample, 2))
        search.returned(attempt)
    assert not search.faulty and search.next_trial("c") is None
    later = ArmSearch(work(space()), recorder, 1)
    later.settle()
    run_to_end(later, recorder)
    assert [outcome.number for outcome in recorder.outcomes.values()] == [1, 2, 3, 4, 5, 6]
    assert all(outcome.over for outcome in recorder.outcomes.values())


def test_what_the_time_budget_cuts_can_be_selected_and_goes_on_with_more_time(started):
    search, recorder = started
    search.close(TIME_BUDGET)
    for name in ("t0001", "t0002"):
        assert state(recorder, name) == ("stopped", TIME_BUDGET) and recorder.outcomes[name].model.is_file()
    later = ArmSearch(work(space()), recorder, 1)
    assert later.work_left() and later.next_trial("c").trial_id == "t0001"
    assert state(recorder, "t0001") == ("running", "") and recorder.outcomes["t0001"].epoch == 1


def test_an_attempt_that_returns_too_early_is_tried_again(started):
    search, recorder = started
    search.returned("a")
    assert state(recorder, "t0001") == ("running", "") and recorder.outcomes["t0001"].failures == 1


def test_a_trial_whose_end_was_recorded_but_whose_model_is_gone_runs_again(tmp_path):
    own = space(samples=1)
    with pytest.raises(KilledError):
        searched(tmp_path, own, dies_at=1 + own.fidelity.max_epochs)
    (tmp_path / ARM / "t0001" / "model.pt").unlink()
    (trial,) = searched(tmp_path, own)
    assert trial[3] == "complete" and (tmp_path / ARM / "t0001" / "best" / "model.pt").is_file()
