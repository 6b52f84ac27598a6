"""A store's tables are created whole, by one driver at a time, also if one is killed. SQLite replaces the server."""

import logging
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as of_mlflow
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from jointnet.errors import SettingsError
from study.store_names import EXPERIMENT
from study.tracking import database as database_module
from study.tracking import open_store as open_store_module
from study.tracking.database import ensure_server_tables, ensure_sqlite_tables
from study.tracking.open_store import open_store

OLDER = "3500859a5d39"
"""A revision of MLflow 2.14, with the tables of runs and models and without many later ones."""
OPEN = """
import sys
from study.tracking.open_store import open_store

def stop(event, of):
    if sys.argv[2:] and event == sys.argv[2] and str(of[0]).endswith(sys.argv[3]):
        print("there", flush=True)
        input()

print("ready", flush=True)
input()
sys.addaudithook(stop)  # it stands still, to be killed, right before an event
print(open_store(f"sqlite:///{sys.argv[1]}")[1], flush=True)
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "QUIET_SECONDS", 0.2)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def opening(file: Path, *stop: str) -> "subprocess.Popen[str]":
    """Start a process that opens the store on request and pauses right before the event `stop`."""
    arguments = [sys.executable, "-c", OPEN, str(file), *stop]
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_several_that_open_a_fresh_store_at_once_get_the_same_one(tmp_path: Path):
    file = tmp_path / "mlruns" / "mlflow.db"
    processes = [opening(file) for _ in range(3)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[0] for process in processes] == ["1\n"] * 3
    assert left(file.parent) == {"artifacts", "mlflow.db"}
    assert [each.name for each in MlflowClient(f"sqlite:///{file}").search_experiments()] == [EXPERIMENT, "Default"]


@pytest.mark.parametrize(
    ("stop", "there"),
    [(("sqlite3.connect", ":memory:"), 0), (("os.remove", "mlflow.db-journal"), 1)],
    ids=["before its tables are made", "before it has its name"],
)
def test_a_driver_killed_while_it_makes_the_store_leaves_nothing_in_the_way(
    tmp_path: Path, stop: tuple[str, str], there: int
):
    file = tmp_path / "mlflow.db"
    process = opening(file, *stop)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "there\n"
    assert left(tmp_path) >= {".mlflow.db.lock", ".mlflow.db.lock.owner"} and len(left(tmp_path)) == 2 + there
    process.kill()
    process.communicate()
    assert open_store(f"sqlite:///{file}")[1] == "1"
    assert left(tmp_path) == {"artifacts", "mlflow.db"}


@pytest.fixture
def upgraded_to(monkeypatch: pytest.MonkeyPatch):
    """Return a function that creates a database with the schema of an MLflow revision."""

    def make(file: Path, revision: str) -> None:
        engine = of_mlflow.create_sqlalchemy_engine_with_retry(f"sqlite:///{file}")
        database_module.Base.metadata.create_all(engine)
        if revision:
            config = of_mlflow._get_alembic_config(f"sqlite:///{file}")
            with engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
        engine.dispose()

    return make


def damage(file: Path) -> None:
    """Apply half of the migration after `OLDER`, as after a kill. MLflow's own upgrade then fails."""
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("ALTER TABLE model_versions ADD COLUMN storage_location VARCHAR(500)")
        database.execute("CREATE TABLE trace_info (request_id VARCHAR(50))")


@pytest.mark.parametrize("revision", ["", OLDER])
def test_a_half_made_store_without_a_record_is_set_aside(tmp_path: Path, upgraded_to, capsys, revision: str):
    file = tmp_path / "mlflow.db"
    upgraded_to(file, revision)
    if revision:
        damage(file)
    for number in (1, 2):
        shutil.copyfile(file, tmp_path / "copy")
        assert open_store(f"sqlite:///{file}")[1] == "1"
        said = capsys.readouterr().err
        assert f"{file} was incomplete and held no records" in said
        assert f"it was renamed to mlflow.db.incomplete-{number}" in said
        (tmp_path / "copy").replace(file)
    assert left(tmp_path) == {"artifacts", "mlflow.db", "mlflow.db.incomplete-1", "mlflow.db.incomplete-2"}


def with_a_run(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO experiments (experiment_id, name, lifecycle_stage) VALUES (7, 'own', 'active')")
        columns = "(run_uuid, name, experiment_id, status, start_time, lifecycle_stage, source_type, user_id)"
        database.execute(f"INSERT INTO runs {columns} VALUES ('r', 'mine', 7, 'FINISHED', 1, 'active', 'LOCAL', 'me')")


def test_an_older_store_with_records_is_upgraded_or_stays_as_it_was(tmp_path: Path, upgraded_to, monkeypatch):
    file = tmp_path / "mlflow.db"
    upgraded_to(file, OLDER)
    with_a_run(file)
    before = file.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure_sqlite_tables(file)
    assert file.read_bytes() == before
    client, _ = open_store(f"sqlite:///{file}")
    assert client.get_run("r").info.run_name == "mine"
    assert left(tmp_path) == {"artifacts", "mlflow.db"}


def test_a_half_made_store_with_records_is_refused_and_stays_as_it_was(tmp_path: Path, upgraded_to):
    file = tmp_path / "mlflow.db"
    upgraded_to(file, OLDER)
    with_a_run(file)
    damage(file)
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=rf"can upgrade, {file} is as it was: .*bring back a backup"):
        open_store(f"sqlite:///{file}")
    assert file.read_bytes() == before
    assert left(tmp_path) == {"mlflow.db"}


def test_who_has_a_replaced_database_open_cannot_write_past_it(tmp_path: Path, upgraded_to):
    file = tmp_path / "mlflow.db"
    upgraded_to(file, OLDER)
    with_a_run(file)
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        ensure_sqlite_tables(file)
        with pytest.raises(sqlite3.OperationalError, match="readonly"), other:
            other.execute("UPDATE runs SET name = 'lost'")


def test_a_store_that_another_program_is_making_is_waited_for(
    tmp_path: Path, _migrated: Path, upgraded_to, monkeypatch
):
    file = tmp_path / "mlflow.db"
    upgraded_to(file, "")
    monkeypatch.setattr(database_module, "QUIET_SECONDS", 10.0)
    program = subprocess.Popen(["sh", "-c", 'sleep 1 && cp "$0" "$1"', str(_migrated), str(file)])
    ensure_sqlite_tables(file)
    program.wait()
    assert left(tmp_path) == {"mlflow.db"}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE TABLE studies (id INTEGER)", r"holds the tables \['studies'\]"),
        ("CREATE TABLE alembic_version AS SELECT 'v3.0.0.d' AS version_num", r"has the schema v3\.0\.0\.d, unknown"),
    ],
)
def test_a_database_of_another_program_is_refused_and_stays(tmp_path: Path, statement: str, told: str):
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(statement)
    before = file.read_bytes()
    with pytest.raises(SettingsError, match=rf"^MLFLOW_TRACKING_URI: must be a database of MLflow.*{told}"):
        open_store(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_an_empty_one_is_filled(tmp_path: Path):
    (tmp_path / "text").write_text("no database, but some text" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        ensure_sqlite_tables(tmp_path / "text")
    (tmp_path / "empty").touch()
    (tmp_path / "empty-journal").write_bytes(b"of an older one")
    for name in (".empty.12.part", ".empty.12.part-journal", ".empty.lock.owner.0a.part"):
        (tmp_path / name).touch()
    ensure_sqlite_tables(tmp_path / "empty")
    assert left(tmp_path) == {"text", "empty", ".empty.lock.owner.0a.part"}  # of one who waits for the lock


def test_a_disk_that_is_full_while_a_store_is_made_is_said_as_such(tmp_path: Path, monkeypatch):
    class Small(sqlite3.Connection):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            self.execute("PRAGMA max_page_count = 3")

    monkeypatch.setattr(database_module.sqlite3, "connect", Small)
    with pytest.raises(OSError, match="No space left on device"):
        ensure_sqlite_tables(tmp_path / "mlflow.db")
    assert left(tmp_path) == set()


def test_a_whole_store_is_opened_without_a_lock(empty_store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database_module, "locked", lambda *_, **__: pytest.fail("locked"))
    open_store(empty_store)


def test_a_new_database_is_what_mlflow_makes_in_a_file(tmp_path: Path):
    ensure_sqlite_tables(tmp_path / "own.db")
    SqlAlchemyStore(f"sqlite:///{tmp_path / 'theirs.db'}", tmp_path.as_uri()).engine.dispose()

    def schema(name: str) -> list[list[tuple[str, ...]]]:
        with closing(sqlite3.connect(tmp_path / name)) as database:
            named = database.execute("SELECT type, name FROM sqlite_master ORDER BY type, name").fetchall()
            tables = [name for kind, name in named if kind == "table"]
            return [named, *(database.execute(f'PRAGMA table_info("{name}")').fetchall() for name in tables)]

    assert schema("own.db") == schema("theirs.db")


def test_the_experiment_that_another_driver_made_meanwhile_is_taken(empty_store: str, monkeypatch):
    """This also applies to a server, where no file is locked."""
    theirs = open_store(empty_store)[1]
    asked: list[str] = []

    class Late(MlflowClient):
        def get_experiment_by_name(self, name: str):
            asked.append(name)
            return None if len(asked) == 1 else super().get_experiment_by_name(name)

    monkeypatch.setattr(open_store_module, "MlflowClient", Late)
    assert open_store(empty_store)[1] == theirs
    assert len(asked) == 2


def test_an_experiment_that_cannot_be_made_is_said(empty_store: str, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("refused")

    monkeypatch.setattr(MlflowClient, "create_experiment", refuse)
    with pytest.raises(MlflowException, match="refused"):
        open_store(empty_store)


def test_who_finds_another_making_the_tables_says_so_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    uri = f"sqlite:///{tmp_path / 'server.db'}"
    monkeypatch.setattr(database_module, "LOCK_QUERIES", {"sqlite": "SELECT count(*) > 2 FROM tried"})
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE tried (moment INTEGER)"))

    def wait(seconds: float) -> None:
        assert not sqlalchemy.inspect(engine).has_table("experiments")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO tried VALUES (0)"))

    monkeypatch.setattr(database_module.time, "sleep", wait)
    ensure_server_tables(uri)
    assert capsys.readouterr().err.count("Waiting for another driver") == 1
    assert [each.name for each in MlflowClient(uri).search_experiments()] == ["Default"]


def test_tables_that_are_there_are_neither_locked_nor_made(empty_store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database_module, "LOCK_QUERIES", {"sqlite": "no SQL"})
    monkeypatch.setattr(database_module, "MlflowClient", lambda *_: pytest.fail("opened"))
    ensure_server_tables(empty_store)
