"""How a command that cannot finish ends, for each kind of error."""

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from jointnet.errors import DataError, SettingsError
from study.run.ending import FAILURES, ending_of, full_disks
from study.run.interruption import StudyHaltedError
from study.run.session import Session
from study.selection.best_trial import NoFinishedTrialError


def _halted(number: int | None) -> StudyHaltedError:
    halted = StudyHaltedError("the reason", by_user=False)
    halted.__cause__ = None if number is None else OSError(number, os.strerror(number), "/there")
    return halted


@pytest.mark.parametrize(
    ("error", "status", "goes_on"),
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
def test_a_command_is_to_be_repeated_only_where_that_can_help(error: BaseException, status: int, goes_on: bool):
    assert isinstance(error, FAILURES)
    ending = ending_of(error)
    assert (ending.status, ending.goes_on) == (status, goes_on)
    if isinstance(error, SettingsError):
        assert ending.lines == ("one", "two")


@pytest.mark.parametrize(
    ("trouble", "status", "told"),
    [
        (None, 5, "the tracking store is away."),
        (ConnectionError("refused"), 5, "the tracking store is away (refused)."),
        (
            PermissionError(errno.EACCES, "Denied", "/store"),
            2,
            "away ([Errno 13] Denied: '/store'). Once this is mended",
        ),
    ],
)
def test_a_store_that_no_waiting_mends_is_no_reason_to_repeat_the_command(trouble, status: int, told: str):
    outbox = SimpleNamespace(trouble=trouble)
    halted = Session.halted_by_store(SimpleNamespace(outbox=outbox))  # type: ignore[arg-type]
    ending = ending_of(halted)
    assert ending.status == status and told in ending.lines[0]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    free = {tmp_path: 10**6, Path("/tmp"): 10**9}

    def disk_usage(path: Path) -> shutil._ntuple_diskusage:
        if path not in free:
            raise OSError(errno.ESTALE, "Stale file handle", str(path))
        return shutil._ntuple_diskusage(10**9, 0, free[path])

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    folders = (Path("/"), tmp_path / "runs" / "new", tmp_path / "cache", Path("/tmp"))
    assert full_disks(folders) == [f"{tmp_path}: its disk is full, 1 MB are free."]
