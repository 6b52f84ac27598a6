"""The ledger: exactly what was written is read again after a kill."""

import errno
import fcntl
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import study.trials.ledger
from jointnet.errors import InputError, SettingsError
from study.store_names import EARLY, TIME_BUDGET
from study.trials.ledger import LEDGER_FILE, Ledger


def fill(ledger: Ledger) -> None:
    ledger.append("searching", arm="a")
    ledger.append("drawn", arm="a", trial="t0001", number=1, sample={"alpha": 0.1 + 0.2})
    ledger.append(
        "epoch", arm="a", trial="t0001", epoch=1, metrics={"val/registration_ratio": 1 / 3}, pruned=False, node=""
    )


def test_a_ledger_opened_again_knows_the_same_to_the_last_bit(tmp_path: Path):
    with Ledger(tmp_path / "study") as ledger:
        fill(ledger)
        before = ledger.outcomes("a")
    with Ledger(tmp_path / "study") as again:
        assert again.outcomes("a") == before
        assert again.outcomes("a")["t0001"].sample == {"alpha": 0.1 + 0.2}
        assert again.outcomes("a")["t0001"].objective == 1 / 3
        assert again.outcomes("b") == {}
        assert [event["event"] for event in again.events] == ["searching", "drawn", "epoch"]


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_kill_in_the_middle_of_a_line_loses_that_line_only(tmp_path: Path, lost: int):
    with Ledger(tmp_path) as ledger:
        fill(ledger)
    path = tmp_path / LEDGER_FILE
    path.write_bytes(path.read_bytes()[:-lost])
    with Ledger(tmp_path) as again:
        assert [event["event"] for event in again.events] == ["searching", "drawn"]
        again.append("failure", arm="a", trial="t0001", reason="?")
    with Ledger(tmp_path) as third:
        assert third.outcomes("a")["t0001"].failures == 1


def test_zeros_that_a_crash_of_the_machine_left_are_no_line(tmp_path: Path):
    with Ledger(tmp_path) as ledger:
        fill(ledger)
    with (tmp_path / LEDGER_FILE).open("ab") as stream:
        stream.write(b"\0" * 50 + b"\n")
    with Ledger(tmp_path) as again:
        assert len(again.events) == 3
        again.append("delivered")
    with Ledger(tmp_path) as third:
        assert len(third.events) == 4


@pytest.mark.parametrize("line", [b"garbage", b"[1]", b"{}"])
def test_damage_elsewhere_is_named_with_its_line(tmp_path: Path, line: bytes):
    with Ledger(tmp_path) as ledger:
        fill(ledger)
    path = tmp_path / LEDGER_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], line + b"\n", *lines[1:]]))
    with pytest.raises(InputError, match=r"ledger\.jsonl: line 2 must be an event in JSON"):
        Ledger(tmp_path)


def test_a_full_disk_writes_nothing_and_forgets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Ledger(tmp_path) as ledger:
        fill(ledger)
        length = (tmp_path / LEDGER_FILE).stat().st_size

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(study.trials.ledger.os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                ledger.append("failure", arm="a", trial="t0001", reason="?")
        assert (tmp_path / LEDGER_FILE).stat().st_size == length
        assert ledger.outcomes("a")["t0001"].failures == 0 and len(ledger.events) == 3
        ledger.append("delivered")
    assert len((tmp_path / LEDGER_FILE).read_text().splitlines()) == 4


def test_one_driver_at_a_time(tmp_path: Path):
    with Ledger(tmp_path), pytest.raises(SettingsError, match="is being run by another"):
        Ledger(tmp_path)
    Ledger(tmp_path).__exit__(None, None, None)


HOLD = """
import errno, fcntl, sys, time
from pathlib import Path

def flock(descriptor, how):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = flock
from study.trials.ledger import Ledger

with Ledger(Path(sys.argv[1])) as ledger:
    ledger.append("searching", arm="a")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("host", ["", "elsewhere"])
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_on_a_disk_without_flock_the_driver_is_named_and_one_killed_here_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
):
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    if host:
        command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    if driver.stdout.readline() != "held\n":
        pytest.skip(f"no other host name is to be had here: {driver.communicate()[1]}")
    name = host or socket.gethostname()
    with pytest.raises(SettingsError, match=rf"by another \(process {driver.pid} on {name} since 2"):
        Ledger(tmp_path)
    driver.kill()
    driver.communicate()
    record = tmp_path / f".{LEDGER_FILE}.lock.owner"
    if host:
        with pytest.raises(SettingsError, match=f"if that process has ended, remove {record}"):
            Ledger(tmp_path)
        record.unlink()
    with Ledger(tmp_path) as ledger:
        assert len(ledger.events) == 1


def test_a_damaged_ledger_is_not_left_locked(tmp_path: Path):
    (tmp_path / LEDGER_FILE).write_bytes(b"garbage\n{}\n")
    with pytest.raises(InputError) as caught:
        Ledger(tmp_path)
    (tmp_path / LEDGER_FILE).unlink()
    with Ledger(tmp_path) as ledger:
        ledger.append("delivered")
    assert "line 1" in str(caught.value)


def test_of_a_study_without_an_event_nothing_stays(tmp_path: Path):
    with Ledger(tmp_path / "refused"):
        pass
    assert not (tmp_path / "refused").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note").write_text("of a user's")
    with Ledger(tmp_path / "other"):
        pass
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["note"]


def test_last_and_count_are_by_arm(tmp_path: Path):
    with Ledger(tmp_path) as ledger:
        ledger.append("opened", arm="a", trial="t0001", epoch=1, reason="x")
        ledger.append("opened", arm="b", trial="t0002", epoch=1, reason="y")
        assert ledger.last("opened", "a")["reason"] == "x" and ledger.last("opened")["reason"] == "y"
        assert ledger.last("tested", "a") is None
        assert (ledger.count("opened", "a"), ledger.count("opened", "c")) == (1, 0)


def test_the_time_of_a_search_is_that_of_its_drivers_up_to_their_last_word(tmp_path: Path):
    """10 s of a killed driver and 5 s of one that ended, without the pause between, another arm, or the test."""
    moments = [
        ("searching", "a", 100),
        ("drawn", "a", 104),
        ("epoch", "a", 110),
        ("session", None, 500),
        ("searching", "a", 600),
        ("searched", "a", 605),
        ("searching", "b", 610),
        ("searched", "b", 640),
        ("selected", "a", 900),
    ]
    trial = {"trial": "t0001", "number": 1, "sample": {}, "epoch": 1, "metrics": {}, "pruned": False, "node": ""}
    lines = [
        {"event": event, "at_ms": second * 1000, **({"arm": arm} if arm else {}), **trial}
        for event, arm, second in moments
    ]
    (tmp_path / LEDGER_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Ledger(tmp_path) as ledger:
        assert [ledger.searched_seconds(arm) for arm in ("a", "b", "c")] == [15.0, 30.0, 0.0]


TRIAL = st.sampled_from(["t0001", "t0002", "t0003", "t0004"])
EVENTS = st.one_of(
    st.builds(lambda trial: ("epoch", {"trial": trial, "metrics": {"train/loss": 0.5}, "node": ""}), TRIAL),
    st.builds(lambda trial: ("failure", {"trial": trial, "reason": "killed"}), TRIAL),
    st.builds(
        lambda trial, state, reason: ("ended", {"trial": trial, "state": state, "reason": reason, "model": None}),
        TRIAL,
        st.sampled_from(["complete", "stopped", "failed"]),
        st.sampled_from(["", EARLY, TIME_BUDGET]),
    ),
    st.builds(lambda trial: ("continued", {"trial": trial}), TRIAL),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=25))
def test_the_unfinished_trials_are_those_that_are_not_over_here_and_after_a_restart(tmp_path: Path, events: list):
    (tmp_path / LEDGER_FILE).unlink(missing_ok=True)
    with Ledger(tmp_path) as ledger:
        view = ledger.outcomes("a")
        for number in (1, 2, 3, 4):
            ledger.append("drawn", arm="a", trial=f"t000{number}", number=number, sample={})
        for epoch, (kind, values) in enumerate(events, start=1):
            own = {"epoch": epoch, "pruned": False} if kind == "epoch" else {}
            ledger.append(kind, arm="a", **values, **own)
            assert ledger.unfinished("a") == [trial for trial in ledger.outcomes("a").values() if not trial.is_final]
        assert view == ledger.outcomes("a") and list(view) == ["t0001", "t0002", "t0003", "t0004"]
        unfinished = ledger.unfinished("a")
    with Ledger(tmp_path) as again:
        assert again.unfinished("a") == unfinished and again.unfinished("b") == []
        assert again.groups() == ["a"]
