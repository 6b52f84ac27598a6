"""The files of a trial: in place and through Ray they fulfil one contract, and a keeper writes only what it may."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray as ray_module
from cohort import cached_patients

from jointnet.model_path import MODEL_FILE
from jointnet.settings import Settings
from jointnet.system.atomic_file import write_whole
from jointnet.train.pseudo_labels import PseudoLabelledPatient
from study.machines.fit_node import UnfitNodeError
from study.trials.file_keeper import FileKeeper, StaleAttemptError
from study.trials.through_ray import TEMPORARY, FilesThroughRay, PatientStore, temporary_folder
from study.trials.trial import ArmTask
from study.trials.trial_files import CHECKPOINTS, IN_PLACE, PREVIOUS_FILE, AttemptFiles, SharedFolderFiles, TrialFiles

Ways = Callable[[Path], TrialFiles]
BOTH_WAYS = pytest.mark.parametrize("files_of", [lambda study: IN_PLACE, FilesThroughRay], ids=["in place", "Ray"])


def train(files: AttemptFiles, epoch: int, improves: bool) -> None:
    """Write what an epoch with a validation writes."""
    (files.folder / CHECKPOINTS).mkdir(exist_ok=True)
    if improves:
        write_whole(files.folder / MODEL_FILE, b"model %d" % epoch)
    write_whole(files.folder / CHECKPOINTS / f"epoch-{epoch:06}.pt", b"checkpoint %d" % epoch)


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / CHECKPOINTS).iterdir()}


@BOTH_WAYS
def test_what_was_kept_is_on_the_drivers_disk_and_the_next_attempt_has_it(ray: None, files_of: Ways, tmp_path: Path):
    files, trial = files_of(tmp_path), tmp_path / "joint-25" / "t0001"
    with files.attempt(trial, 1) as attempt:
        assert attempt.folder.name == "t0001" and attempt.folder.is_dir()
        attempt.keep()  # an epoch without a validation writes nothing
        train(attempt, 1, improves=True)
        attempt.keep()
        assert (trial / MODEL_FILE).read_bytes() == b"model 1"
        train(attempt, 2, improves=False)
        attempt.keep()
        assert (trial / MODEL_FILE).read_bytes() == b"model 1"
        assert checkpoints(trial) == {"epoch-000001.pt": b"checkpoint 1", "epoch-000002.pt": b"checkpoint 2"}
    with files.attempt(trial, 2) as attempt:
        assert checkpoints(attempt.folder) == checkpoints(trial)
        train(attempt, 3, improves=True)
        attempt.keep()
        assert (trial / MODEL_FILE).read_bytes() == b"model 3"
        assert checkpoints(trial)["epoch-000003.pt"] == b"checkpoint 3"


@BOTH_WAYS
def test_a_full_disk_is_the_operating_systems_error_both_ways(ray: None, files_of: Ways, tmp_path: Path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "joint-25").write_text("a file where the arm's folder must be")
    with pytest.raises(OSError) as caught, files_of(tmp_path).attempt(tmp_path / "study/joint-25/t0001", 1) as attempt:
        train(attempt, 1, improves=True)
        attempt.keep()
    assert caught.value.errno == errno.ENOTDIR


def test_through_ray_a_trial_trains_elsewhere_and_leaves_nothing(ray: None, tmp_path: Path):
    with FilesThroughRay(tmp_path).attempt(tmp_path / "t0001", 1) as attempt:
        assert not attempt.folder.is_relative_to(tmp_path)
        own = attempt.folder.parent
        assert own.is_dir() and own.name.startswith(TEMPORARY)
    assert not own.exists()


def test_a_keeper_that_dies_is_started_again_and_nothing_is_lost(ray: None, tmp_path: Path):
    trial = tmp_path / "t0001"
    with FilesThroughRay(tmp_path).attempt(trial, 1) as attempt:
        train(attempt, 1, improves=True)
        attempt.keep()
        below = psutil.Process().children(recursive=True)
        keepers = [process for process in below if "ray::FileKeeper" in " ".join(process.cmdline())]
        assert keepers
        for keeper in keepers:
            keeper.kill()
        train(attempt, 2, improves=True)
        attempt.keep()
    assert {name: (trial / name).read_bytes() for name in (MODEL_FILE, PREVIOUS_FILE)} == {
        MODEL_FILE: b"model 2",
        PREVIOUS_FILE: b"model 1",
    }


def test_a_killed_workers_folder_is_removed_by_the_next_one_and_a_running_workers_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{TEMPORARY}killed" / "t0001").mkdir(parents=True)
    (tmp_path / f"{TEMPORARY}beginning").mkdir()
    (tmp_path / "another").mkdir()
    with temporary_folder() as running:
        for name in (f"{TEMPORARY}killed", running.name, "another"):
            os.utime(tmp_path / name, (0, 0))
        with temporary_folder() as second:
            left = {running.name, second.name, f"{TEMPORARY}beginning", "another"}
            assert {path.name for path in tmp_path.iterdir()} == left
    assert {path.name for path in tmp_path.iterdir()} == {f"{TEMPORARY}beginning", "another"}


def test_in_place_a_node_that_joined_late_must_see_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("study.machines.fit_node.SECONDS_TO_APPEAR", 0.0)
    with (
        pytest.raises(UnfitNodeError, match="does not see it"),
        SharedFolderFiles((tmp_path / "specification.json",)).attempt(tmp_path / "t0001", 1),
    ):
        pass
    assert not (tmp_path / "t0001").exists()


def content(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def files_in(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_keeper_has_the_model_before_and_two_checkpoints(tmp_path: Path):
    keeper, trial = FileKeeper(tmp_path), tmp_path / "t0001"
    assert keeper.begin(trial, 1) == {}
    for epoch in (1, 2, 3):
        model = {MODEL_FILE: content(f"model {epoch}")} if epoch != 2 else {}
        keeper.keep(trial, 1, {**model, f"epoch-{epoch:06}.pt": content(str(epoch))})
    held = {
        f"{CHECKPOINTS}/epoch-000002.pt": "2",
        f"{CHECKPOINTS}/epoch-000003.pt": "3",
        MODEL_FILE: "model 3",
        PREVIOUS_FILE: "model 1",
    }
    assert files_in(trial) == held
    keeper.keep(trial, 1, {MODEL_FILE: content("model 3")})  # from a checkpoint, or a call that Ray repeats
    assert files_in(trial) == held


def test_an_attempt_on_a_node_that_was_given_up_changes_nothing(tmp_path: Path):
    keeper, trial = FileKeeper(tmp_path), tmp_path / "t0001"
    keeper.begin(trial, 1)
    keeper.keep(trial, 1, {MODEL_FILE: content("old")})
    keeper.begin(trial, 2)
    keeper.keep(trial, 2, {MODEL_FILE: content("new")})
    with pytest.raises(StaleAttemptError, match="a later attempt at t0001 has begun"):
        keeper.keep(trial, 1, {MODEL_FILE: content("stale")})
    with pytest.raises(StaleAttemptError):
        keeper.begin(trial, 1)
    assert (trial / MODEL_FILE).read_text() == "new"
    keeper.begin(tmp_path / "t0002", 1)  # another trial


@pytest.mark.parametrize(
    ("folder", "name"),
    [("t0001", "ledger.jsonl"), ("t0001", "../epoch-000001.pt"), ("../t0001", MODEL_FILE), ("/etc", MODEL_FILE)],
)
def test_a_keeper_writes_nothing_but_models_and_checkpoints_of_its_study(folder: str, name: str, tmp_path: Path):
    study = tmp_path / "study"
    with pytest.raises(ValueError, match="must be"):
        FileKeeper(study).keep(study / folder, 1, {name: content("x")})
    assert not list(tmp_path.rglob("*.*"))


def test_patients_in_the_object_store_are_the_prepared_ones_without_a_path(ray: None, tmp_path: Path):
    patients = cached_patients(tmp_path / "cache", 3)
    labels = np.where(np.asarray(patients[1].labels()) == 1, 1, 0).astype(np.uint8)
    pseudo = PseudoLabelledPatient(patients[1], labels, ("lv",))
    task = ArmTask("a", Settings(), (patients[0], pseudo), (patients[2],), 0, "cpu", 1, tmp_path, downsamplings=(1, 2))
    store = PatientStore()
    sent = store.sent(task)
    for before, after in zip((*task.training, *task.validation), (*sent.training, *sent.validation), strict=True):
        assert (after.patient, after.digest) == (before.patient, before.digest)
    for before, after in zip(task.training, sent.training, strict=True):
        assert (after.labelled() == before.labelled()).all()
        for block in (1, 2):
            for mine, own in zip(after.network_arrays(block), before.network_arrays(block), strict=True):
                assert mine.dtype == own.dtype and (mine == own).all()
                assert not mine.flags.owndata and not mine.flags.writeable
    (after,) = sent.validation
    for name in ("images", "labels", "field"):
        mine, own = getattr(after, name)(), getattr(patients[2], name)()
        assert (mine == own).all() and not mine.flags.owndata and not mine.flags.writeable
    assert str(tmp_path / "cache").encode() not in ray_module.cloudpickle.dumps(
        [ray_module.get(each.stored) for each in (*sent.training, *sent.validation)]
    )
    again = store.sent(task)
    assert [each.stored for each in again.training] == [each.stored for each in sent.training]
