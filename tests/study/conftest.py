"""Shared fixtures that are slow to create: a store with synthetic studies, an empty store, and a local Ray."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "faults"))

import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient

from study.machines.cluster import ray_session, this_machine
from study.report.store.reader import read_study
from study.report.write import Report, write_report


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A read-only store with five synthetic studies.

    Oldest first: one whose arms ended at different stages, one that succeeded, one without arms, one with contradictory
    rows, and `doubtful`.
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
    """The read-only report of the study that succeeded. The store has a copy."""
    return write_report(studies, synthetic.FULL, tmp_path_factory.mktemp("report"), log=True)


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def empty_store(_migrated: Path, tmp_path: Path) -> str:
    """An empty MLflow store in `mlruns/` for one test, copied because creating one takes seconds."""
    (tmp_path / "mlruns").mkdir()
    shutil.copyfile(_migrated, tmp_path / "mlruns" / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlruns/mlflow.db"


@pytest.fixture(scope="session")
def uri(_migrated: Path) -> str:
    """A store that several tests write to, each with its own study id."""
    path = _migrated.parent / "shared" / "mlflow.db"
    path.parent.mkdir()
    shutil.copyfile(_migrated, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    """A local Ray with a GPU that it only counts, started once per session."""
    here = replace(this_machine(), gpus=1)
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("study.machines.cluster.this_machine", lambda: here)
            stack.enter_context(ray_session(None))
        yield
