"""Patients without labels in a study: who may teach, what the study's identity is, and a whole small study."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from plans import SPLITS, plan_of
from scans import prepared, tiny_settings
from tiny_study import search_in_process, tiny_search

import jointnet.train.pseudo_labels
import study.run.pseudo_labels
from jointnet.errors import InputError, SettingsError
from jointnet.model_file import load_model, save_model
from jointnet.networks import build_model
from study import read_study
from study.arm_differences import TRAIN, UNLABELLED, beyond_question, sentence
from study.plan.cost import seconds_per_epoch
from study.plan.identity import differences, digest
from study.plan.plan import PseudoLabels, given, specification
from study.plan.plan_text import render
from study.plan.splits import make_folds
from study.report.sections.methods import pseudo_labels
from study.run.__main__ import main
from study.run.pseudo_labels import PSEUDO_LABELS_FILE, plan_pseudo_labels, predicted_once
from study.search.file.split_counts import parse_counts
from study.store_address import default_tracking_uri


def write_teacher(path: Path, model: str = "joint", **patients: list[str]) -> Path:
    """Write a model file of an untrained network, with the names of patients by role."""
    settings = tiny_settings(model__name=model)
    torch.manual_seed(0)
    save_model(path, build_model(settings).state_dict(), settings, patients, 1)
    return path


def with_teacher(sha256: str = "a" * 64, seen: tuple[str, ...] = ("90",)):
    """Return a plan of two arms with pseudo-labels of two patients."""
    plan = plan_of("joint", "standalone")
    pseudo_labels = PseudoLabels(("46", "47"), Path("/models/teacher.pt"), sha256, seen)
    return replace(plan, data=replace(plan.data, patients=47, pseudo_labels=pseudo_labels))


def test_a_teacher_may_have_seen_patients_that_are_only_trained_on(tmp_path: Path):
    (trained, *_) = SPLITS[0].train
    path = write_teacher(tmp_path / "model.pt", training=[trained, "90"], validation=["91"], teacher=["89"])
    found = plan_pseudo_labels(tmp_path, ["46"], SPLITS)
    assert (found.patients, found.teacher) == (("46",), path)
    assert set(found.seen) == {trained, "89", "90", "91"}
    copy = tmp_path / "copy.pt"
    copy.write_bytes(path.read_bytes())
    assert plan_pseudo_labels(copy, ["46"], SPLITS).sha256 == found.sha256
    with pytest.raises(InputError, match="there is no such file"):
        plan_pseudo_labels(tmp_path / "none", ["46"], SPLITS)


@pytest.mark.parametrize("role", ["training", "validation", "teacher"])
@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_teacher_that_saw_a_patient_of_any_validation_or_test_is_refused(tmp_path: Path, role: str, part: str):
    folds = make_folds(list(map(str, range(1, 10))), 3, parse_counts(["3/1"], test_optional=True), 0)
    splits = [split for fold in folds for split in fold]
    (name, *_) = getattr(splits[-1], part)
    write_teacher(tmp_path / "model.pt", **{role: ["90", name]})
    with pytest.raises(SettingsError) as caught:
        plan_pseudo_labels(tmp_path, ["46"], splits)
    (line,) = caught.value.errors
    assert line.startswith("--teacher: must not have been trained or validated on validation or test patients of any ")
    assert f"got [{name}]; " in line


def test_all_reasons_against_a_teacher_come_together(tmp_path: Path):
    (tested, *_) = SPLITS[0].test
    write_teacher(tmp_path / "model.pt", "standalone", training=["46"], validation=[tested])
    with pytest.raises(SettingsError) as caught:
        plan_pseudo_labels(tmp_path, ["46", "47"], SPLITS)
    segments, unlabelled, held_out = caught.value.errors
    assert segments == "--teacher: must be a model that segments, got standalone"
    assert unlabelled.startswith("--unlabelled: must be patients that --teacher was not") and "got [46]" in unlabelled
    assert f"got [{tested}]" in held_out


def test_a_study_is_identified_by_who_is_unlabelled_and_by_what_the_teacher_is():
    plain, own, other = (specification(plan) for plan in (plan_of(), with_teacher(), with_teacher("b" * 64)))
    assert set(plain["data"]) == {"kind", "patients", "fingerprint"}
    assert own["data"]["unlabelled"] == ["46", "47"]
    assert digest(own) != digest(other)
    assert differences(own, other) == [f'data.teacher: must be "{"a" * 64}" as when the study began, got "{"b" * 64}"']
    assert any(line.startswith("data.unlabelled: must be nothing") for line in differences(plain, own))


def test_the_arms_whose_model_segments_learn_from_them_and_they_are_not_annotated():
    plan = with_teacher()
    given_to = {arm.name: given(plan.data, arm) for arm in plan.arms}
    assert {name: (own[TRAIN], own[UNLABELLED]) for name, own in given_to.items()} == {
        "joint-25": ("25", "2"),
        "joint-35": ("35", "2"),
        "standalone-25": ("25", "0"),
        "standalone-35": ("35", "0"),
    }
    assert UNLABELLED in beyond_question(given_to)
    assert ", patients with pseudo-labels and searched loss weights besides" in sentence(given_to)
    text = " ".join(render(plan).split())
    assert "2 of them without labels: [46, 47]. Arms whose model segments learn from their pseudo-labels by" in text
    assert "patients with pseudo-labels: 2 (joint), 0 (standalone)" in text
    assert "joint-25 25/15/5 40 annotated" in text
    (joint, *_), (*_, alone) = plan.arms, plan.arms
    without = plan_of("joint", "standalone")
    assert UNLABELLED not in given(without.data, joint)
    if joint.settings.training.steps is None:
        assert seconds_per_epoch(plan, joint) > seconds_per_epoch(without, joint)
    assert seconds_per_epoch(plan, alone) == seconds_per_epoch(without, alone)


class Silent:
    """A progress that shows nothing."""

    def phase(self, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PK"), None])
def test_labels_are_predicted_once_and_again_only_where_the_file_is_lost(tmp_path: Path, monkeypatch, damage):
    write_teacher(tmp_path / "model.pt", training=["90"])
    plan = replace(plan_of(), out=tmp_path, study_id="study")
    (tmp_path / "study").mkdir()
    plan = replace(plan, data=replace(plan.data, pseudo_labels=plan_pseudo_labels(tmp_path, ["7", "8"], SPLITS)))
    plan = replace(plan, resources=replace(plan.resources, cpus_per_trial=3.0))
    patients = {
        str(number): prepared(tmp_path / "cache", number, np.zeros((2 + number % 2, 2, 224, 224), np.uint8))
        for number in (7, 8)
    }
    calls = []
    real = study.run.pseudo_labels.pseudo_label
    monkeypatch.setattr(jointnet.train.pseudo_labels, "LEAST_AGREEMENT", 0.0)
    monkeypatch.setattr(
        study.run.pseudo_labels,
        "pseudo_label",
        lambda *given: calls.append(torch.get_num_threads()) or real(*given),
    )
    first = predicted_once(plan, patients, Silent())  # type: ignore[arg-type]
    if damage is not None:
        damage(plan.folder / PSEUDO_LABELS_FILE)
    second = predicted_once(plan, patients, Silent())  # type: ignore[arg-type]
    assert calls == [3] * (1 if damage is None else 2)  # the threads of a trial, however this process was started
    assert [patient.patient for patient in second] == ["7", "8"]
    assert [patient.digest for patient in second] == [patient.digest for patient in first]
    assert [patient.structures for patient in second] == [patient.structures for patient in first]


def test_a_teacher_that_agrees_with_itself_in_no_slice_is_refused_and_nothing_is_kept(tmp_path: Path, monkeypatch):
    write_teacher(tmp_path / "model.pt", training=["90"])
    plan = replace(plan_of(), out=tmp_path, study_id="study")
    plan = replace(plan, data=replace(plan.data, pseudo_labels=plan_pseudo_labels(tmp_path, ["7"], SPLITS)))
    patients = {"7": prepared(tmp_path / "cache", 7, np.zeros((2, 2, 224, 224), np.uint8))}
    monkeypatch.setattr(jointnet.train.pseudo_labels, "LEAST_AGREEMENT", 1.1)
    with pytest.raises(SettingsError, match=r"--teacher: its segmentations of both scans must agree .* got 0 of 2;"):
        predicted_once(plan, patients, Silent())  # type: ignore[arg-type]
    assert not plan.folder.exists()


def test_a_study_with_unlabelled_patients(scan_folder: Path, tmp_path: Path, monkeypatch, workplace: Path, capsys):
    (workplace / "search_spaces/tiny.toml").write_text(tiny_search("joint", "standalone", splits=["2/1/1"]))
    monkeypatch.setattr("study.run.rounds.ray_session", lambda address: nullcontext())
    monkeypatch.setattr("study.run.rounds.run_round", search_in_process)
    monkeypatch.setattr("study.run.stages.evaluators", dict)
    monkeypatch.setattr("study.run.conduct._report", lambda plan, outcome: 0)  # takes most of the time
    monkeypatch.setattr(jointnet.train.pseudo_labels, "LEAST_AGREEMENT", 0.0)
    teacher = write_teacher(tmp_path / "teacher.pt", training=["90"], validation=["91"])
    scans = ["--search", "tiny", "--data", str(scan_folder), "--cache", "cache"]
    wrong = [*scans, "--unlabelled", "5"]
    assert main([*wrong, "--patients", "1-5", "--teacher", str(teacher)]) == 2
    assert "--unlabelled: must be other patients than --patients, got [5] in both" in capsys.readouterr().err
    assert main(wrong) == 2
    assert "--unlabelled, --teacher: must be given together" in capsys.readouterr().err
    command = [*wrong, "--teacher", str(teacher)]
    assert main(command) == 0
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    models = {path.parts[-4]: load_model(path).patients for path in folder.glob("*/*/best/model.pt")}
    assert {name: (len(own["training"]), own["training"][-1] == "5") for name, own in models.items()} == {
        "joint-2": (3, True),
        "standalone-2": (2, False),
    }
    assert models["joint-2"]["teacher"] == ("90", "91") and "teacher" not in models["standalone-2"]
    split = json.loads((folder / "specification.json").read_text())["splits"]["2/1/1"]
    assert sorted({name for part in split.values() for name in part}) == ["1", "2", "3", "4"]
    client = MlflowClient(default_tracking_uri())
    for run in client.search_runs([client.get_experiment_by_name("jointnet-study").experiment_id]):
        assert (run.data.tags["data.unlabelled"], run.data.tags["teacher.patients"]) == ("1", "2")
        (paragraph,) = pseudo_labels(run.data.tags)
        assert paragraph.startswith("1 patient without labels took part by pseudo-labels, in the arms whose model ")
        assert "neither are the 2 patients that the teacher was trained and validated on" in paragraph
        if run.data.tags["study.kind"] == "arm":
            assert run.data.params[UNLABELLED] == ("1" if run.data.tags["model"] == "joint" else "0")
    assert pseudo_labels({"data.kind": "folder"}) == ()
    assert set(read_study().arms["annotated"]) == {3}
    before = (folder / PSEUDO_LABELS_FILE).read_bytes()
    write_teacher(tmp_path / "other.pt", training=["90"], validation=["92"])
    capsys.readouterr()
    assert main([*wrong, "--teacher", "other.pt", "--study", folder.name]) == 2
    assert "data.teacher: must be " in capsys.readouterr().err
    assert (folder / PSEUDO_LABELS_FILE).read_bytes() == before
