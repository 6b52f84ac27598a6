"""Reading of folds and retrainings from the store for the report."""

import pandas as pd
import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient
from mlflow.entities import Metric

from study.report.stored_study import read_study
from study.store_names import EXPERIMENT

SEEDS = (11, 22)


@pytest.fixture(scope="module")
def nested(uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with study `nested`: one arm in two folds, winner t2 retrained twice, and an old retraining of t1."""
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
