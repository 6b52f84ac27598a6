"""nnU-Net's dataset.json: channels and label values, of both versions, and what is not used."""

import json

import pytest
from foreign_folders import LAYOUTS, write_foreign

from jointnet.data.__main__ import main
from jointnet.data.description import load_dataset
from jointnet.data.folder import scan_folder as patients_of
from jointnet.data.init.nnunet import declared

CINE_LGE = {"0": "cine", "1": "LGE"}


def said(folder, content):
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return declared(folder)


@pytest.mark.parametrize(
    ("labels", "structures", "scar"),
    [
        ({"background": 0, "RV": 1, "MYO": 2, "LV": 3}, {"rv": (1,), "myo": (2,), "lv": (3,)}, ()),
        ({"0": "background", "1": "Left Ventricle", "2": "LV_Myocardium"}, {"lv": (1,), "myo": (2,)}, ()),
        ({"lv": 1, "myocardium": 2, "scar": 3, "no-reflow": 4}, {"lv": (1,), "myo": (2, 3, 4)}, (3, 4)),
        ({"background": 0, "lv": [1], "myocardium": [2, 3], "infarct": [3]}, {"lv": (1,), "myo": (2, 3)}, (3,)),
    ],
)
def test_names_say_what_the_values_stand_for(tmp_path, labels, structures, scar):
    found = said(tmp_path, {"channel_names": CINE_LGE, "labels": labels})
    assert dict(found.values.structures) == structures
    assert found.values.scar == scar
    assert found.unsure == ()


@pytest.mark.parametrize(
    ("channels", "cine", "lge"),
    [
        (CINE_LGE, "0000", "0001"),
        ({"0": "LGE", "1": "bSSFP"}, "0001", "0000"),
        ({"0": "T2", "1": "late enhancement", "2": "cine MRI"}, "0002", "0001"),
        ({"0": "MRI", "1": "MRI"}, None, None),
        ({"0": "cine", "1": "cine", "2": "LGE"}, None, None),
        ({"0": "cine LGE"}, None, None),
    ],
)
@pytest.mark.parametrize("key", ["channel_names", "modality"])
def test_channels_are_told_by_their_names(tmp_path, key, channels, cine, lge):
    patterns = said(tmp_path, {key: channels, "labels": {"lv": 1, "myo": 2}}).patterns
    expected = {"cine": f"imagesTr/{{id}}_{cine}.nii.gz", "lge": f"imagesTr/{{id}}_{lge}.nii.gz"}
    assert patterns == (expected if cine else {})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "must be JSON with labels"),
        ("[" * 100_000, "must be JSON with labels"),
        ("[]", "must be JSON with labels"),
        ("{}", "must be JSON with labels"),
        ({"labels": [1]}, "must be JSON with labels"),
        ({"labels": {"lv": 1.5}}, "values from 0 to"),
        ('{"labels": {"lv": Infinity}}', "values from 0 to"),
        ({"labels": {"lv": -1}}, "values from 0 to"),
        ({"labels": {"lv": "one"}}, "must be JSON with labels"),
        ({"labels": {"lv": {"a": 1}}}, "values from 0 to"),
        ({"labels": {"lv": 1}, "channel_names": {"first": "cine"}}, "must be JSON with labels"),
        ({"labels": {"lv": 1, "atrium": 2}}, "labels named 'atrium' are not known"),
        ({"labels": {"lv": 1, "rv": 1}}, "a label value has two meanings"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, content, why):
    found = said(tmp_path, content)
    assert found.values is None
    (line,) = found.unsure
    assert "dataset.json: " in line
    assert why in line


def test_init_uses_channels_and_names_and_says_where_places_differ(scan_folder, tmp_path, capsys):
    folder = tmp_path / "nnunet"
    layout = LAYOUTS["nnunet"]
    write_foreign(scan_folder, folder, layout, only=(1, 2))
    for path in sorted((folder / "imagesTr").iterdir()):  # LGE becomes channel 0
        path.rename(path.with_name(path.name.replace("_0000", "_x") if "_0000" in path.name else path.name))
    for old, new in (("_0001", "_0000"), ("_x", "_0001")):
        for path in sorted((folder / "imagesTr").glob(f"*{old}.nii.gz")):
            path.rename(path.with_name(path.name.replace(old, new)))
    content = {"channel_names": {"0": "LGE", "1": "cine"}, "labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}}
    (folder / "dataset.json").write_text(json.dumps(content))
    assert main(["init", str(folder), "--write"]) == 0
    assert "unsure" not in capsys.readouterr().out
    dataset = load_dataset(folder)
    assert dataset.patterns["cine"] == "imagesTr/{id}_0001.nii.gz"
    assert dataset.patterns["lge"] == "imagesTr/{id}_0000.nii.gz"
    assert dict(dataset.cine_values.structures) == {"lv": (3,), "myo": (2,), "rv": (1,)}
    (folder / "dataset.toml").unlink()
    content["labels"] = {"background": 0, "LV": 1, "MYO": 2, "RV": 3}
    (folder / "dataset.json").write_text(json.dumps(content))
    assert main(["init", str(folder), "--write"]) == 0
    assert "unsure: labels of cine: the positions of the labels contradict their names" in capsys.readouterr().out
    assert dict(load_dataset(folder).cine_values.structures) == {"lv": (3,), "myo": (2,), "rv": (1,)}


def test_init_takes_the_frames_of_m_and_ms_table(scan_folder, tmp_path, capsys):
    folder = tmp_path / "mnms"
    layout = LAYOUTS["mnms"]
    names = write_foreign(scan_folder, folder, layout, only=(1, 2))
    rows = "".join(f"{row},{name},S,A,1,{layout.frame(number)},2\n" for row, (number, name) in enumerate(names.items()))
    (folder / "information.csv").write_text(f",External code,VendorName,Vendor,Centre,ED,ES\n{rows}")
    assert main(["init", str(folder), "--write"]) == 0
    assert "[cine]" not in capsys.readouterr().out
    dataset = load_dataset(folder)
    assert dataset.frame == "ed"
    patients, errors = patients_of(folder, dataset=dataset)
    assert errors == []
    assert {patient: files.cine_frame for patient, files in patients.items()} == {
        name: layout.frame(number) for number, name in names.items()
    }
