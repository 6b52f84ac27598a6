"""Files and folders that appear whole or not at all, also where a process is killed or a disk is full meanwhile."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout


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


def make_folder_once(folder: Path, fill: Callable[[Path], None], lock: Path, wait: bool = True) -> bool:
    """Make a folder that is not there yet, whichever of several processes and threads gets to it first.

    Args:
        folder: what is to be there.
        fill: writes the content into an empty folder beside it, which then takes its name.
        lock: file that is locked meanwhile.
        wait: for another that is making it; or give up.

    Returns:
        Whether the folder is there: always, unless one did not wait.

    Raises:
        Exception: what `fill` raises; then nothing is left.
    """
    if folder.is_dir():
        return True
    try:
        with FileLock(lock, timeout=-1 if wait else 0):
            if not folder.is_dir():
                part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
                try:
                    part.chmod(0o755)
                    fill(part)
                    part.rename(folder)
                except BaseException:
                    shutil.rmtree(part, ignore_errors=True)
                    raise
    except Timeout:
        return folder.is_dir()
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, as far as its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot, and sync by themselves
        pass
    finally:
        os.close(descriptor)
