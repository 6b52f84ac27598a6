"""Reading a study from a store that was written by client calls, with its folds and retrainings."""

import math
from dataclasses import replace
from pathlib import Path

import invented_search as invented
import numpy as np
import pandas as pd
import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient
from mlflow.entities import Metric

from jointnet.errors import InputError
from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.report.store.mlflow_store import MlflowStore
from study.report.store.reader import best_value, read_study, study_ids
from study.store_names import EXPERIMENT

SEEDS = (11, 22)


def test_arms_come_in_the_order_of_the_paper(studies: str) -> None:
    study = read_study(studies, synthetic.PARTIAL)
    assert [arm.arm for arm in study.arms] == ["standalone-25", "standalone-35", "joint-25", "joint-35"]
    assert (study.objective, study.minutes) == (Objective(synthetic.RATIO, "minimize"), 10.0)
    assert (study.arms[2].train, study.arms[2].validation, study.arms[2].test) == (25, 15, 5)
    assert study.missing == ()


def test_every_stage_of_an_arm_is_distinguished(studies: str) -> None:
    failed, empty, tested, selected = read_study(studies, synthetic.PARTIAL).arms
    assert [trial.state for trial in failed.trials] == ["failed"]
    assert failed.trials[0].reason == "RuntimeError: out of memory"
    assert math.isnan(failed.trials[0].objective) and not failed.trials[0].finished
    assert empty.trials == () and empty.selected is None
    assert selected.selected is selected.trials[0] and selected.rows is None and selected.openings == 0
    assert tested.rows is not None and tested.openings == 1
    assert tested.overlays["cine"].shape == (5, 96, 112)  # the format of older studies: one slice per patient


def test_the_ends_of_trials_are_distinguished(studies: str) -> None:
    trials = read_study(studies, synthetic.PARTIAL).arms[2].trials
    assert [(trial.ending, trial.finished) for trial in trials] == [
        ("complete", True),
        ("stopped early", True),
        ("stopped by the time budget", True),
        ("interrupted", False),
    ]


def test_rows_survive_the_store_unchanged(studies: str) -> None:
    arm = read_study(studies, synthetic.PARTIAL).arms[2]
    expected = synthetic.slice_rows(0.9, True)
    assert arm.rows is not None
    assert list(arm.rows.columns) == list(expected.columns)
    assert (arm.rows["after"].to_numpy() == expected["after"].to_numpy()).all()


def test_parameters_are_numbers_where_they_can_be(studies: str) -> None:
    trial = read_study(studies, synthetic.PARTIAL).arms[3].trials[0]
    assert trial.parameters["lambda_2"] == 0.3 and trial.parameters["model"] == "joint"
    assert (trial.objective, trial.best_epoch, trial.minutes) == (0.8, 1, 1.0)


def test_best_value_takes_the_last_word_on_a_repeated_epoch() -> None:
    assert best_value([(1, 0.9), (2, 0.1), (2, 0.7), (3, 0.8)], REGISTRATION_RATIO) == (0.7, 2, 3)
    assert best_value([(1, 0.9), (2, 0.7)], Objective("val/dice/lv", "maximize")) == (0.9, 1, 2)
    assert best_value([(1, math.nan), (2, 0.7), (3, -1.8e308)], REGISTRATION_RATIO) == (0.7, 2, 1)
    assert math.isnan(best_value([], REGISTRATION_RATIO)[0])


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(InputError, match="no such tracking store"):
        study_ids(f"sqlite:///{path}")
    assert not path.exists()


def test_an_unknown_study_names_those_that_are_there(studies: str) -> None:
    with pytest.raises(InputError, match=synthetic.PARTIAL):
        read_study(studies, "nope' OR 'x' = 'x")


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


def test_records_are_grouped_by_arm_with_folds_in_order(studies: str) -> None:
    arms = (invented.arm(fold=2), invented.arm(model="standalone"), invented.arm(fold=1))
    found = replace(read_study(studies, "empty"), arms=arms).by_arm
    assert list(found) == ["joint-25", "standalone-25"]
    assert [record.fold for record in found["joint-25"]] == [1, 2]


@pytest.mark.parametrize("stored", [np.array([3, 12]), np.array(["003", "Ana, M\u00fcller"])])
def test_patients_are_texts_also_of_a_store_that_has_numbers(studies: str, tmp_path: Path, stored: np.ndarray) -> None:
    rows = pd.DataFrame({"patient": [*stored, "NA"], "slice": 1, "before": 0.5})
    rows.to_csv(tmp_path / "slices.csv", index=False)
    np.savez(tmp_path / "overlays.npz", patients=stored, slices=np.array([1, 2]))
    client = MlflowClient(studies)
    run = client.create_run(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    client.log_artifacts(run.info.run_id, str(tmp_path), "test")
    names = ("test/slices.csv", "test/overlays.npz")
    with MlflowStore(studies) as store:
        read = store.artifacts(run, names, names)
    client.delete_run(run.info.run_id)
    assert read[names[0]]["patient"].tolist() == [*map(str, stored), "NA"]
    assert read[names[0]]["slice"].tolist() == [1, 1, 1]
    assert read[names[1]]["patients"].tolist() == list(map(str, stored))
    assert read[names[1]]["slices"].tolist() == [1, 2]
