"""Addresses of tracking stores, of their SQLite files and of their artifacts.

An SQLite store has its artifacts in the folder `artifacts` beside its file, so both can be moved, copied or mounted
elsewhere together. MLflow records absolute addresses of artifacts, which are outdated after such a move. A writer first
corrects them (`correct_records`). A reader uses a corrected copy of the store (`readable`).
"""

import os
import re
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import url2pathname

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from jointnet.errors import SettingsError
from study.store_names import EXPERIMENT

ARTIFACTS = "artifacts"
"""The folder beside an SQLite store's file that holds its artifacts."""
SECONDS_FOR_LOCK = 60.0
CLIENT_DEFAULTS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a bar for each file would hide a command's output
    # With artifacts on S3 the client would fetch files from S3 itself, whose address only the server may reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}
"""Environment variables of MLflow's client that every command sets where the environment does not."""
HIDDEN = "***"
"""Replaces passwords and tokens in printed text."""
_ADVICE = {
    "error code 401": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to those of a user of the server",
    "Invalid Host header": "MLFLOW_SERVER_ALLOWED_HOSTS of the server must name the host of this address",
    "413 Client Error": "a proxy before the server must let larger files through (nginx: client_max_body_size 0)",
}
"""Advice about an answer of a tracking server or its proxy, by a part of MLflow's message."""
_RECORDED_IN = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that hold addresses of artifacts."""


def default_tracking_uri() -> str:
    """Return `MLFLOW_TRACKING_URI`, or by default the SQLite store in `mlruns/` of the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_address(Path("mlruns/mlflow.db").resolve())


def sqlite_file(address: str) -> Path | None:
    """Return the file of an SQLite store as SQLAlchemy parses its address, or None for any other store."""
    if not address.startswith("sqlite"):
        return None
    try:
        database = make_url(address).database
    except ArgumentError:
        return None
    return Path(database) if database and database != ":memory:" else None


def sqlite_address(file: Path) -> str:
    """Return the address that SQLAlchemy parses as this file.

    `?` and `%` must be quoted in it. For `sqlite:///` addresses MLflow creates the folder first, from the address as it
    is, without unquoting. A quoted address therefore begins with `sqlite+pysqlite:///`, for which MLflow creates none.

    Raises:
        SettingsError: if no address names the file.
    """
    quoted = str(file).replace("%", "%25").replace("?", "%3F")
    for address in (f"sqlite:///{file}", f"sqlite+pysqlite:///{quoted}"):
        if sqlite_file(address) == file:
            return address
    raise SettingsError(f"{file}: must be a path that an address of SQLAlchemy can name; rename its folders")


def absolute_address(address: str) -> str:
    """Return a store's address with an absolute path if it is an SQLite file, unchanged otherwise.

    Raises:
        SettingsError: if it contains an unquoted path that SQLAlchemy would parse as another one.
    """
    file = sqlite_file(address)
    if file is None:
        return address
    _, mark, options = address.partition("?")
    given = Path(address.partition(":///")[2])
    if "/" in options or (given.parent.is_dir() and not file.parent.is_dir()):
        raise SettingsError(
            f"{address}: must have ? and % of a path as %3F and %25; {sqlite_address(given)!r} names the file {given}"
        )
    return sqlite_address(file.absolute()) + mark + options


def ui_command(address: str) -> str:
    """Return the command that opens the MLflow UI of a database, or the address itself for a server.

    The command has the path of this Python, so it works without an activated environment. Passwords are hidden.
    """
    address = without_secrets(address)
    if address.startswith(("http://", "https://")):
        return address
    python = shlex.quote(sys.executable)
    return f"{python} -m mlflow ui --backend-store-uri {shlex.quote(address)} --workers 1 --host 127.0.0.1"


def trials_link(address: str, experiment: str, study_id: str, view: str) -> str:
    """Return the address of a study's trials in the MLflow UI, best first, opened with the command of `ui_command`.

    Args:
        address: address of the store.
        experiment: id of the experiment.
        study_id: id of the study.
        view: key of the shared view of its trials; "" where the store has none, so that the trials are not sorted.
    """
    address = without_secrets(address).replace(f"{HIDDEN}@", "")
    server = address.rstrip("/") if address.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    chosen = {"viewStateShareKey": view} if view else {"searchFilter": f"tags.`study.id` = '{study_id}'"}
    return f"{server}/#/experiments/{experiment}/runs?{urlencode({'workflowType': 'machine_learning', **chosen})}"


def without_secrets(value: str) -> str:
    """Return a value, such as an address, with the passwords and tokens in it hidden."""
    # A password may contain `/` (SQLAlchemy) and `@` (web addresses). A port followed by a path is no password.
    value = re.sub(r"(://)(?:[^/@:\s]*:(?!\d+/)\S*|[^/\s]*)@", rf"\1{HIDDEN}@", value)
    return re.sub(r"(?i)((?:passw\w*|token|secret|sig|key)=)[^&;,\s]+", rf"\1{HIDDEN}", value)


def error_text(error: BaseException) -> str:
    """Return the first 200 characters of an exception's message in one line, without secrets; else its class.

    Advice, where there is one, comes first.
    """
    message = " ".join(str(error).split())
    advice = "".join(f"{text}; got " for answer, text in _ADVICE.items() if answer in message)
    return advice + without_secrets(message)[:200] or type(error).__name__


def make_artifact_folder(address: str) -> str | None:
    """Create the artifact folder of a new store and return its address, or None for a server, which has its own."""
    if address.startswith(("http://", "https://")):
        return None
    file = sqlite_file(address)
    folder = (Path("mlruns") if file is None else file.parent).absolute() / ARTIFACTS
    folder.mkdir(parents=True, exist_ok=True)
    return _location(folder)


def check_artifacts(address: str) -> None:
    """Check that the artifact folder of an SQLite store can be found.

    Raises:
        SettingsError: if its records need correction, but there is no artifact folder beside its file.
    """
    file = sqlite_file(address)
    if file is not None:
        _outdated(file)


def correct_records(address: str) -> None:
    """Correct the addresses of artifacts in an SQLite store that was moved or copied, in one transaction.

    Raises:
        SettingsError: if the artifacts are not found, or the file cannot be written.
    """
    file = sqlite_file(address)
    change = None if file is None else _outdated(file)
    if file is None or change is None:
        return
    try:
        with closing(sqlite3.connect(file, timeout=SECONDS_FOR_LOCK)) as database:
            _replace(database, *change)
    except sqlite3.OperationalError as error:
        raise SettingsError(
            f"{file}: must be a store that can be written, its artifacts were moved from {change[0]}: {error}"
        ) from None


@contextmanager
def readable(address: str) -> Iterator[str]:
    """Return the address of the store, or of a temporary corrected copy if its records are outdated.

    Raises:
        SettingsError: if the artifacts are not found, or the copy cannot be made.
    """
    file = sqlite_file(address)
    change = None if file is None else _outdated(file)
    if file is None or change is None:
        yield absolute_address(address)
        return
    with tempfile.TemporaryDirectory(prefix="jointnet-store-") as scratch:
        copied = Path(scratch) / "mlflow.db"
        try:
            with closing(open_to_read(file)) as database, closing(sqlite3.connect(copied)) as copy:
                database.backup(copy)
                _replace(copy, *change)
        except sqlite3.Error as error:
            raise SettingsError(
                f"{file}: must be a store that can be copied into {scratch}, since it was moved: {error}; TMPDIR can "
                "name another temporary folder"
            ) from error
        yield sqlite_address(copied)


def open_to_read(file: Path) -> sqlite3.Connection:
    """Return a connection that only reads an SQLite file. MLflow would create tables and folders on opening it."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=SECONDS_FOR_LOCK)


def _outdated(file: Path) -> tuple[str, str] | None:
    """Return the recorded and the correct address of the artifacts, or None if the records need no correction.

    A recorded folder elsewhere counts as correct, because it was chosen on purpose, if it exists, no database file is
    beside it, and the folder beside this store's file holds none of the experiment's runs.

    Raises:
        SettingsError: if the records need correction, but there is no artifact folder beside the store's file.
    """
    if not file.is_file():
        return None
    try:
        with closing(open_to_read(file)) as database:
            found = database.execute(
                "SELECT experiment_id, artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
            ).fetchone()
            if found is None or (recorded := _local_folder(found[1] or "")) is None or recorded.name != ARTIFACTS:
                return None
            own = file.absolute().parent / ARTIFACTS
            if own == recorded or (own.is_dir() and recorded.is_dir() and own.samefile(recorded)):
                return None
            if recorded.is_dir() and not any(recorded.parent.glob(f"*{file.suffix}")):
                runs = database.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (found[0],))
                if not any((own / run).is_dir() for (run,) in runs):
                    return None
    except sqlite3.Error:  # not a store or not readable: MLflow raises the error later
        return None
    if not own.is_dir():
        raise SettingsError(
            f"{own}: must be the folder with the artifacts of {file}, which its records place in {recorded}; bring it "
            "there, or make it, empty, to go on without them"
        )
    return str(found[1]).rstrip("/"), _location(own)


def _replace(database: sqlite3.Connection, old: str, new: str) -> None:
    """Replace an address in all records that equal it or begin with it and a slash."""
    with database:
        for table, column in _RECORDED_IN:
            if database.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (table, column)).fetchone():
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )


def _location(folder: Path) -> str:
    """Return the address of a folder of artifacts.

    Raises:
        SettingsError: if MLflow would not find the folder by this address.
    """
    location = folder.as_uri()
    if _local_folder(location) != folder:
        raise SettingsError(f"{folder}: must have a name in UTF-8 for MLflow to find it, got {os.fsencode(folder)!r}")
    return location


def _local_folder(location: str) -> Path | None:
    """Return the folder of an artifact address as MLflow parses it, or None if it is not a local path."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file"):
        return None
    return Path(url2pathname(parts.path if parts.scheme else location))
