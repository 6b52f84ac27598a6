"""Creation and upgrade of a tracking store's tables on a database server, by one driver at a time.

The lock belongs to the database connection, so the server releases it when a process is killed.
"""

import time

from alembic.migration import MigrationContext
from mlflow import MlflowClient
from sqlalchemy import NullPool, create_engine, text

from jointnet.system.terminal import print_to_stderr
from study.tracking.sqlite_file import schema_revisions

ATTEMPTS = {"postgresql": "SELECT pg_try_advisory_lock(20210215)", "mysql": "SELECT GET_LOCK('jointnet-study', 0)"}
"""The query that tries to take the lock and returns whether it did, by SQLAlchemy dialect name."""
POLL_SECONDS = 0.5


def ensure_tables(uri: str) -> None:
    """Create or upgrade MLflow's tables if they do not match the installed version.

    If another driver holds the lock, wait for it first.

    Raises:
        Exception: any exception of the database's driver, Alembic or MLflow.
    """
    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if MigrationContext.configure(connection).get_current_revision() in schema_revisions().get_heads():
            return
        attempt, said = ATTEMPTS.get(engine.dialect.name), False
        while attempt and not connection.execute(text(attempt)).scalar():
            if not said:
                print_to_stderr("Waiting for another driver, which makes the tables of the tracking store")
            said = True
            time.sleep(POLL_SECONDS)
        MlflowClient(uri).search_experiments(max_results=1)
