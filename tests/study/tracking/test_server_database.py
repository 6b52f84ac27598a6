"""The tables of a store on a database server are created by one driver at a time. SQLite replaces the server."""

from pathlib import Path

import pytest
import sqlalchemy
from mlflow import MlflowClient

from study.tracking import server_database
from study.tracking.server_database import ensure_tables


def test_who_finds_another_making_the_tables_says_so_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    uri = f"sqlite:///{tmp_path / 'server.db'}"
    monkeypatch.setattr(server_database, "ATTEMPTS", {"sqlite": "SELECT count(*) > 2 FROM tried"})
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE tried (moment INTEGER)"))

    def wait(seconds: float) -> None:
        assert not sqlalchemy.inspect(engine).has_table("experiments")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("INSERT INTO tried VALUES (0)"))

    monkeypatch.setattr(server_database.time, "sleep", wait)
    ensure_tables(uri)
    assert capsys.readouterr().err.count("Waiting for another driver") == 1
    assert [each.name for each in MlflowClient(uri).search_experiments()] == ["Default"]


def test_tables_that_are_there_are_neither_locked_nor_made(empty_store: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_database, "ATTEMPTS", {"sqlite": "no SQL"})
    monkeypatch.setattr(server_database, "MlflowClient", lambda *_: pytest.fail("opened"))
    ensure_tables(empty_store)
