"""Who holds a lock: a process on a host, and whether it is proven to have ended.

It is proven where host name, boot and process namespace are the reader's own and no process of that number started when
the owner did. Of a process on another host, before a reboot or in another container nothing can be proven.
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
"""What makes a process the owner, see `jointnet.lock`."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: its name.
        boot: of the host, from Linux's `boot_id`; empty where unknown.
        namespace: of its process numbers; containers of one host have different ones.
        pid: of the process.
        started: when the process began, in ticks since boot; empty where unknown.
        since: when it took the lock, UTC.
        by: `flock` or `record`.
        token: different at every taking.
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
        """Whether this process could see the owner if it were alive."""
        here = this_process("")
        return bool(self.boot) and (self.host, self.boot, self.namespace) == (here.host, here.boot, here.namespace)

    def is_gone(self) -> bool:
        """Whether it is proven that the owner has ended."""
        if not self.is_here():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user's, and alive
            pass
        state, started = _state_and_start(self.pid)
        return state in ("Z", "X") or (bool(started and self.started) and started != self.started)


def this_process(by: str) -> Owner:
    """Return this process as the owner of a lock that it takes now."""
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
    """Return the owner that a record names, one without a name where it is damaged; None where there is none."""
    try:
        return Owner(**json.loads(record.read_text(encoding="utf-8")))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # NFS says the latter of a file that was just replaced
            return None
        raise
    except (ValueError, TypeError):
        return Owner()


def write_owner(record: Path, own: Owner) -> Path:
    """Write a record and return its path."""
    record.write_text(json.dumps(asdict(own)), encoding="utf-8")
    return record


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return a process's state and start from `/proc/PID/stat`, see proc(5); empty where they are not to be seen."""
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
