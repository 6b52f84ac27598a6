"""Folds and retrainings as the store holds them, and a report that shows each fold apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient
from mlflow.entities import Metric

from study.report import write_report
from study.reporting.rows import over_seeds
from study.reporting.store import read_study
from study.store_layout import EXPERIMENT

SEEDS = (11, 22)


@pytest.fixture(scope="module")
def nested(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with study `nested`: one arm in two folds, its winner t2 retrained twice, an older one of t1 left."""
    client = MlflowClient(uri)
    rows = synthetic.slice_rows(0.6, True)
    seeds = pd.concat([rows.assign(after=rows["after"] + k, seed_index=k) for k in (1, 2)])
    arms = [arm for arm in synthetic.full_arms() if arm.name == "joint-25"] * 2
    synthetic.write_study(uri, "nested", arms, tmp_path_factory.mktemp("nested"), {"joint-25": seeds})
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs([experiment.experiment_id], "tags.`study.id` = 'nested'", order_by=["start_time"])
    runs = [run for run in found if run.data.tags["study.kind"] == "arm"]
    for fold, run in enumerate(runs, start=1):
        client.set_tag(run.info.run_id, "fold", str(fold))
        client.set_tag(run.info.run_id, "folds", "2")
        for index, seed, of in ((2, SEEDS[1], "t2"), (1, SEEDS[0], "t2"), (1, SEEDS[0], "t1")):
            own = {
                "study.id": "nested",
                "study.kind": "retrain",
                "arm": "joint-25",
                "fold": str(fold),
                "seed": str(seed),
            }
            own |= {"trial.id": f"{of}-s{index}", "retrain.of": of, "retrain.seed_index": str(index)}
            own |= {"mlflow.parentRunId": run.info.run_id, "trial.state": "complete"}
            again = client.create_run(experiment.experiment_id, start_time=synthetic.START_MS, tags=own).info.run_id
            points = [
                Metric(synthetic.RATIO, value, synthetic.START_MS + k, k) for k, value in ((1, 0.9), (2, 0.5), (3, 0.6))
            ]
            client.log_batch(again, metrics=points)
            client.set_terminated(again, end_time=synthetic.START_MS + 120_000)
    return uri


def test_arms_are_read_by_fold_with_the_retrainings_of_their_winner(nested: str):
    study = read_study(nested, "nested")
    assert [(arm.arm, arm.fold, arm.folds) for arm in study.arms] == [("joint-25", 1, 2), ("joint-25", 2, 2)]
    assert study.missing == ()
    for arm in study.arms:
        assert [(each.seed_index, each.seed) for each in arm.retrains] == [(1, 11), (2, 22)]
        assert {(e.objective, e.best_epoch, e.epochs, e.minutes, e.state) for e in arm.retrains} == {
            (0.5, 2, 3, 2.0, "complete")
        }
        assert set(arm.rows["seed_index"]) == {1, 2} and len(arm.trials) == 5


def test_the_report_shows_each_fold_apart_with_means_over_seeds(nested: str, tmp_path: Path):
    report = write_report(nested, "nested", tmp_path, log=False)
    assert [row.key for row in report.table.rows] == ["before", "joint-25-fold-1", "joint-25-fold-2"]
    assert "fold 2 of 2" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "overlay-joint-25-fold-2.png").is_file()
    plain = synthetic.slice_rows(0.6, True)
    slices = pd.read_csv(tmp_path / "slices.csv").query("arm == 'joint-25-fold-1'")
    assert len(slices) == len(plain)
    merged = slices.merge(plain, on=["patient", "slice", "metric", "structure"])
    assert np.allclose(merged["after_x"], merged["after_y"] + 1.5)


def test_rows_of_one_tuned_model_stay_as_they_are():
    rows = synthetic.slice_rows(0.6, False)
    assert over_seeds(rows) is rows


def test_a_structure_that_one_seed_lost_is_lost():
    row = {"patient": 1, "slice": 2, "structure": "rv", "metric": "cd_mm", "before": 4.0}
    rows = pd.DataFrame(
        [{**row, "after": 2.0, "lost": False, "seed_index": 1}, {**row, "after": 4.0, "lost": True, "seed_index": 2}]
    )
    (found,) = over_seeds(rows).to_dict("records")
    assert found == {**row, "after": 3.0, "lost": True}
