"""Locks: one owner at a time, with and without `flock`, and locks of killed owners."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import pytest
from other_hosts import NO_FLOCK, OTHER_HOST

from jointnet.errors import SettingsError
from jointnet.system import lock
from jointnet.system.lock import FLOCK, RECORD, LockedError, locked, read_owner, this_process

HOLD = """
import sys, time
from pathlib import Path
from jointnet.system.lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys, time
from pathlib import Path
from jointnet.system.lock import locked

path, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with locked(path, expires=True):
        count = int(counter.read_text())
        time.sleep(0.002)
        counter.write_text(str(count + 1))
"""


@pytest.fixture(params=[errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def no_flock(request, monkeypatch):
    """A file system without `flock`, with the error numbers of Lustre and NFS."""

    def flock(descriptor, how):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def holder(path, script=HOLD, host=()):
    """Start a process that holds the lock."""
    command = [*host, sys.executable, "-c", script, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.stdout.readline() != "held\n":
        pytest.skip(f"no other host name is to be had here: {process.communicate()[1]}")
    return process


def kill(process):
    process.kill()
    process.communicate()


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_lock_of_a_killed_process_is_free_and_nothing_stays(tmp_path):
    path = tmp_path / "x.lock"
    process = holder(path)
    with (
        pytest.raises(LockedError, match=rf"^process {process.pid} on \S+ since 2\d{{3}}-[\d: -]+ UTC$"),
        locked(path, wait=False),
    ):
        pass
    kill(process)
    assert left(tmp_path) == ["x.lock", "x.lock.owner"]
    with locked(path, wait=False):
        assert read_owner(tmp_path / "x.lock.owner").pid == os.getpid()
    assert left(tmp_path) == []


def test_without_flock_the_lock_of_a_killed_process_of_this_host_is_taken_over(tmp_path, no_flock):
    path = tmp_path / "x.lock"
    process = holder(path, NO_FLOCK + HOLD)
    with (
        pytest.raises(LockedError, match=rf"^process {process.pid} on \S+ since [\d: -]+ UTC$"),
        locked(path, wait=False),
    ):
        pass
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is now a zombie, which counts as ended
    with locked(path, wait=False), pytest.raises(LockedError), locked(path, wait=False):
        pass
    assert left(tmp_path) == []
    process.communicate()


def test_of_another_host_nothing_is_proven_until_it_was_silent_for_long(tmp_path, no_flock):
    path, record = tmp_path / "x.lock", tmp_path / "x.lock.owner"
    process = holder(path, NO_FLOCK + HOLD, OTHER_HOST)
    kill(process)
    expected = rf"^process \d+ on elsewhere since .* if that process has ended, remove {record}"
    for expires in (False, True):
        with pytest.raises(LockedError, match=expected), locked(path, wait=False, expires=expires):
            pass
    os.utime(record, (0, time.time() - lock.SILENT_SECONDS - 10))
    with pytest.raises(LockedError), locked(path, wait=False):
        pass
    with locked(path, wait=False, expires=True):
        assert read_owner(record).pid == os.getpid()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "gone"),
    [
        ({}, False),
        ({"pid": 2**22 + 1}, True),  # above Linux's largest process number
        ({"started": "1"}, True),  # the number belongs to a new process
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
        ({"pid": 2**22 + 1, "boot": "before"}, False),
        ({"pid": 2**22 + 1, "namespace": "pid:[1]"}, False),
        ({"pid": 2**22 + 1, "boot": ""}, False),
    ],
)
def test_who_is_proven_gone(changed, gone):
    assert replace(this_process(RECORD), **changed).is_gone() is gone


def check_that_signs_come(path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.01)
    record = path.with_name(f"{path.name}.owner")
    with locked(path):
        os.utime(record, (0, 0))
        until = time.monotonic() + 10
        while record.stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert time.time() - record.stat().st_mtime < 60


def test_a_living_owner_without_flock_gives_signs(tmp_path, no_flock, monkeypatch):
    check_that_signs_come(tmp_path / "x.lock", monkeypatch)


def test_a_living_owner_with_flock_gives_signs_to_hosts_that_have_none(tmp_path, monkeypatch):
    check_that_signs_come(tmp_path / "x.lock", monkeypatch)


@pytest.mark.parametrize("script", [COUNT, NO_FLOCK + COUNT], ids=["flock", "no flock"])
def test_many_at_once_hold_it_one_by_one_though_it_was_left_by_a_killed_one(tmp_path, script):
    """Start from the record of a killed owner and that of a process killed while taking it over."""
    path, counter = tmp_path / "x.lock", tmp_path / "counter"
    dead = json.dumps(asdict(replace(this_process(RECORD), pid=2**22 + 1)))
    for name in ("x.lock.owner", "x.lock.owner.gone"):
        (tmp_path / name).write_text(dead)
    if script == COUNT:
        (tmp_path / "x.lock.owner.gone").unlink()
    counter.write_text("0")
    command = [sys.executable, "-c", script, str(path), str(counter)]
    processes = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert counter.read_text() == "80"
    assert left(tmp_path) == ["counter"]


def test_threads_of_one_process_hold_it_one_by_one(tmp_path, no_flock):
    inside, most = [], []

    def use(_):
        with locked(tmp_path / "x.lock"):
            inside.append(threading.get_ident())
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(12)))
    assert most == [1] * 12


def test_who_is_waited_for_is_named_at_once_on_standard_error(tmp_path, capsys):
    process = holder(tmp_path / "x.lock")
    timer = threading.Timer(0.5, process.kill)
    timer.start()
    with locked(tmp_path / "x.lock"):
        pass
    process.communicate()
    said = capsys.readouterr().err
    assert said.startswith(f"Waiting for {tmp_path / 'x.lock'}, held by process {process.pid} on ")
    assert said.count("\n") == 1


def test_a_lock_taken_where_the_disk_has_no_flock_counts_where_it_has(tmp_path):
    """Two hosts that share a disk may mount it one with and one without `flock`."""
    process = holder(tmp_path / "x.lock", NO_FLOCK + HOLD)
    with pytest.raises(LockedError, match=f"process {process.pid} on"), locked(tmp_path / "x.lock", wait=False):
        pass
    kill(process)
    with locked(tmp_path / "x.lock", wait=False):
        assert read_owner(tmp_path / "x.lock.owner").by == FLOCK
    assert left(tmp_path) == []


def test_a_silent_owner_whose_host_has_no_flock_is_replaced_where_there_is_flock(tmp_path):
    path, record = tmp_path / "x.lock", tmp_path / "x.lock.owner"
    record.write_text(json.dumps(asdict(replace(this_process(RECORD), host="elsewhere"))))
    with pytest.raises(LockedError, match="or wait until it was silent"), locked(path, wait=False, expires=True):
        pass
    os.utime(record, (0, time.time() - lock.SILENT_SECONDS - 10))
    with pytest.raises(LockedError, match="on elsewhere since"), locked(path, wait=False):
        pass
    with locked(path, wait=False, expires=True):
        assert read_owner(record).by == FLOCK
    assert left(tmp_path) == []


def test_a_file_system_that_cannot_lock_is_named_with_what_to_do(tmp_path, no_flock, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    expected = rf"^{tmp_path}: must be on a file system with flock or hard links, .*--cache or JOINTNET_CACHE, --out"
    with pytest.raises(SettingsError, match=expected), locked(tmp_path / "x.lock"):
        pass
    assert left(tmp_path) == ["x.lock"]


def test_a_damaged_record_blocks_only_where_nothing_else_decides(tmp_path, no_flock):
    (tmp_path / "x.lock.owner").write_text('{"host": ')
    with pytest.raises(LockedError, match=r"an unknown host.*remove"), locked(tmp_path / "x.lock", wait=False):
        pass


def test_a_folder_that_cannot_be_written_is_no_lock_that_is_waited_for(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    monkeypatch.setattr(lock, "write_owner", refuse)
    with pytest.raises(PermissionError), locked(tmp_path / "x.lock"):
        pass
