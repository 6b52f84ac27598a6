"""Signals: the first stops gently, the second at once. Exit status and message of a command that cannot finish."""

import errno
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from jointnet.errors import DataError, SettingsError
from study.run.rounds import Session
from study.run.stopping import (
    FAILURES,
    StudyHaltedError,
    ending_of,
    full_disks,
    graceful_first_signal,
    interrupt_on_signals,
)
from study.search.outcome import NoFinishedTrialError


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """Restore the default action of SIGHUP, which is ignored if the tests run under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_gently_and_the_second_at_once(number):
    before = signal.getsignal(number)
    heard = []
    with pytest.raises(KeyboardInterrupt), graceful_first_signal(lambda: heard.append(1)):
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert heard == [1]
        os.kill(os.getpid(), number)
        time.sleep(1)
    assert heard == [1]
    assert signal.getsignal(number) is before


def test_without_a_signal_nothing_is_called():
    with graceful_first_signal(lambda: pytest.fail("called")):
        pass


def test_a_terminal_that_closes_is_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with graceful_first_signal(lambda: pytest.fail("called")):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_outside_a_search_a_batch_system_and_a_closed_terminal_interrupt_as_ctrl_c_does(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        interrupt_on_signals()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _halted(number: int | None) -> StudyHaltedError:
    halted = StudyHaltedError("the reason", by_user=False)
    halted.__cause__ = None if number is None else OSError(number, os.strerror(number), "/there")
    return halted


@pytest.mark.parametrize(
    ("error", "status", "resumable"),
    [
        (SettingsError(["one", "two"]), 2, False),
        (DataError("one"), 3, False),
        (NoFinishedTrialError("joint-25: none"), 4, False),
        (KeyboardInterrupt(), 130, True),
        (StudyHaltedError("asked for", by_user=True), 130, True),
        (PermissionError(errno.EACCES, "Permission denied", "/there"), 2, False),
        (FileNotFoundError(errno.ENOENT, "No such file", "/there"), 2, False),  # something requested is missing
        (OSError(errno.ENOSPC, "No space left on device", "/there"), 5, True),  # e.g. while the phantom is written
        (_halted(errno.ENOENT), 5, True),
        (_halted(None), 5, True),  # the tracking store cannot be reached
        (_halted(errno.ENOSPC), 5, True),
        (_halted(errno.EDQUOT), 5, True),
        (_halted(errno.ESTALE), 5, True),
        (_halted(errno.EIO), 5, True),
        (_halted(errno.EROFS), 2, False),
        (_halted(errno.EACCES), 2, False),
        (_halted(errno.ENOLCK), 2, False),
        (_halted(errno.ENAMETOOLONG), 2, False),
    ],
)
def test_a_command_is_to_be_repeated_only_where_that_can_help(error: BaseException, status: int, resumable: bool):
    assert isinstance(error, FAILURES)
    ending = ending_of(error)
    assert (ending.status, ending.resumable) == (status, resumable)
    if isinstance(error, SettingsError):
        assert ending.lines == ("one", "two")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (None, 5, "the tracking store took more than 120 s for an entry."),
        (ConnectionError("refused"), 5, "the tracking store is unavailable (refused)."),
        (
            PermissionError(errno.EACCES, "Denied", "/store"),
            2,
            "unavailable ([Errno 13] Denied: '/store'). Once this is fixed, the same command resumes the study.",
        ),
    ],
)
def test_a_store_that_no_waiting_mends_is_no_reason_to_repeat_the_command(error, status: int, message: str):
    outbox = SimpleNamespace(error=error)
    halted = Session.halted_by_store(SimpleNamespace(outbox=outbox))  # type: ignore[arg-type]
    ending = ending_of(halted)
    assert ending.status == status and message in ending.lines[0]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free = {tmp_path: 10**6, Path("/tmp"): 10**9}

    def disk_usage(path: Path) -> shutil._ntuple_diskusage:
        if path not in free:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return shutil._ntuple_diskusage(10**9, 0, free[path])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    folders = (Path("/"), tmp_path / "runs" / "new", tmp_path / "cache", Path("/tmp"))
    assert full_disks(folders) == [f"{tmp_path}: its disk is full, 1 MB are free."]
