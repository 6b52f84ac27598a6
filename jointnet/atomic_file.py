"""Files and folders that appear whole or not at all, also where a process is killed or a disk is full meanwhile."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from jointnet.lock import locked


def write_whole(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one beside it, which is on the disk before it takes the file's name.

    Raises:
        OSError: where it cannot be written, or where something else than a file has its name, such as a folder or a
            device; what there is stays as it was.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "must be a file, and something else has its name", str(path))
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
    """Make a folder that is missing or empty, whichever of several processes and threads gets to it first.

    Args:
        folder: what is to be there.
        fill: writes the content into an empty folder beside it, which then takes its name.
        lock: file that is locked meanwhile, see `jointnet.lock`.
        wait: for another that is making it.
        is_there: whether nothing is to be done; where the folder exists, if None.

    Raises:
        LockedError: where another is making it and one does not wait.
        Exception: what `fill` raises; then nothing is left.
    """
    is_there = is_there or folder.is_dir
    if is_there():
        return
    with locked(lock, wait=wait, expires=True):
        if is_there():
            return
        prefix = f".{folder.name}.part-"  # hidden: `x.part-1` beside `x` may be a folder of the user's
        for left in folder.parent.iterdir():
            if left.name.startswith(prefix):  # of one who was killed: no other has the lock
                shutil.rmtree(left, ignore_errors=True)
        part = folder.with_name(f"{prefix}{uuid4().hex}")
        part.mkdir()
        try:
            fill(part)
            part.rename(folder)
        except OSError:
            if not is_there():  # made by another meanwhile, who took this one for dead
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, as far as its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot, and sync by themselves
        pass
    finally:
        os.close(descriptor)
