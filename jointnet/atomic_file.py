"""Files that appear whole or not at all, also where a process is killed or a disk is full while they are written."""

import errno
import os
from pathlib import Path


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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut, as far as its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot, and sync by themselves
        pass
    finally:
        os.close(descriptor)
