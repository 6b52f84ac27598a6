"""Atomic creation of files and folders: complete or absent, even if the process is killed or the disk is full."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from jointnet.system.lock import locked


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: write and sync a temporary file beside it, then rename it.

    Raises:
        OSError: if the file cannot be written, or if its name is that of something else, such as a folder or a device.
            What exists is then unchanged.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "must be a file, got something else of this name", str(path))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder_once(
    folder: Path,
    fill: Callable[[Path], None],
    lock: Path,
    *,
    wait: bool = True,
    is_there: Callable[[], bool] | None = None,
) -> None:
    """Create a folder that is missing or empty, exactly once across processes and threads.

    Args:
        folder: the folder to create.
        fill: function that writes the content into a temporary folder, which is then renamed.
        lock: lock file, see `jointnet.system.lock`.
        wait: whether to wait for another process or thread that is creating the folder.
        is_there: function that returns whether the folder is complete already; if None, whether it exists.

    Raises:
        LockedError: if another process or thread is creating the folder and `wait` is False.
        Exception: any exception of `fill`; the temporary folder is then removed.
    """
    is_there = is_there or folder.is_dir
    if is_there():
        return
    with locked(lock, wait=wait, expires=True):
        if is_there():
            return
        prefix = f".{folder.name}.part-"  # hidden, as `x.part-1` may be a user's folder
        for left in folder.parent.iterdir():
            if left.name.startswith(prefix):  # left by a killed process, as this one holds the lock
                shutil.rmtree(left, ignore_errors=True)
        part = folder.with_name(f"{prefix}{uuid4().hex}")
        part.mkdir()
        try:
            fill(part)
            part.rename(folder)
        except OSError:
            if not is_there():  # else created by another process after this lock expired
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Sync a folder's entries to disk, if its file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # not supported by some network file systems, which sync by themselves
        pass
    finally:
        os.close(descriptor)
