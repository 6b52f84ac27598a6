"""A place for what belongs in the user's home folder, also where there is none that can be written.

In a container that is run with `--user 12345`, or on a compute node, the home folder may be missing, `/` or read-only,
and the user may have no name. A home folder that can be read stays what it is: it may hold credentials.
"""

import getpass
import os
import tempfile
from contextlib import suppress
from pathlib import Path


def writable_home() -> Path:
    """Return the home folder where it can be written, else a folder of this user's own in the temporary folder.

    Raises:
        OSError: where there is no temporary folder either, or another user has taken the name.
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
    """Set what libraries ask for as soon as they are imported, where it is missing.

    That is `HOME`, a user's name, and a folder that matplotlib can write.
    """
    if not os.environ.get("HOME"):  # Ray and MLflow fail without
        os.environ["HOME"] = str(_home() or os.sep)
    if not can_write(Path.home()):
        with suppress(OSError):  # whoever needs the folder names it
            os.environ.setdefault("MPLCONFIGDIR", str(writable_home() / "matplotlib"))
    try:
        getpass.getuser()
    except (ImportError, KeyError, OSError):  # MLflow records the name
        os.environ["USER"] = f"uid-{os.getuid()}"


def can_write(folder: Path) -> bool:
    """Return whether this process may make files in a folder."""
    return os.access(folder, os.W_OK | os.X_OK) and folder.is_dir()


def nearest_folder(path: Path) -> Path:
    """Return the path itself where it exists, else the nearest folder above it that does."""
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry of the user
        return None
