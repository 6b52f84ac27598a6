"""Every command that takes a folder takes its description: the same patients give the same results in any layout."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scans import file_paths, write_nifti

import jointnet
from jointnet.data import __main__ as data
from jointnet.errors import InputError
from jointnet.evaluate import __main__ as evaluate
from jointnet.model_file import load_model
from jointnet.predict import __main__ as predict
from jointnet.train import __main__ as train
from study.plan.identity import with_identity
from study.plan.plan_text import render
from study.run.__main__ import parser
from study.run.planning import plan_from_options

VALUES = {0: 0, 200: 2, 500: 3, 600: 1}
DESCRIPTION = """
name = "our hospital"
[files]
cine = "{id}/{id}_sax.nii.gz"
lge = "{id}/{id}_psir.nii"
cine_label = "{id}/{id}_sax_seg.nii.gz"
lge_label = "{id}/{id}_psir_seg.nii.gz"
[labels]
lv = 3
myo = 2
rv = 1
[cine]
frame = 1
"""
NAMES = {1: "Müller 1", 2: "Müller 2", 3: "Müller 10", 4: "case 4", 5: "case 5"}


@pytest.fixture(scope="module")
def hospital(scan_folder, tmp_path_factory):
    """The patients of `scan_folder` with other names and values, a 4D cine, and a description that lies elsewhere."""
    folder = tmp_path_factory.mktemp("hospital")
    for number, name in NAMES.items():
        for role, path in file_paths(scan_folder, number).items():
            image = nib.load(path)
            voxels = np.asarray(image.dataobj)
            if role.endswith("_label"):
                voxels = np.vectorize(VALUES.get)(voxels).astype(np.uint8)
            if role == "cine":
                voxels = np.stack([voxels[::-1], voxels], -1)
            end = {"cine": "sax.nii.gz", "lge": "psir.nii", "cine_label": "sax_seg.nii.gz"}
            write_nifti(folder / name / f"{name}_{end.get(role, 'psir_seg.nii.gz')}", voxels, image.affine)
    write_nifti(folder / "Müller 1/scout.nii.gz", voxels, image.affine)
    path = tmp_path_factory.mktemp("descriptions") / "hospital.toml"
    path.write_text(DESCRIPTION, encoding="utf-8")
    return folder, path


@pytest.fixture
def given(hospital):
    """The options of a command for the described folder."""
    return ["--data", str(hospital[0]), "--dataset", str(hospital[1])]


def test_check(scan_folder, hospital, tmp_path, capsys):
    folder, path = hospital
    report = tmp_path / "report.json"
    assert data.main(["check", str(folder), "--dataset", str(path), "--json", str(report)]) == 0
    shown = capsys.readouterr()
    assert f"our hospital, described by {path}; structures lv, myo, rv; frame 1 of the cine" in shown.out
    assert f"{folder}: 1 NIfTI file fits no pattern and is not read: Müller 1/scout.nii.gz" in shown.err
    content = json.loads(report.read_text())
    assert [patient["patient"] for patient in content["patients"]] == ["case 4", "case 5", *list(NAMES.values())[:3]]
    assert set(content["patients"][0]["cine"]["label"]["voxels"]) == {"1", "2", "3"}
    table, errors = jointnet.check_folder(folder, dataset=path)
    assert (len(table), errors) == (5, [])


def test_without_its_description_the_folder_is_not_the_challenge_s(hospital, capsys):
    folder, _ = hospital
    assert data.main(["check", str(folder)]) == 3
    assert (
        f"; a dataset.toml says what other names mean: python -m jointnet.data init {folder}" in capsys.readouterr().err
    )


def test_the_rows_are_those_of_the_same_patients_in_the_challenge_s_layout(scan_folder, given, tmp_path, capsys):
    asked = ["--model", "descriptors", "--device", "cpu"]
    assert evaluate.main([*given, *asked, "--out", str(tmp_path / "own.csv")]) == 0
    assert evaluate.main(["--data", str(scan_folder), *asked, "--out", str(tmp_path / "challenge.csv")]) == 0
    own, challenge = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("own", "challenge"))
    challenge["patient"] = challenge["patient"].map(NAMES)
    keys = ["patient", "slice", "structure", "metric"]
    pd.testing.assert_frame_equal(*(rows.sort_values(keys, ignore_index=True) for rows in (own, challenge)))


def test_a_model_is_trained_and_predicts_without_the_structures_that_are_left_out(
    scan_folder, hospital, tmp_path, capsys
):
    folder, path = hospital
    fewer = tmp_path / "fewer.toml"
    fewer.write_text('structures = ["lv", "myo"]\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    tiny = tmp_path / "tiny.toml"
    tiny.write_text("[model]\nwidths = [4, 8, 8]\nhidden = 8\n[training]\ndownsampling = 4\nepochs = 1\n")
    given = ["--data", str(folder), "--dataset", str(fewer)]
    sizes = ["--model", "joint", "--train", "2", "--val", "1", "--settings", str(tiny), "--device", "cpu"]
    assert train.main([*given, *sizes, "--out", str(tmp_path / "model")]) == 0
    saved = load_model(tmp_path / "model/model.pt")
    assert saved.settings.model.structures == ("lv", "myo")
    assert saved.patients["training"] + saved.patients["validation"] == ("case 4", "Müller 1", "case 5")
    out = ["--patients", "case 5", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert predict.main([*given, "--model", str(tmp_path / "model"), *out]) == 0
    record = json.loads((tmp_path / "out/case 5/provenance.json").read_text())
    assert record["inputs"]["cine"]["frame"] == 1
    assert not any(name in json.dumps(record["command"]) for name in (str(fewer), str(folder), "case 5"))
    cine = nib.load(tmp_path / "out/case 5/cine.nii.gz")
    expected = nib.load(file_paths(scan_folder, 5)["cine"])
    np.testing.assert_array_equal(np.asarray(cine.dataobj), np.asarray(expected.dataobj))
    labels = np.unique(np.asarray(nib.load(tmp_path / "out/case 5/cine_segmentation.nii.gz").dataobj))
    assert set(labels.tolist()) <= {0, 200, 500}


def test_patients_of_a_described_folder_in_python(scan_folder, hospital):
    folder, path = hospital
    (own,) = jointnet.load_folder(folder, ["Müller 10"], dataset=path)
    (challenge,) = jointnet.load_folder(scan_folder, ["3"])
    assert own.patient == "Müller 10"
    np.testing.assert_array_equal(own.images(), challenge.images())
    np.testing.assert_array_equal(own.labels(), challenge.labels())


BAD = {
    "broken": ("[files", 2, "must be TOML"),
    "unknown key": (DESCRIPTION + "fraem = 1\n", 2, "cine.fraem: must be a known key; did you mean frame?"),
    "a frame that is not there": (
        DESCRIPTION.replace("frame = 1", "frame = 2"),
        3,
        "must have frame 2, counted from 0",
    ),
    "an unknown value": (DESCRIPTION.replace("rv = 1", "rv = 4"), 3, "0 background, 3 lv, 2 myo, 4 rv only, got 1"),
    "exchanged values": (
        DESCRIPTION.replace("lv = 3\nmyo = 2", "lv = 2\nmyo = 3"),
        3,
        "must show lv (2) surrounded by myo (3), but 3 is surrounded by 2",
    ),
    "nothing fits": (DESCRIPTION.replace("_sax", "_x").replace("_psir", "_y"), 3, "must hold files named {id}/{id}_x"),
}


NEEDS_VOXELS = ("an unknown value", "exchanged values")
"""What a plan does not see, since it reads no voxels."""
TOLD = [(command, name) for name in BAD for command in ("check", "evaluate", "predict", "study")]


@pytest.mark.parametrize(("command", "name"), [one for one in TOLD if one[0] != "study" or one[1] not in NEEDS_VOXELS])
def test_what_is_wrong_is_told_by_every_command(hospital, tmp_path, command, name, capsys):
    text, status, words = BAD[name]
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    folder = ["--data", str(hospital[0]), "--dataset", str(path)]
    out = ["--out", str(tmp_path / "out")]
    if command == "check":
        found = data.main(["check", *folder[1:]])
    elif command == "evaluate":
        found = evaluate.main([*folder, "--model", "identity", "--out", str(tmp_path / "out.csv")])
    elif command == "predict":
        found = predict.main([*folder, "--model", "descriptors", *out])
    else:
        with pytest.raises(InputError, match="must") as caught:
            plan_from_options(parser().parse_args(["--search", "smoke", *folder, *out]))
        assert words in str(caught.value)
        assert caught.value.exit_status == status
        return
    assert found == status
    assert words in capsys.readouterr().err


def plan_of(folder, path, tmp_path, *more):
    options = ["--search", "smoke", "--data", str(folder), "--out", str(tmp_path / "runs"), "--splits", "2/1/1", *more]
    return with_identity(plan_from_options(parser().parse_args([*options, "--dataset", str(path)])))


def test_a_plan_shows_the_description_and_what_is_not_read(hospital, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, path = hospital
    text = render(plan_of(folder, path, tmp_path))
    assert f"our hospital, described by {path}; structures lv, myo, rv; frame 1 of the cine" in text
    assert "1 NIfTI file fits no pattern and is not read" in text


IDENTITIES = {
    "a comment and another name": (lambda text: "# what\n" + text.replace("our hospital", "theirs"), True),
    "another frame": (lambda text: text.replace("frame = 1", "frame = 0"), False),
    "other values": (lambda text: text.replace("rv = 1", "rv = [1, 7]"), False),
    "fewer structures": (lambda text: 'structures = ["lv"]\n' + text, False),
    "a structure that nobody drew in a patient": (
        lambda text: f"unlabelled.rv = {list(NAMES.values())}\n{text}",
        False,
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_study_is_another_where_the_description_changes_the_data(hospital, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, path = hospital
    change, same = IDENTITIES[name]
    changed = tmp_path / "changed.toml"
    changed.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    digests = [plan_of(folder, each, tmp_path).study_id.split("-")[-1] for each in (path, changed)]
    assert (digests[0] == digests[1]) is same


def test_a_study_s_description_needs_a_folder(hospital, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="--dataset: must be given with --data"):
        plan_from_options(parser().parse_args(["--search", "smoke", "--dataset", str(hospital[1])]))


def test_a_description_in_the_folder_is_used_by_itself(hospital, tmp_path):
    folder = shutil.copytree(hospital[0], tmp_path / "scans")
    shutil.copy(hospital[1], folder / "dataset.toml")
    assert data.main(["check", str(folder)]) == 0


def test_check_says_which_scans_have_no_segmentation_and_stays_in_columns(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital[0], tmp_path / "scans")
    shutil.copy(hospital[1], folder / "dataset.toml")
    long = "a patient with a name that is much longer than a column"
    for path in (folder / "case 4").iterdir():
        path.rename(path.with_name(path.name.replace("case 4", long)))
    (folder / "case 4").rename(folder / long)
    (folder / long / f"{long}_psir_seg.nii.gz").unlink()
    assert data.main(["check", str(folder)]) == 0
    shown = capsys.readouterr()
    assert f"LGE has no segmentation in 1 of 5 patients ({long})" in shown.err
    _, heading, *lines = shown.out.splitlines()[:12]
    assert {line[heading.index("scan") :].split()[0] for line in lines} == {"cine", "LGE"}


def test_evaluation_measures_patients_with_both_scans_labelled_and_names_the_others(hospital, tmp_path, capsys):
    folder = shutil.copytree(hospital[0], tmp_path / "scans")
    text = 'structures = ["lv", "myo"]\nunlabelled.lge = {lv = ["case 5"], myo = ["case 5"]}\n'
    (folder / "dataset.toml").write_text(text + DESCRIPTION, encoding="utf-8")
    (folder / "case 4/case 4_sax_seg.nii.gz").unlink()
    asked = ["--data", str(folder), "--model", "identity", "--out", str(tmp_path / "rows.csv")]
    assert evaluate.main(asked) == 0
    shown = capsys.readouterr()
    assert "not measured, because not both scans are labelled: [case 4, case 5]" in shown.out
    assert shown.err == ""
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert set(rows["patient"]) == {"Müller 1", "Müller 2", "Müller 10"}
    assert set(rows["structure"]) == {"lv", "myo"}
    assert evaluate.main([*asked, "--patients", "case 4,case 5"]) == 3
    rule = "must hold a patient with a structure labelled in both scans, got none of [case 4, case 5]"
    assert f"{folder}: {rule}" in capsys.readouterr().err


def test_a_frame_of_one_pair_is_stated_by_an_option(scan_folder, hospital, tmp_path, capsys):
    folder = hospital[0] / "case 4"
    scans = ["--cine", str(folder / "case 4_sax.nii.gz"), "--lge", str(folder / "case 4_psir.nii")]
    asked = [*scans, "--model", "descriptors", "--device", "cpu", "--out", str(tmp_path / "own")]
    told = {"": "state the frame to read", "2": "must have frame 2, counted from 0", "-1": "--frame: must not be neg"}
    for frame, words in told.items():
        assert predict.main([*asked, *(["--frame", frame] if frame else [])]) == (2 if frame == "-1" else 3)
        assert words in capsys.readouterr().err
    assert predict.main([*asked, "--frame", "1"]) == 0
    paths = file_paths(scan_folder, 4)
    result = jointnet.predict_pair(jointnet.load_model("descriptors"), paths["cine"], paths["lge"])
    for name in ("cine.nii.gz", "lge_registered.nii.gz"):
        assert (tmp_path / "own" / name).read_bytes() == result.files[name]
