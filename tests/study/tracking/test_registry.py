"""The registered model: loaded by MLflow it predicts as the model file does, and nothing is registered twice."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from simulation import TINY

import jointnet
from jointnet.model_file import load_model, save_model
from jointnet.networks import build_model
from jointnet.networks.apply import predict
from jointnet.settings import with_values
from study.store_names import EXPERIMENT
from study.tracking import registry as module
from study.tracking.registry import ALIAS, Champion, input_example, register, registered_name, requirements
from study.tracking.runs import StudyTracker

ONLY_LISTED = """
import pathlib, re, sys
from importlib import metadata
from packaging.requirements import Requirement

def with_dependencies(lines):
    found, queue = set(), [Requirement(line) for line in lines]
    while queue:
        wanted = queue.pop()
        name = re.sub("[-_.]+", "-", wanted.name).lower()
        extras = {"", *wanted.extras}
        if name in found and not wanted.extras:
            continue
        found.add(name)
        for each in map(Requirement, metadata.requires(name) or []):
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(each)
    return found

class OnlyListed:  # finds what it would find where nothing but the model's requirements was installed
    def __init__(self, lines, finders):
        self.allowed, self.finders = with_dependencies(lines), finders
        self.refused = {
            module for module, owners in metadata.packages_distributions().items()
            if module != "jointnet" and not any(re.sub("[-_.]+", "-", o).lower() in self.allowed for o in owners)
        }

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused:
            return None
        return next((spec for each in self.finders if (spec := each.find_spec(name, path, target))), None)

    def find_distributions(self, context):
        found = (one for each in self.finders if hasattr(each, "find_distributions")
                 for one in each.find_distributions(context))
        return (one for one in found if re.sub("[-_.]+", "-", one.name).lower() in self.allowed)

only = OnlyListed(pathlib.Path(sys.argv[5], "requirements.txt").read_text().split(), list(sys.meta_path))
assert {"pytest", "ray"} <= only.refused
sys.meta_path[:] = [only]
"""
"""Run before LOAD; sys.argv[5] is the folder of the registered model."""

LOAD = """
import json, sys, mlflow, numpy
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
found = model.predict(numpy.load(sys.argv[3]))
numpy.savez(sys.argv[4], **found)
example = model.predict(model.input_example)
own = [name for name in sys.modules if name.split(".")[0] == "study"]
print(json.dumps({"file": sys.modules["jointnet"].__file__, "own": own, "inputs": str(model.metadata.signature.inputs),
                  "outputs": model.metadata.signature.outputs.input_names(), "example": len(example["theta"])}))
"""


@pytest.fixture(scope="module", params=["joint", "standalone"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "model.pt"
    torch.manual_seed(3)
    settings = with_values(TINY, {"model.name": request.param})
    model = build_model(settings)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, 0, 0.05)
    save_model(path, model.state_dict(), settings, {"training": [1], "validation": [2]}, 7)
    return path


def champion_of(path: Path, client_run: str, study: str, **tags: str) -> Champion:
    model = path.parent.name.rstrip("0123456789")
    known = {"study.id": study, "data.kind": "phantom", "trial.id": "t0001", "epoch": "7", **tags}
    return Champion(registered_name(f"{model}-{study}"), path, client_run, model == "joint", known, "made up")


@pytest.fixture
def run(uri: str) -> str:
    return StudyTracker(uri, "registry", {}).study_run()


def experiment(uri: str) -> tuple[MlflowClient, str]:
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    assert found is not None
    return client, str(found.experiment_id)


def test_mlflow_alone_loads_it_and_predicts_the_same(saved: Path, uri: str, run: str, tmp_path: Path):
    client, number = experiment(uri)
    chosen = champion_of(saved, run, "load")
    version = client.get_model_version(chosen.name, register(client, number, chosen))
    folder = version.source.removeprefix("file://")
    images = np.random.default_rng(0).random((3, 2, 224, 224), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / "images.npy"), str(tmp_path / "found.npz")]
    command = [sys.executable, "-I", "-c", ONLY_LISTED + LOAD, uri, f"models:/{chosen.name}@{ALIAS}", *files, folder]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "/code/jointnet/" in told["file"] and told["own"] == [] and told["example"] == 1
    assert "float32" in told["inputs"] and "(-1, 2, 224, 224)" in told["inputs"]
    expected = predict(load_model(saved).model, images)
    with np.load(tmp_path / "found.npz") as found:
        assert sorted(found) == sorted(told["outputs"])
        np.testing.assert_allclose(found["theta"], expected.theta, atol=1e-5)
        assert chosen.segments or not np.allclose(expected.theta, [[1, 0, 0], [0, 1, 0]])
        if chosen.segments:
            assert (found["cine_labels"] == expected.cine_labels).mean() > 0.999
            assert found["lge_labels"].dtype == np.uint8
    files = {path.suffix for path in (tmp_path).rglob("*")}
    assert ".pkl" not in files


def test_the_requirements_are_what_is_imported_in_versions_that_a_public_index_has():
    listed = requirements(module.CODE_FILE, Path(jointnet.__file__).parent)
    assert {line.partition("==")[0] for line in listed} == {"mlflow", "numpy", "pydantic", "torch"}
    assert all(re.fullmatch(r"[a-z]+==[0-9.]+", line) for line in listed)


def test_a_requirement_of_a_module_that_is_reached_counts_and_no_other(tmp_path: Path, monkeypatch):
    package = tmp_path / "own"
    for name, content in {
        "../start.py": "import json\nfrom own.room import thing\n",
        "__init__.py": "",
        "room/__init__.py": "import scipy.ndimage\n",
        "room/thing.py": "def late():\n    from skimage import io\n    import mlflow.pyfunc\n",
        "room/other.py": "import nibabel\n",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(content)
    monkeypatch.setattr("study.tracking.registry.metadata.version", lambda name: "1.2.3+cpu")
    listed = requirements(tmp_path / "start.py", package)
    assert listed == ["mlflow==1.2.3", "scikit-image==1.2.3", "scipy==1.2.3"]


def test_nothing_is_pickled(saved: Path, uri: str, run: str):
    client, number = experiment(uri)
    chosen = champion_of(saved, run, "files")
    version = client.get_model_version(chosen.name, register(client, number, chosen))
    stored = [path for path in Path(version.source.removeprefix("file://")).rglob("*") if path.is_file()]
    assert {"model.pt", "model_code.py", "MLmodel", "input_example.json"} <= {path.name for path in stored}
    assert not [path for path in stored if path.suffix in (".pkl", ".pickle", ".pt2", ".pyc")]
    assert (version.run_id, version.tags["study.id"], version.description) == (run, "files", "made up")
    (logged,) = [model for model in client.search_logged_models([number]) if model.artifact_location == version.source]
    assert (logged.source_run_id, str(logged.status)) == (run, "READY")


def test_told_again_it_changes_nothing_and_an_old_study_takes_nothing_back(saved: Path, uri: str, run: str):
    client, number = experiment(uri)
    first, second = champion_of(saved, run, "twice"), champion_of(saved, run, "twice", **{"trial.id": "t0002"})
    assert [register(client, number, first) for _ in range(2)] == ["1", "1"]
    assert register(client, number, second) == "2"
    assert register(client, number, second) == "2"
    assert str(client.get_model_version_by_alias(first.name, ALIAS).version) == "2"
    assert str(client.get_model_version_by_alias(first.name, "study-twice").version) == "2"
    assert len(client.search_model_versions(f"name = '{first.name}'")) == 2


def test_a_study_told_again_after_a_newer_one_leaves_the_alias_there(saved: Path, uri: str, run: str):
    client, number = experiment(uri)
    old = champion_of(saved, run, "old")
    new = Champion(**{**vars(old), "tags": {**old.tags, "study.id": "new"}})
    for chosen in (old, new, old):
        register(client, number, chosen)
    assert client.get_model_version_by_alias(old.name, ALIAS).tags["study.id"] == "new"


@pytest.mark.parametrize(
    ("first", "second", "leads"),
    [
        ("phantom", "folder", "folder"),
        ("folder", "phantom", "folder"),
        ("folder", "folder", "second"),
        ("phantom", "phantom", "second"),
    ],
)
def test_a_phantom_takes_no_alias_from_real_scans(first, second, leads, uri: str, run: str, monkeypatch):
    monkeypatch.setattr(module, "_log_model", lambda client, number, champion: (None, "file:///nowhere"))
    client, number = experiment(uri)
    for study, kind in (("first", first), ("second", second)):
        tags = {"study.id": study, "data.kind": kind, "trial.id": "t1", "epoch": "1"}
        register(client, number, Champion(f"jointnet-{first}-{second}", Path("none"), run, False, tags, ""))
    tags = client.get_model_version_by_alias(f"jointnet-{first}-{second}", ALIAS).tags
    assert leads in (tags["study.id"], tags["data.kind"])
    assert client.get_model_version_by_alias(f"jointnet-{first}-{second}", "study-second").tags["study.id"] == "second"


def test_a_driver_killed_half_way_leaves_one_version_and_one_model(saved: Path, uri: str, run: str, monkeypatch):
    client, number = experiment(uri)
    chosen = champion_of(saved, run, "killed")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", lambda *a: (_ for _ in ()).throw(ConnectionError("gone")))
        with pytest.raises(ConnectionError):
            register(client, number, chosen)
    assert register(client, number, chosen) == "1"
    logged = client.search_logged_models([number], "tags.`study.id` = 'killed'")
    assert len([model for model in logged if model.name == chosen.name]) == 1


def test_the_example_is_two_discs_six_mm_apart():
    cine, lge = input_example()[0]
    centres = [np.argwhere(image)[:, 1].mean() for image in (cine, lge)]
    assert (centres[1] - centres[0]) * 0.75 == 6
