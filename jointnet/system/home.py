"""A writable folder for user files, also if the user's home folder cannot be written.

In a container that is run with `--user 12345`, or on a compute node, the home folder may be missing, `/` or read-only,
and the user may have no name. `HOME` is not changed if it is set, because it may hold credentials to read.
"""

import getpass
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def writable_home() -> Path:
    """Return the home folder if it is writable, else a private folder of this user in the temporary folder.

    Raises:
        OSError: if there is no temporary folder either, or the private folder's name belongs to another user.
    """
    home = _home()
    if home is not None and can_write(home):
        return home
    own = Path(tempfile.gettempdir()) / f"jointnet-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.is_symlink() or own.stat().st_uid != os.getuid():
        raise PermissionError(f"HOME: must be a folder that can be written, got {home}, and {own} is another user's")
    return own


def complete_environment() -> None:
    """Set environment variables that libraries need at import, if they are missing.

    These are `HOME`, `USER`, and `MPLCONFIGDIR` as a writable folder for matplotlib.
    """
    if not os.environ.get("HOME"):  # Ray and MLflow fail without it
        os.environ["HOME"] = str(_home() or os.sep)
    if not can_write(Path.home()):
        with suppress(OSError):  # reported later, where the folder is needed
            os.environ.setdefault("MPLCONFIGDIR", str(writable_home() / "matplotlib"))
    try:
        getpass.getuser()
    except (ImportError, KeyError, OSError):  # MLflow records the name
        os.environ["USER"] = f"uid-{os.getuid()}"


def can_write(folder: Path) -> bool:
    """Return whether this process may create files in a folder."""
    return os.access(folder, os.W_OK | os.X_OK) and folder.is_dir()


def nearest_folder(path: Path) -> Path:
    """Return the path if it exists, else its nearest existing parent folder."""
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # HOME is not set and the user is not in the password database
        return None
