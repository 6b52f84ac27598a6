"""What is costly to make and may be shared: a store with invented studies, an empty store, a Ray on this machine."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "faults"))

import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient

from study.machines.cluster import ray_session
from study.report import Report, write_report
from study.reporting.stored_study import read_study


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store, only to be read, whose studies are, oldest first: one that ended at many stages, one that went well, one
    without arms, one that contradicts itself, and `doubtful`.
    """
    folder = tmp_path_factory.mktemp("studies")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    synthetic.write_study(uri, synthetic.PARTIAL, synthetic.partial_arms(), folder)
    lost = {"standalone-25": synthetic.lose_one(synthetic.slice_rows(0.85, False))}
    synthetic.write_study(uri, synthetic.FULL, synthetic.full_arms(), folder, lost)
    synthetic.write_study(uri, "empty", [], folder)
    rows = synthetic.slice_rows(0.5, False)
    arms = [synthetic.Arm(model, "25/15/5", (), 0.5) for model in ("joint", "standalone")]
    given = {"joint-25": rows, "standalone-25": rows.assign(before=rows["before"] + 1)}
    synthetic.write_study(uri, "contradiction", arms, folder, given)
    synthetic.write_study(uri, "doubtful", synthetic.partial_arms(), folder)
    (arm,) = (arm for arm in read_study(uri, "doubtful").arms if arm.rows is not None)
    MlflowClient(uri).set_tag(arm.run_id, "test.openings", "3")
    MlflowClient(uri).log_metric(arm.run_id, "test/registration_ratio", 0.5)
    return uri


@pytest.fixture(scope="session")
def report(studies: str, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the study that went well, only to be read; its copy is in the store."""
    return write_report(studies, synthetic.FULL, tmp_path_factory.mktemp("report"), log=True)


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def empty_store(_migrated: Path, tmp_path: Path) -> str:
    """An MLflow store of the test's own in `mlruns/`, without the seconds that its making takes."""
    (tmp_path / "mlruns").mkdir()
    shutil.copyfile(_migrated, tmp_path / "mlruns" / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlruns/mlflow.db"


@pytest.fixture(scope="session")
def uri(_migrated: Path) -> str:
    """A store that tests write to, each under a study id of its own."""
    path = _migrated.parent / "shared" / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(_migrated, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """Ray on this machine, started once."""
    with ray_session(None):
        yield
