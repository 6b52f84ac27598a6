"""Locks between processes, on one machine or on several that share a disk.

If the file system supports `flock`, it is used, and the kernel frees the lock when its process ends. Otherwise
(Lustre mounted without `-o flock`, NFS without a lock service, no locks left) the lock is a record of its owner that
is created exclusively by a hard link. The next process that requests the lock removes a record whose owner has ended.

The lock file `x.lock` has a record `x.lock.owner` beside it with the owner's host, process and start time. Both files
exist while the lock is held. They remain after the owner was killed.

An owner has provably ended if host name, boot and process namespace are those of the reader and no process with its
number and start time exists. Nothing can be proven for an owner on another host, before a reboot or in another
container. An owner touches its record every `TOUCH_SECONDS`. With `expires`, a record that was not touched for
`SILENT_SECONDS` is also removed. A suspended owner may then resume while another process has the lock, so `expires` is
only for work that can safely be done twice.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from jointnet.errors import SettingsError
from jointnet.system.terminal import print_to_stderr

FLOCK, RECORD = "flock", "record"
"""How an owner holds its lock: by `flock` or by its record."""
TOUCH_SECONDS = 15.0
SILENT_SECONDS = 300.0
"""Age by the file server's clock after which a record expires: far longer than clients cache a file's times."""
POLL_SECONDS = 0.1
PASSING_SECONDS = 1.0
"""Time after which a later owner, or one without a record, is printed. The first owner is printed at once."""
NOT_NOW = (errno.EAGAIN, errno.EACCES, errno.ENOENT, errno.ESTALE)
"""Error numbers if another process holds the lock or has just released and removed it."""
NO_FLOCK = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
NO_LINK = (errno.EPERM, errno.EMLINK, *NO_FLOCK)


@dataclass(frozen=True)
class Owner:
    """The owner of a lock.

    Attributes:
        host: host name.
        boot: identifier of the host's boot, from Linux's `boot_id`; empty if unknown.
        namespace: namespace of the process numbers; it differs between containers on one host.
        pid: process number.
        started: start time of the process in ticks since boot; empty if unknown.
        since: time at which it took the lock, UTC.
        by: `flock` or `record`.
        token: unique identifier, new each time the lock is taken.
    """

    host: str = "an unknown host"
    boot: str = ""
    namespace: str = ""
    pid: int = 0
    started: str = ""
    since: str = "an unknown time"
    by: str = ""
    token: str = ""

    def __str__(self) -> str:
        return f"process {self.pid or '(unknown)'} on {self.host} since {self.since}"

    def is_here(self) -> bool:
        """Return whether this process could see the owner if it were alive."""
        here = this_process("")
        return bool(self.boot) and (self.host, self.boot, self.namespace) == (here.host, here.boot, here.namespace)

    def is_gone(self) -> bool:
        """Return whether the owner has provably ended."""
        if not self.is_here():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # the process is alive and belongs to another user
            pass
        state, started = _state_and_start(self.pid)
        return state in ("Z", "X") or (bool(started and self.started) and started != self.started)


class LockedError(Exception):
    """Another process or thread holds a lock. The text names it, and what to do if it may have ended.

    Attributes:
        owner: the owner; None if it left no record.
    """

    def __init__(self, owner: Owner | None, hint: str = "") -> None:
        self.owner = owner
        super().__init__(f"{owner or 'another process'}{hint}")


@contextmanager
def locked(path: Path, *, wait: bool = True, expires: bool = False) -> Iterator[None]:
    """Hold the lock `path` inside the `with` block.

    Args:
        path: the lock file in an existing folder. It is created by the lock and used for nothing else.
        wait: whether to wait for another owner. The owner is printed to standard error.
        expires: whether a lock whose owner was silent for `SILENT_SECONDS` may be taken; see the module docstring.

    Raises:
        LockedError: if another owner holds the lock and `wait` is False.
        SettingsError: if the file system supports neither `flock` nor hard links.
    """
    record = path.with_name(f"{path.name}.owner")
    seen, since, printed = "", time.monotonic(), ""
    while True:
        try:
            release = _take(path, record, expires)
            break
        except LockedError as error:
            if not wait:
                raise
            if str(error) != seen:
                seen, since = str(error), time.monotonic()
            at_once = error.owner is not None and not printed
            if seen != printed and (at_once or time.monotonic() - since > PASSING_SECONDS):
                printed = seen
                print_to_stderr(f"Waiting for {path}, held by {error}")
        time.sleep(POLL_SECONDS)
    over = threading.Event()
    try:
        threading.Thread(target=_touch, args=(record, over), daemon=True).start()
        yield
    finally:
        over.set()
        release()


def _take(path: Path, record: Path, expires: bool) -> Callable[[], None]:
    """Take the lock and return a function that releases it.

    Raises:
        LockedError: if another owner holds it.
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
            path.unlink(missing_ok=True)  # before the lock is freed: others check that the path still exists
        finally:
            os.close(descriptor)

    return release


def _flock(path: Path, descriptor: int) -> bool | None:
    """Lock an open file with `flock`.

    The path is opened again for the check, because NFS looks up a name again only when it is opened.

    Returns:
        Whether the file was locked and the path still names it; None if the file system does not support `flock`.
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
    """Write the record of this process, which holds the lock by `flock`.

    Raises:
        LockedError: if the record belongs to an owner on a host that mounts this disk without `flock`.
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
    """Create a record, or replace that of an owner that has ended.

    Raises:
        LockedError: if another owner holds the lock.
        SettingsError: if the file system does not support hard links.
    """
    draft = write_owner(record.with_name(f"{record.name}.{own.token}.part"), own)
    try:
        for _ in range(2):
            try:
                os.link(draft, record)
                return
            except FileExistsError:
                if draft.stat().st_nlink == 2:  # the link was made: NFS repeats a call if the answer was lost
                    return
            owner = read_owner(record)
            if owner is None:
                continue  # it was released in the meantime
            if not _may_take(owner, record, draft, expires):
                raise LockedError(owner, _hint(owner, record, expires))
            guard = record.with_name(f"{record.name}.gone")  # else two may replace it and remove a new record
            _create(guard, own, expires)
            try:
                if read_owner(record) == owner:
                    record.unlink(missing_ok=True)
            finally:
                guard.unlink(missing_ok=True)
        raise LockedError(read_owner(record))
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        raise SettingsError(
            f"{record.parent}: must be on a file system with flock or hard links, got neither ({error.strerror}); "
            "--cache or JOINTNET_CACHE, --out and MLFLOW_TRACKING_URI can name a folder on a local disk"
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def _may_take(owner: Owner, record: Path, draft: Path, expires: bool) -> bool:
    """Return whether an owner has ended or, with `expires`, its record had expired when `draft` was written."""
    return owner.is_gone() or (expires and draft.stat().st_mtime - _touched(record) > SILENT_SECONDS)


def _touch(record: Path, over: threading.Event) -> None:
    while not over.wait(TOUCH_SECONDS):
        with suppress(OSError):
            os.utime(record)


def _hint(owner: Owner, record: Path, expires: bool) -> str:
    """Return what to do if this process cannot find out whether the owner is alive; else an empty text."""
    if owner.is_here():
        return ""
    silence = f", or wait until it was silent for {SILENT_SECONDS:.0f} s" if expires else ""
    return f"; if that process has ended, remove {record}{silence}"


def _touched(record: Path) -> float:
    """Return when the record was last touched; infinity if it no longer exists."""
    try:
        return record.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def this_process(by: str) -> Owner:
    """Return this process as the owner of a lock, taken now in the way `by`."""
    return Owner(
        host=socket.gethostname(),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        namespace=_link("/proc/self/ns/pid"),
        pid=os.getpid(),
        started=_state_and_start(os.getpid())[1],
        since=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        by=by,
        token=uuid.uuid4().hex,
    )


def read_owner(record: Path) -> Owner | None:
    """Return the owner in a record: an unknown owner if the record is damaged, None if there is no record."""
    try:
        return Owner(**json.loads(record.read_text(encoding="utf-8")))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # NFS reports ESTALE for a file that was just replaced
            return None
        raise
    except (ValueError, TypeError):
        return Owner()


def write_owner(record: Path, own: Owner) -> Path:
    """Write a record and return its path."""
    record.write_text(json.dumps(asdict(own)), encoding="utf-8")
    return record


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return state and start time of a process from `/proc/PID/stat`, see proc(5); empty if not available."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (fields[0], fields[19]) if len(fields) > 19 else ("", "")


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
