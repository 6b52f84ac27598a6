"""The tables of a tracking store on a database server, made or upgraded by one driver at a time.

The lock belongs to the connection, so it ends with a process that is killed.
"""

import time

from alembic.migration import MigrationContext
from mlflow import MlflowClient
from sqlalchemy import NullPool, create_engine, text

from jointnet.lock import say
from study.tracking.sqlite_store import schema_revisions

ATTEMPTS = {"postgresql": "SELECT pg_try_advisory_lock(20210215)", "mysql": "SELECT GET_LOCK('jointnet-study', 0)"}
"""What takes the lock, and returns whether it did, by SQLAlchemy's name of the database."""
POLL_SECONDS = 0.5


def ensure_tables(uri: str) -> None:
    """Make or upgrade MLflow's tables where they are not the installed version's, and wait for another who does.

    Raises:
        Exception: what the database's own driver, Alembic or MLflow raises.
    """
    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() in schema_revisions().get_heads():
            return
        attempt, said = ATTEMPTS.get(engine.dialect.name), False
        while attempt and not connection.execute(text(attempt)).scalar():
            if not said:
                say("Waiting for another driver, which makes the tables of the tracking store")
            said = True
            time.sleep(POLL_SECONDS)
        MlflowClient(uri).search_experiments(max_results=1)
