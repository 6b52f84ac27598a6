"""Creation and upgrade of MLflow's tables in a tracking store's database, by one driver at a time.

MLflow creates its tables in about seventy steps, without a lock. Two processes that do this at the same time disturb
each other. After a kill in between, MLflow's own upgrade fails every time, because some tables exist already.

SQLite: a new database is created in memory and an older one is upgraded in a copy, both under a lock. The result is
then renamed to the file. A process that still has the replaced file open can no longer write to it: SQLite raises
SQLITE_READONLY_DBMOVED. A killed process, such as MLflow's UI or an older version of this program, may leave an
incomplete database. It is renamed if it holds no records of a user.

Database server: the lock belongs to the connection, so the server releases it when a process is killed.
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
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.initial_models import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import NullPool, create_engine, text

from jointnet.errors import SettingsError
from jointnet.system.atomic_file import sync_folder
from jointnet.system.lock import locked
from jointnet.system.terminal import print_to_stderr
from study.store_address import SECONDS_FOR_LOCK, error_text, sqlite_address

QUIET_SECONDS = 10.0
"""An incomplete database that did not change for this long is taken as abandoned."""
LOCK_QUERIES = {"postgresql": "SELECT pg_try_advisory_lock(20210215)", "mysql": "SELECT GET_LOCK('jointnet-study', 0)"}
"""The query that tries to take the lock and returns whether it did, by SQLAlchemy dialect name."""
POLL_SECONDS = 0.5
MLFLOW_TABLES = ("alembic_version", "workspaces")
"""Tables that have rows even without a user's records. So has `experiments`, with MLflow's `Default`."""
COMPANIONS = ("-journal", "-wal", "-shm")
"""Suffixes of SQLite's files beside a database. Left beside a different database they would damage it."""


def ensure_sqlite_tables(file: Path) -> None:
    """Create an SQLite store's database if it is missing, upgrade an older one, and replace an incomplete one.

    Raises:
        SettingsError: if it belongs to another program or a newer MLflow, or cannot be upgraded.
        sqlite3.Error: if it does not open.
        OSError: if it cannot be created, for example on a full disk.
    """
    if _is_current(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_name(f".{file.name}.lock"), expires=True):
        for leftover in file.parent.glob(f".{escape(file.name)}.[0-9]*.part*"):  # left by killed drivers
            leftover.unlink(missing_ok=True)
        while not _is_current(file):
            if not file.exists() or file.stat().st_size == 0:
                _create(file)
                continue
            content = _content(file)
            _check(file, content)
            if content.records:
                _upgrade(file)
            elif _stays_unchanged(file):
                _rename_incomplete(file)


def ensure_server_tables(uri: str) -> None:
    """Create or upgrade MLflow's tables on a database server if they do not match the installed version.

    If another driver holds the lock, wait for it first.

    Raises:
        Exception: any exception of the database's driver, Alembic or MLflow.
    """
    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() in _schema_revisions().get_heads():
            return
        query, printed = LOCK_QUERIES.get(engine.dialect.name), False
        while query and not connection.execute(text(query)).scalar():
            if not printed:
                print_to_stderr("Waiting for another driver, which creates the tables of the tracking store")
            printed = True
            time.sleep(POLL_SECONDS)
        MlflowClient(uri).search_experiments(max_results=1)


def _schema_revisions() -> ScriptDirectory:
    """Return the schema revisions known to the installed MLflow. The heads are its current schema."""
    return ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))


@dataclass(frozen=True)
class _Content:
    """The content of a database: schema revision, tables, and whether any table holds a user's record."""

    revision: str | None
    tables: frozenset[str]
    records: bool


def _is_current(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0 and _content(file).revision in _schema_revisions().get_heads()


def _content(file: Path) -> _Content:
    """Return the content of a database. On opening, SQLite rolls back unfinished transactions of killed processes."""
    with closing(sqlite3.connect(file, timeout=SECONDS_FOR_LOCK)) as database:
        named = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {name for (name,) in named if not name.startswith(("sqlite_", "_alembic_tmp_"))}
        rows = database.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
        revisions = [revision for (revision,) in rows]
        own = {"experiments": "WHERE experiment_id <> 0"}
        records = any(
            database.execute(f'SELECT 1 FROM "{table}" {own.get(table, "")} LIMIT 1').fetchone()
            for table in tables.difference(MLFLOW_TABLES)
        )
    return _Content(revisions[0] if revisions else None, frozenset(tables), records)


def _check(file: Path, content: _Content) -> None:
    """Check that a database is MLflow's and not of a newer version.

    Raises:
        SettingsError: if it is not.
    """
    foreign = sorted(content.tables - {*MLFLOW_TABLES, *Base.metadata.tables})
    if content.revision is None and foreign:
        raise SettingsError(
            f"MLFLOW_TRACKING_URI: must be a database of MLflow's or a new file, {file} holds the tables {foreign[:3]}"
        )
    known = {script.revision for script in _schema_revisions().walk_revisions()}
    if content.revision is not None and content.revision not in known:
        raise SettingsError(
            f"MLFLOW_TRACKING_URI: must be a database of MLflow {mlflow.__version__} or older, {file} has the schema "
            f"{content.revision}, unknown to that version; name another file, or install the MLflow that made it"
        )


def _create(file: Path) -> None:
    """Create a database in memory, write it to a draft file and rename that to `file`.

    Raises:
        OSError: if the disk is full.
    """
    store = SqlAlchemyStore("sqlite:///:memory:", file.parent.as_uri())
    draft = _draft(file)
    try:
        with store.engine.connect() as made, closing(sqlite3.connect(draft)) as target:
            made.connection.driver_connection.backup(target)
        if file.exists() and file.stat().st_size:  # another program has started to create it
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
    """Upgrade a database with records to the current schema. The file is unchanged until the upgrade has succeeded.

    Raises:
        SettingsError: if MLflow cannot upgrade it, or another process is using it.
    """
    draft = _draft(file)
    try:
        with closing(sqlite3.connect(file, timeout=SECONDS_FOR_LOCK, isolation_level=None)) as old:
            old.execute("PRAGMA journal_mode = DELETE")  # a write-ahead log would be left beside the new database
            old.execute("BEGIN IMMEDIATE")  # blocks other writers
            with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(draft)) as target:
                source.backup(target)
            store = SqlAlchemyStore(sqlite_address(draft), file.parent.as_uri())
            store.engine.dispose()
            draft.replace(file)
            sync_folder(file.parent)
    except Exception as error:  # any exception of SQLite, Alembic or MLflow
        raise SettingsError(
            f"MLFLOW_TRACKING_URI: must be a store that MLflow {mlflow.__version__} can upgrade, {file} is as it was: "
            f"{error_text(error)}; bring back a backup of it, or name another file"
        ) from error
    finally:
        for leftover in file.parent.glob(f"{escape(draft.name)}*"):
            leftover.unlink(missing_ok=True)


def _stays_unchanged(file: Path) -> bool:
    """Return whether an incomplete database stays unchanged for QUIET_SECONDS."""
    print_to_stderr(
        f"{file} is an incomplete database; waiting {QUIET_SECONDS:.0f} s to see whether another program is creating it"
    )
    seen, until = file.stat(), time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        time.sleep(QUIET_SECONDS / 20)
        if not file.exists() or (now := file.stat()).st_mtime_ns != seen.st_mtime_ns or now.st_size != seen.st_size:
            return False
    return True


def _rename_incomplete(file: Path) -> None:
    number = 1
    while (aside := file.with_name(f"{file.name}.incomplete-{number}")).exists():
        number += 1
    file.rename(aside)
    for companion in COMPANIONS:
        if Path(f"{file}{companion}").exists():
            Path(f"{file}{companion}").rename(f"{aside}{companion}")
    print_to_stderr(
        f"{file} was incomplete and held no records; it was renamed to {aside.name}, and a new one is created"
    )


def _draft(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}.part")
