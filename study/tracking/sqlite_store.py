"""The database of an SQLite tracking store: there whole or not at all, made or upgraded by one driver at a time.

MLflow makes its tables in some seventy steps, right in the file, without a lock. Two processes that do so at once
disturb each other, and after a kill in between its own upgrade stumbles over what is there already, for ever. So a new
database is made in memory and an older one upgraded in a copy, under a lock, and then it takes the file's name. A
process that still has the replaced file open cannot write to it any more: SQLite refuses (SQLITE_READONLY_DBMOVED).

What a killed process left half-made in the file, MLflow's UI or an older version of this program, is set aside where
nobody's records are in it.
"""

import errno
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import mlflow
from alembic.script import ScriptDirectory
from mlflow.store.tracking.dbmodels.initial_models import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from jointnet.atomic_file import sync_folder
from jointnet.faults import SettingsFaultError
from jointnet.lock import locked, say
from study.store_address import sqlite_address

QUIET_SECONDS = 10.0
"""A half-made database that did not change for so long is being made by nobody."""
SECONDS_FOR_LOCK = 60.0
OF_MLFLOW = ("alembic_version", "workspaces")
"""Tables in which a database without a record has rows, beside `experiments` with MLflow's own `Default`."""
COMPANIONS = ("-journal", "-wal", "-shm")
"""SQLite's own files beside a database; left beside another one they would damage it."""


def ensure_whole(file: Path) -> None:
    """Make an SQLite store's database where there is none, upgrade an older one, and replace a half-made one.

    Raises:
        SettingsFaultError: where it is another program's, of a newer MLflow, or cannot be upgraded.
        sqlite3.Error: where it does not open.
        OSError: where it cannot be made, on a full disk for instance.
    """
    if _is_whole(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_name(f".{file.name}.lock"), expires=True):
        for left in file.parent.glob(f".{escape(file.name)}.[0-9]*.part*"):  # of drivers that were killed meanwhile
            left.unlink(missing_ok=True)
        while not _is_whole(file):
            if not file.exists() or file.stat().st_size == 0:
                _make(file)
                continue
            content = _content(file)
            _check(file, content)
            if content.records:
                _upgrade(file)
            elif _is_left_alone(file):
                _set_aside(file)


def schema_revisions() -> ScriptDirectory:
    """Return all revisions of MLflow's schema that the installed version knows; the heads are its own."""
    return ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))


@dataclass(frozen=True)
class _Content:
    """What is in a database: the revision of its schema, its tables, and whether any holds a record of a user's."""

    revision: str | None
    tables: frozenset[str]
    records: bool


def _is_whole(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0 and _content(file).revision in schema_revisions().get_heads()


def _content(file: Path) -> _Content:
    """Return what is in a database, after SQLite has undone what a killed process left unfinished."""
    with closing(sqlite3.connect(file, timeout=SECONDS_FOR_LOCK)) as database:
        named = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {name for (name,) in named if not name.startswith(("sqlite_", "_alembic_tmp_"))}
        rows = database.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
        revisions = [revision for (revision,) in rows]
        own = {"experiments": "WHERE experiment_id <> 0"}
        records = any(
            database.execute(f'SELECT 1 FROM "{table}" {own.get(table, "")} LIMIT 1').fetchone()
            for table in tables.difference(OF_MLFLOW)
        )
    return _Content(revisions[0] if revisions else None, frozenset(tables), records)


def _check(file: Path, content: _Content) -> None:
    """Check that a database is one of MLflow's and not of a newer version.

    Raises:
        SettingsFaultError: where it is not.
    """
    foreign = sorted(content.tables - {*OF_MLFLOW, *Base.metadata.tables})
    if content.revision is None and foreign:
        raise SettingsFaultError(
            f"MLFLOW_TRACKING_URI: must be a database of MLflow's or a new file, {file} holds the tables {foreign[:3]}"
        )
    known = {script.revision for script in schema_revisions().walk_revisions()}
    if content.revision is not None and content.revision not in known:
        raise SettingsFaultError(
            f"MLFLOW_TRACKING_URI: must be a database of MLflow {mlflow.__version__} or older, {file} has the schema "
            f"{content.revision}, unknown to that version; name another file, or install the MLflow that made it"
        )


def _make(file: Path) -> None:
    """Make a database under its own name at once.

    Raises:
        OSError: where the disk is full.
    """
    store = SqlAlchemyStore("sqlite:///:memory:", file.parent.as_uri())
    draft = _draft(file)
    try:
        with store.engine.connect() as made, closing(sqlite3.connect(draft)) as target:
            made.connection.driver_connection.backup(target)
        if file.exists() and file.stat().st_size:  # another program began to make it meanwhile
            return
        for companion in COMPANIONS:
            Path(f"{file}{companion}").unlink(missing_ok=True)
        draft.replace(file)
        sync_folder(file.parent)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft)) from error
    finally:
        store.engine.dispose()
        draft.unlink(missing_ok=True)


def _upgrade(file: Path) -> None:
    """Bring a database with records to the present schema; it stays as it was until that is done.

    Raises:
        SettingsFaultError: where MLflow cannot, or another process is using it.
    """
    draft = _draft(file)
    try:
        with closing(sqlite3.connect(file, timeout=SECONDS_FOR_LOCK, isolation_level=None)) as old:
            old.execute("PRAGMA journal_mode = DELETE")  # a write-ahead log would be left beside the new database
            old.execute("BEGIN IMMEDIATE")  # nobody writes meanwhile
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(draft)) as target:
                source.backup(target)
            store = SqlAlchemyStore(sqlite_address(draft), file.parent.as_uri())
            store.engine.dispose()
            draft.replace(file)
            sync_folder(file.parent)
    except Exception as error:  # whatever SQLite, Alembic or MLflow raises
        raise SettingsFaultError(
            f"MLFLOW_TRACKING_URI: must be a store that MLflow {mlflow.__version__} can upgrade, {file} is as it was: "
            f"{' '.join(str(error).split())[:200]}; bring back a backup of it, or name another file"
        ) from error
    finally:
        for left in file.parent.glob(f"{escape(draft.name)}*"):
            left.unlink(missing_ok=True)


def _is_left_alone(file: Path) -> bool:
    """Return whether nobody changes a half-made database for QUIET_SECONDS."""
    say(f"{file} is half-made; waiting {QUIET_SECONDS:.0f} s to see whether another program is making it")
    seen, until = file.stat(), time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        time.sleep(QUIET_SECONDS / 20)
        if not file.exists() or (now := file.stat()).st_mtime_ns != seen.st_mtime_ns or now.st_size != seen.st_size:
            return False
    return True


def _set_aside(file: Path) -> None:
    number = 1
    while (aside := file.with_name(f"{file.name}.incomplete-{number}")).exists():
        number += 1
    file.rename(aside)
    for companion in COMPANIONS:
        if Path(f"{file}{companion}").exists():
            Path(f"{file}{companion}").rename(f"{aside}{companion}")
    say(f"{file} was left half-made, without any record; it is now {aside.name}, and a new one is made")


def _draft(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}.part")
