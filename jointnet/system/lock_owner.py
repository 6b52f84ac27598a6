"""The owner of a lock, a process on a host, and whether it has provably ended.

An owner has provably ended if host name, boot and process namespace are those of the reader and no process with its
number and start time exists. Nothing can be proven for an owner on another host, before a reboot or in another
container.
"""

import errno
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FLOCK, RECORD = "flock", "record"
"""How an owner holds its lock: by `flock` or by its record; see `jointnet.system.lock`."""


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
