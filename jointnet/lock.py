"""Locks between processes, on one machine or on several that share a disk.

Where the file system has `flock`, it decides: the kernel frees the lock of a process that is gone. Where it has none
(Lustre mounted without `-o flock`, NFS without a lock service) or has run out of such locks, the lock is the owner's
record, made exclusively by a hard link, and a record whose owner is gone is removed by the next who wants the lock.

Beside the lock's file, `x.lock`, the record `x.lock.owner` says who holds it: host, process and since when. Both are
there only while it is held, and after a kill.

`jointnet.lock_owner` says when an owner without `flock` is proven gone; of another host's it never is. The record of a
living owner is touched every `TOUCH_SECONDS`, and with `expires` one that was untouched for `SILENT_SECONDS` is taken
too. That is for work that may be done twice without harm, because a process that was only suspended may come back.
"""

import errno
import fcntl
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jointnet.faults import SettingsFaultError
from jointnet.lock_owner import FLOCK, RECORD, Owner, read_owner, this_process, write_owner

TOUCH_SECONDS = 15.0
SILENT_SECONDS = 300.0
"""Untouched for so long, by the file server's clock: many times what its clients keep a file's times in memory."""
POLL_SECONDS = 0.1
PASSING_SECONDS = 1.0
"""The first owner is named at once; the next ones, and one who left no record, where they have it for longer."""
NOT_NOW = (errno.EAGAIN, errno.EACCES, errno.ENOENT, errno.ESTALE)
"""Another has it, or removed it just now when it was released."""
NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
NO_LINK = (errno.EPERM, errno.EMLINK, *NO_FLOCK)


class LockedError(Exception):
    """A lock that another process or thread holds; the text says who, and what to do where nobody can tell.

    Attributes:
        owner: who; None where it left no record.
    """

    def __init__(self, owner: Owner | None, hint: str = "") -> None:
        self.owner = owner
        super().__init__(f"{owner or 'another process'}{hint}")


@contextmanager
def locked(path: Path, *, wait: bool = True, expires: bool = False) -> Iterator[None]:
    """Hold the lock `path` meanwhile.

    Args:
        path: file in an existing folder, made by the lock and used for nothing else.
        wait: for another owner, who is named on standard error at once.
        expires: whether the lock of an owner who is not provably gone may be taken after a long silence; see above.

    Raises:
        LockedError: where another has it and one does not wait.
        SettingsFaultError: where the file system has neither `flock` nor hard links.
    """
    record = path.with_name(f"{path.name}.owner")
    seen, since, said = "", time.monotonic(), ""
    while True:
        try:
            release = _take(path, record, expires)
            break
        except LockedError as error:
            if not wait:
                raise
            if str(error) != seen:
                seen, since = str(error), time.monotonic()
            at_once = error.owner is not None and not said
            if seen != said and (at_once or time.monotonic() - since > PASSING_SECONDS):
                said = seen
                say(f"Waiting for {path}, held by {error}")
        time.sleep(POLL_SECONDS)
    over = threading.Event()
    try:
        threading.Thread(target=_touch, args=(record, over), daemon=True).start()
        yield
    finally:
        over.set()
        release()


def say(text: str) -> None:
    """Print a line on standard error; where that is gone, the work goes on."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _take(path: Path, record: Path, expires: bool) -> Callable[[], None]:
    """Take the lock and return what releases it.

    Raises:
        LockedError: where another has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        has_flock = _flock(path, descriptor)
        if has_flock is False:
            raise LockedError(read_owner(record))
        if has_flock:
            _write_over(record, expires)
    except BaseException:
        os.close(descriptor)
        raise
    if has_flock is None:
        os.close(descriptor)
        return _take_by_record(path, record, expires)

    def release() -> None:
        try:
            record.unlink(missing_ok=True)
            path.unlink(missing_ok=True)  # before others can lock it, who look whether it is still there
        finally:
            os.close(descriptor)

    return release


def _flock(path: Path, descriptor: int) -> bool | None:
    """Lock an open file: whether this succeeded and the path still names it, None where the file system cannot.

    The path is opened once more for that, because NFS looks names up anew only then.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        again = os.open(path, os.O_RDONLY)
        try:
            return os.path.samestat(os.fstat(again), os.fstat(descriptor))
        finally:
            os.close(again)
    except OSError as error:
        if error.errno in NO_FLOCK:
            return None
        if error.errno in NOT_NOW:
            return False
        raise


def _write_over(record: Path, expires: bool) -> None:
    """Write the record of this process, which has the lock by `flock`.

    Raises:
        LockedError: where the record is that of an owner on a host whose mount of this disk has no `flock`.
    """
    draft = write_owner(record.with_name(f"{record.name}.part"), this_process(FLOCK))
    try:
        other = read_owner(record)
        if other is not None and other.by == RECORD and not _may_take(other, record, draft, expires):
            raise LockedError(other, _hint(other, record, expires))
        draft.replace(record)
    finally:
        draft.unlink(missing_ok=True)


def _take_by_record(path: Path, record: Path, expires: bool) -> Callable[[], None]:
    own = this_process(RECORD)
    _create(record, own, expires)

    def release() -> None:
        if read_owner(record) == own:
            record.unlink(missing_ok=True)
            path.unlink(missing_ok=True)

    return release


def _create(record: Path, own: Owner, expires: bool) -> None:
    """Make a record where there is none, or only one of an owner who is gone.

    Raises:
        LockedError: where another owner has it.
        SettingsFaultError: where the file system cannot.
    """
    draft = write_owner(record.with_name(f"{record.name}.{own.token}.part"), own)
    try:
        for _ in range(2):
            try:
                os.link(draft, record)
                return
            except FileExistsError:
                if draft.stat().st_nlink == 2:  # NFS repeats a call whose answer was lost
                    return
            found = read_owner(record)
            if found is None:
                continue  # it was released meanwhile
            if not _may_take(found, record, draft, expires):
                raise LockedError(found, _hint(found, record, expires))
            guard = record.with_name(f"{record.name}.gone")  # one at a time, or a new owner's record may be removed
            _create(guard, own, expires)
            try:
                if read_owner(record) == found:
                    record.unlink(missing_ok=True)
            finally:
                guard.unlink(missing_ok=True)
        raise LockedError(read_owner(record))
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        raise SettingsFaultError(
            f"{record.parent}: must be on a file system with flock or hard links, got neither ({error.strerror}); "
            "--cache or JOINTNET_CACHE, --out and MLFLOW_TRACKING_URI can name a folder on a local disk"
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def _may_take(owner: Owner, record: Path, draft: Path, expires: bool) -> bool:
    """Return whether an owner is gone, or with `expires` was silent for long when the draft was written."""
    return owner.is_gone() or (expires and draft.stat().st_mtime - _touched(record) > SILENT_SECONDS)


def _touch(record: Path, over: threading.Event) -> None:
    while not over.wait(TOUCH_SECONDS):
        with suppress(OSError):
            os.utime(record)


def _hint(owner: Owner, record: Path, expires: bool) -> str:
    """Return what to do about an owner of whom nobody here can tell whether it is alive."""
    if owner.is_here():
        return ""
    silence = f", or wait until it was silent for {SILENT_SECONDS:.0f} s" if expires else ""
    return f"; where that process is surely gone, remove {record}{silence}"


def _touched(record: Path) -> float:
    """Return when the record was touched last; the end of time where it is gone."""
    try:
        return record.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
