"""The documentation's example of an own model on its whole way: search, test, report, registry, prediction."""

import json
import pickle
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import scans
from mlflow import MlflowClient

import study.predict
from jointnet import own_code
from jointnet.train.objective import EpochReport
from study.run.__main__ import main
from study.trials.scheduling import ArmSearch
from study.trials.trial import REPORT, ArmTask, run_in_worker

EXAMPLE = Path(__file__).parents[3] / "docs/how-to/own_model.py"
SEARCH = """
question = "Does a network of one's own go the whole way?"
models = ["own_model.py:MODEL"]
splits = ["1/1/1"]
[fixed]
"model.widths" = [4, 4]
"training.downsampling" = 4
"training.metrics" = ["own_loss.py:area_ratio"]
[objective]
metric = "val/area_ratio/lv"
direction = "maximize"
[parameters."model.options.width"]
choices = [4, 5]
[parameters."loss.terms.own_loss.py:drift"]
low = 0.01
high = 0.1
[search]
sampler = "random"
seed_trials = []
[fidelity]
max_epochs = 1
grace_epochs = 1
reduction_factor = 2
[budget]
num_samples = 1
"""


LOSS = """
def drift(output, batch):
    return output.theta[:, :, 2].square().mean()


def area_ratio(fixed, moved, theta):
    return moved.sum() / fixed.sum()
"""


RECEIVED: list[list[str]] = []
"""The references whose code each trial was sent."""


def search_here(task: ArmTask, search: ArmSearch, *rest: Any, **more: Any) -> None:
    """Run an arm's trials in this process, from a task as a worker of Ray receives it."""
    sent = pickle.dumps(task)
    while (trial := search.next_trial("attempt")) is not None:
        config = {"trial_id": trial.trial_id, "sample": dict(trial.sample), "seed": trial.seed, "attempt": 1}

        def report(content: dict[str, Any]) -> None:
            for epoch in (EpochReport(**each) for each in content[REPORT]):
                search.reported("attempt", epoch.epoch, epoch.metrics)

        run_in_worker(config, pickle.loads(sent), report)
        search.returned("attempt")
    search.close(None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: str) -> Iterator[Path]:
    """Return a working folder with the example, a search of it and an empty store."""
    shutil.copyfile(EXAMPLE, tmp_path / "own_model.py")
    (tmp_path / "own.toml").write_text(SEARCH)
    (tmp_path / "own_loss.py").write_text(LOSS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("JOINTNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("study.run.rounds.ray_session", lambda address: nullcontext())
    monkeypatch.setattr("study.run.rounds.run_round", search_here)
    RECEIVED.clear()
    monkeypatch.setattr("study.trials.trial.receive", lambda codes: RECEIVED.append([each.reference for each in codes]))
    own_code._RUN.clear()
    yield tmp_path
    own_code._RUN.clear()


def runs(uri: str) -> list[Any]:
    client = MlflowClient(uri)
    return list(client.search_runs([each.experiment_id for each in client.search_experiments()]))


def studies(place: Path) -> list[Path]:
    return sorted(path.parent for path in (place / "runs").glob("*/specification.json"))


def test_an_own_model_is_searched_reported_registered_and_predicts_where_its_code_is_allowed(
    place: Path, scan_folder: Path, empty_store: str, capsys: pytest.CaptureFixture[str]
):
    command = ["--search", "own.toml", "--data", str(scan_folder)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "small-net-1" in said and "one step of small-net was timed" in said
    (folder,) = studies(place)
    digest = own_code.digests(["own_model.py:MODEL"])["own_model.py:MODEL"]
    code = json.loads((folder / "specification.json").read_text())["code"]
    assert code["own_model.py:MODEL"] == digest
    assert set(code) == {"own_model.py:MODEL", "own_loss.py:drift", "own_loss.py:area_ratio"}
    assert RECEIVED == [["own_model.py:MODEL", "own_loss.py:area_ratio", "own_loss.py:drift"]]
    (trial,) = [run for run in runs(empty_store) if run.data.tags["study.kind"] == "trial"]
    assert int(trial.data.params["model.options.width"]) in (4, 5)
    assert 0.01 <= float(trial.data.params["loss.terms.own_loss.py:drift"]) <= 0.1
    assert {"train/loss/drift", "val/area_ratio/lv"} <= set(trial.data.metrics)
    (arm,) = [run for run in runs(empty_store) if run.data.tags["study.kind"] == "arm"]
    assert arm.data.metrics["test/area_ratio/lv"] > 0
    assert "Small net, 1 + 1 = 2 annotated" in (folder / "report" / "report.html").read_text()
    client = MlflowClient(empty_store)
    version = client.get_model_version_by_alias("jointnet-small-net-1", "champion")
    assert (version.tags["model"], version.tags["model.code.digest"]) == ("small-net", digest)
    assert (
        "LV area_ratio " in version.description and " on validation. On 1 test patients: LV CD " in version.description
    )
    values = [trial.data.metrics[name] for name in ("val/area_ratio/lv", "val_best/area_ratio/lv")]
    assert values[0] == values[1] and "Best val/area_ratio/lv " in trial.data.tags["mlflow.note.content"]
    assert arm.data.tags["selection.objective"] == str(values[0])
    assert "maximize" in (folder / "specification.json").read_text()
    (top,) = [run for run in runs(empty_store) if run.data.tags["study.kind"] == "study"]
    view = json.loads(client.get_experiment(top.info.experiment_id).tags[f"mlflow.sharedViewState.{folder.name}"])
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`val_best/area_ratio/lv`", False)
    assert re.search(r"LV area_ratio \d", (folder / "report" / "report.md").read_text())

    source = (place / "own_model.py").read_text()
    (place / "own_model.py").write_text(source + "# changed\n")
    own_code._RUN.clear()
    assert main([*command, "--study", folder.name]) == 2
    assert f'code.own_model.py:MODEL: must be "{digest}" as when the study began' in capsys.readouterr().err
    assert main([*command, "--dry-run"]) == 0
    assert "which this command continues" not in capsys.readouterr().out
    (place / "own_model.py").write_text(source)
    own_code._RUN.clear()
    assert main([*command, "--dry-run"]) == 0
    assert f"Study {folder.name}, which this command continues" in capsys.readouterr().out

    paths = scans.file_paths(scan_folder, 1)
    pair = ["--cine", str(paths["cine"]), "--lge", str(paths["lge"]), "--device", "cpu"]
    asked = ["--model", "models:/jointnet-small-net-1@champion", *pair]
    own_code._RUN.clear()
    assert study.predict.main([*asked, "--out", "refused"]) == 2
    assert "its network is code outside jointnet, own_model.py:MODEL" in capsys.readouterr().err
    assert not own_code._RUN and not Path("refused").exists()
    assert study.predict.main([*asked, "--out", "predicted", "--allow-code", "own_model.py"]) == 0
    assert Path("predicted/lge_registered.nii.gz").is_file()

    own_code._RUN.clear()
    (place / "own_model.py").unlink()
    address, images = f"models:/{version.name}/{version.version}", np.zeros((2, 2, 224, 224), np.float32)
    mlflow.set_tracking_uri(empty_store)
    with pytest.raises(Exception, match="its network is code outside jointnet"):
        mlflow.pyfunc.load_model(address)
    loaded = mlflow.pyfunc.load_model(address, model_config={"allow_code": ["own_model.py"]})
    assert loaded.predict(images)["theta"].shape == (2, 2, 3)
