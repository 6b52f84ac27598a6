"""The decisions of a search: unchanged by a kill at any event, and correct for each ending of an attempt."""

import errno
import math
from dataclasses import replace
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
    trials_of,
    work,
    write_model,
)

from jointnet.settings import with_values
from study.run.rounds import check_halted
from study.run.stopping import EXIT_HALTED, StudyHaltedError, ending_of
from study.search.space import SearchSpace
from study.store_names import EARLY, TIME_BUDGET
from study.trials.ledger import Ledger
from study.trials.scheduling import (
    LEAST_OVERTIME_SECONDS,
    MOST_ATTEMPTS_WITHOUT_EPOCH,
    MOST_LOST_NODES,
    ArmSearch,
    Cause,
)
from study.trials.trial_files import CHECKPOINTS


def searched(folder: Path, own, at_once: int = 1, dies_at: int = 0, written: bool = True) -> list:
    """Search with one driver and return the trials in the ledger."""
    with MortalLedger(folder, dies_at, written) as ledger:
        recorder = recorder_of(ledger, own)
        search = ArmSearch(work(own), recorder, at_once)
        recorder.catch_up()
        search.end_finished()
        run_to_end(search, recorder, at_once)
        return trials_of(ledger)


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> list:
    return searched(tmp_path_factory.mktemp("twin"), space())


def test_an_undisturbed_search_draws_trains_and_stops(twin):
    assert [trial[0] for trial in twin] == [1, 2, 3, 4, 5, 6]
    assert {trial[3] for trial in twin} == {"complete", "stopped"}
    for number, _, sample, state, reason, epochs, pruned in twin:
        assert epochs == [(epoch, metrics_of(sample, epoch)) for epoch in range(1, len(epochs) + 1)]
        assert (state, reason, pruned, len(epochs)) in [("complete", "", False, 4), ("stopped", EARLY, True, 2)], number


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
        before = {trial[1]: trial[2] for trial in trials_of(ledger)}
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
    """A search of two concurrent trials, both running with one epoch done."""
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
    for again in range(1, MOST_ATTEMPTS_WITHOUT_EPOCH):
        search.raised(attempt, Cause.MACHINE, "worker died")
        assert state(recorder, "t0001") == ("running", "")
        attempt = f"again {again}"
        assert search.next_trial(attempt).trial_id == "t0001"
        assert not search.reported(attempt, 1, {"val/registration_ratio": 9.9})  # a repeated epoch counts once
    assert recorder.outcomes["t0001"].objective != 9.9
    search.raised(attempt, Cause.MACHINE, "worker died")
    assert state(recorder, "t0001") == ("failed", f"{MOST_ATTEMPTS_WITHOUT_EPOCH} attempts in a row: worker died")


def test_only_a_failed_attempt_that_is_retried_is_noted_with_where_the_trial_starts(started, monkeypatch):
    search, recorder = started
    notes: list[str] = []
    monkeypatch.setattr(recorder._progress, "note", notes.append)
    search.raised("a", Cause.MACHINE, "worker died")
    (recorder.task.folder / "t0001" / CHECKPOINTS).mkdir()
    (recorder.task.folder / "t0001" / CHECKPOINTS / "epoch-000001.pt").touch()
    for attempt in ("c", "d"):
        assert search.next_trial(attempt).trial_id == "t0001"
        search.raised(attempt, Cause.MACHINE, "worker died")
    failed = f"{recorder.row}: an attempt at trial t0001 failed"
    assert notes == [
        f"{failed} (1 of 3 without a new epoch): worker died; it starts again",
        f"{failed} (2 of 3 without a new epoch): worker died; it resumes from its checkpoint",
        f"{recorder.row}: trial t0001 failed: 3 attempts in a row: worker died",
    ]


def test_an_epoch_between_failures_starts_the_count_again(started):
    search, recorder = started
    for epoch in (2, 3):
        for _ in range(MOST_ATTEMPTS_WITHOUT_EPOCH - 1):
            attempt = next(name for name, trial in search._active.items() if trial == "t0001")
            search.raised(attempt, Cause.MACHINE, "worker died")
            assert search.next_trial(f"{attempt}+").trial_id == "t0001"
        search.reported(next(n for n, t in search._active.items() if t == "t0001"), epoch, {"train/loss": 1.0})
    assert state(recorder, "t0001") == ("running", "")


def test_nodes_that_leave_do_not_count_against_a_trial_unless_it_is_always_the_same_epoch(started, monkeypatch):
    search, recorder = started
    notes: list[str] = []
    monkeypatch.setattr(recorder._progress, "note", notes.append)
    attempt = "a"
    for number in range(MOST_LOST_NODES):
        search.raised(attempt, Cause.LOST, "its node has died")
        attempt = f"after {number}"
        assert search.next_trial(attempt).trial_id == "t0001"
    assert recorder.outcomes["t0001"].failures == 0
    assert set(notes) == {f"{recorder.row}: the node of trial t0001 is gone; it starts again"}
    search.raised(attempt, Cause.LOST, "its node has died")
    assert recorder.outcomes["t0001"].failures == 1


def test_where_memory_was_short_fewer_run_beside_it(started):
    search, recorder = started
    search.raised("a", Cause.MEMORY, "OutOfMemoryError: ...")
    assert search.limit == 1 and search.next_trial("c") is None
    search.raised("b", Cause.MEMORY, "OutOfMemoryError: ...")
    assert search.limit == 1 and search.next_trial("c").trial_id == "t0001"
    assert {outcome.state for outcome in recorder.outcomes.values()} == {"running"}


def test_out_of_memory_on_a_gpu_leaves_fewer_trials_on_each_and_the_last_attempt_has_one_to_itself(
    tmp_path, monkeypatch
):
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, space())
        search = ArmSearch(work(space()), recorder, 8, gpus=0.25)
        notes: list[str] = []
        monkeypatch.setattr(recorder._progress, "note", notes.append)
        for attempt in ("a", "b", "c"):
            search.next_trial(attempt)
        assert {search.gpus_of(attempt) for attempt in ("a", "b", "c")} == {0.25}
        search.raised("a", Cause.GPU_MEMORY, "OutOfMemoryError: ...")
        search.raised("b", Cause.GPU_MEMORY, "OutOfMemoryError: ...")  # it met the same neighbours
        assert (search.gpus, search.limit) == (0.3333, 8)
        for attempt, gpus in (("d", 0.3333), ("e", 1.0)):
            assert search.next_trial(attempt).trial_id == "t0001" and search.gpus_of(attempt) == gpus
            search.raised(attempt, Cause.GPU_MEMORY, "OutOfMemoryError: ...")
        assert search.gpus == 0.5  # a trial that does not fit alone says nothing about the others
        alone = "it had a GPU to itself, so it needs a smaller training.batch_size or model.widths"
        assert state(recorder, "t0001") == ("failed", f"3 attempts in a row: OutOfMemoryError: ...; {alone}")
        assert [note for note in notes if "from now on" in note] == [
            f"{ARM}: a GPU had too little memory for {trials} trials: from now on a trial gets {gpus} GPU "
            f"(next time: --gpus-per-trial {gpus})"
            for trials, gpus in ((4, 0.3333), (3, 0.5))
        ]
        assert search.next_trial("f").trial_id == "t0002" and search.gpus_of("f") == 0.5


def test_the_machines_memory_leaves_the_share_of_a_gpu_as_it_is(tmp_path):
    with Ledger(tmp_path) as ledger:
        search = ArmSearch(work(space()), recorder_of(ledger, space()), 8, gpus=0.25)
        search.next_trial("a")
        search.raised("a", Cause.MEMORY, "MemoryError")
        assert (search.gpus, search.limit) == (0.25, 7)


def test_trials_follow_the_slots_of_the_cluster_less_what_memory_was_short_of(started):
    search, recorder = started
    search.slots = 3
    assert search.limit == 2  # as many as requested
    free = ArmSearch(search._work, recorder, math.inf)
    free.slots = 3
    assert (free.limit, free.wanted) == (3, 6)  # two are unfinished, four are to be drawn
    free.slots = 1
    assert free.next_trial("a").trial_id == "t0001" and free.next_trial("b") is None
    free.slots = 3
    assert free.next_trial("b").trial_id == "t0002" and free.next_trial("c").trial_id == "t0003"
    free.raised("c", Cause.MEMORY, "OutOfMemoryError: ...")
    assert free.limit == 2
    free.slots = 5
    assert free.limit == 4
    free.slots = 0
    assert free.limit == 0 and free.wanted == 6


def test_a_search_without_a_node_for_too_long_stops_at_once_and_is_resumed_later(started):
    search, recorder = started
    assert not search.must_stop
    search.strand("no node")
    assert search.must_stop and search.wanted == 0 and search.next_trial("c") is None
    search.close(None)
    assert {outcome.state for outcome in recorder.outcomes.values()} == {"running"}
    with pytest.raises(StudyHaltedError) as caught:
        check_halted(search)
    assert ending_of(caught.value).status == EXIT_HALTED


@pytest.mark.parametrize(
    ("cause", "reason"),
    [(Cause.DISK, "OSError: No space left on device"), (Cause.NODE, "UnfitNodeError: node-c joined late")],
)
def test_a_full_disk_or_an_unfit_node_halts_the_search_and_blames_no_trial(started, cause: Cause, reason: str):
    search, recorder = started
    search.raised("a", cause, reason)
    assert (search.halted, search.by_error) == (reason, True)
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
    assert search.by_error and "No space left" in search.halted
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
    assert not search.by_error and search.next_trial("c") is None
    later = ArmSearch(work(space()), recorder, 1)
    later.end_finished()
    run_to_end(later, recorder)
    assert [outcome.number for outcome in recorder.outcomes.values()] == [1, 2, 3, 4, 5, 6]
    assert all(outcome.is_final for outcome in recorder.outcomes.values())


def test_what_the_time_budget_cuts_can_be_selected_and_goes_on_with_more_time(started):
    search, recorder = started
    search.close(TIME_BUDGET)
    for name in ("t0001", "t0002"):
        assert state(recorder, name) == ("stopped", TIME_BUDGET) and recorder.outcomes[name].model.is_file()
    later = ArmSearch(work(space()), recorder, 1)
    assert later.work_left() and later.next_trial("c").trial_id == "t0001"
    assert state(recorder, "t0001") == ("running", "") and recorder.outcomes["t0001"].epoch == 1


class Clock:
    """A stand-in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("study.trials.scheduling.time", clock)
    return clock


def seldom_validated(epochs: int = 12, samples: int | None = 6) -> SearchSpace:
    """Return a search space whose trials are first validated after four epochs."""
    own = space(samples=samples, epochs=epochs, grace=4)
    return replace(own, base=with_values(own.base, {"training.validate_every": 4}))


def train(search: ArmSearch, recorder, clock: Clock, attempt: str, epochs: int, seconds: float) -> bool:
    """Train an attempt for `epochs` more epochs and return whether it must stop."""
    trial_id = search._active[attempt]
    stop = False
    for epoch in range(recorder.outcomes[trial_id].epoch + 1, recorder.outcomes[trial_id].epoch + epochs + 1):
        clock.now += seconds
        metrics = {"train/loss": 1.0}
        if epoch % 4 == 0:
            metrics = metrics_of(recorder.outcomes[trial_id].sample, epoch)
            write_model(recorder.task.folder / trial_id, epoch)
        stop = search.reported(attempt, epoch, metrics)
    return stop


def test_no_trial_is_begun_that_cannot_be_validated_in_time(tmp_path, clock: Clock):
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, seldom_validated(samples=None))
        search = ArmSearch(work(seldom_validated(samples=None)), recorder, 2)
        search.begin(100)
        assert search.next_trial("a").trial_id == "t0001"  # the duration of an epoch is not known yet
        train(search, recorder, clock, "a", 4, 10)
        assert search.next_trial("b").trial_id == "t0002"  # takes 40 of the 60 seconds left
        search.raised("b", Cause.TRAINING, "NaN")
        train(search, recorder, clock, "a", 3, 10)
        assert search.next_trial("c") is None  # would take 40 of the 30 seconds left
        assert search.work_left() and not search.late
        search.raised("a", Cause.MACHINE, "worker died")
        assert search.next_trial("d").trial_id == "t0001"  # it continues and was validated before
        search.raised("d", Cause.TRAINING, "NaN")
        assert search.idle and not search.work_left() and search.next_trial("e") is None


def test_the_pace_of_earlier_drivers_counts_until_an_epoch_is_done(tmp_path, clock: Clock):
    own = seldom_validated()
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, own)
        first = ArmSearch(work(own), recorder, 1)
        first.next_trial("a")
        train(first, recorder, clock, "a", 12, 1)
        first.returned("a")
        at = iter(range(0, 10**9, 10_000))
        for outcome in ledger._outcomes[ARM].values():  # 10 seconds per epoch, with one long pause between drivers
            epochs = [replace(epoch, at_ms=next(at) + (10**8 if epoch.epoch > 6 else 0)) for epoch in outcome.epochs]
            ledger._outcomes[ARM][outcome.trial_id] = replace(outcome, epochs=tuple(epochs))
        for seconds, drawn in ((39, False), (41, True)):
            search = ArmSearch(work(own), recorder, 1)
            search.begin(seconds)
            assert (search.next_trial("b") is not None) is drawn


def test_an_arm_without_any_objective_begins_a_trial_however_little_time_is_left(tmp_path, clock: Clock):
    own = seldom_validated()
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, own)
        search = ArmSearch(work(own), recorder, 2)
        search.begin(50)
        search.next_trial("a")
        train(search, recorder, clock, "a", 3, 10)
        assert search.next_trial("b") is None  # another trial is running
        search.raised("a", Cause.TRAINING, "NaN")
        assert search.next_trial("c").trial_id == "t0002"
        clock.now += 50
        search.raised("c", Cause.TRAINING, "NaN")
        assert search.next_trial("d") is None and not search.work_left()


def test_when_the_time_is_over_what_was_never_validated_is_waited_for_and_ends_with_a_model(tmp_path, clock: Clock):
    own = seldom_validated()
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, own)
        search = ArmSearch(work(own), recorder, 2)
        search.begin(50)
        search.next_trial("a")
        search.next_trial("b")
        train(search, recorder, clock, "a", 4, 10)
        train(search, recorder, clock, "b", 1, 9)
        assert not search.must_stop
        assert train(search, recorder, clock, "a", 1, 2)  # it stops, as its epoch ends after the time budget
        search.returned("a")
        assert state(recorder, "t0001") == ("stopped", TIME_BUDGET) and recorder.outcomes["t0001"].model.is_file()
        assert search.late and not search.must_stop and search.next_trial("c") is None
        assert not train(search, recorder, clock, "b", 2, 5)
        assert not search.must_stop
        assert train(search, recorder, clock, "b", 1, 5)
        assert search.must_stop
        search.close(TIME_BUDGET)  # as if Ray Tune stopped all before the attempt returns
        assert state(recorder, "t0002") == ("stopped", TIME_BUDGET) and recorder.outcomes["t0002"].model.is_file()
        later = ArmSearch(work(own), recorder, 1)  # with a larger time budget, both continue
        assert later.next_trial("d").trial_id == "t0001" and recorder.outcomes["t0001"].epoch == 5


@pytest.mark.parametrize(("seconds", "longest"), [(50, LEAST_OVERTIME_SECONDS), (600, 600)])
def test_what_is_never_validated_is_not_waited_for_for_ever(tmp_path, clock: Clock, seconds: float, longest: float):
    own = seldom_validated()
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, own)
        search = ArmSearch(work(own), recorder, 1)
        search.begin(seconds)
        search.next_trial("a")
        clock.now += seconds + longest - 1
        assert search.late and not search.must_stop
        clock.now += 1
        assert search.must_stop
        search.close(TIME_BUDGET)
        assert state(recorder, "t0001") == ("stopped", TIME_BUDGET) and recorder.outcomes["t0001"].model is None


def test_ctrl_c_after_the_time_waits_for_no_validation(tmp_path, clock: Clock):
    own = seldom_validated()
    with Ledger(tmp_path) as ledger:
        recorder = recorder_of(ledger, own)
        search = ArmSearch(work(own), recorder, 1)
        search.begin(5)
        search.next_trial("a")
        clock.now += 6
        assert not search.must_stop
        search.halt("interrupted")
        assert search.must_stop
        search.close(TIME_BUDGET)
        assert state(recorder, "t0001") == ("running", "")


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
