import csv
import hashlib
import json
import pickle
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from scans import (
    affine_about,
    axes,
    feed_forward_settings,
    file_paths,
    pair,
    scan,
    stir,
    tiny_settings,
    write_nifti,
    write_patient,
)

from jointnet.data.folder import find_patients
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model, save_model
from jointnet.networks import build_model
from jointnet.predict import output_files
from jointnet.predict.__main__ import main
from jointnet.predict.output_files import write_results
from jointnet.preparation.cache import prepare

OF_ANY = {
    *(
        "cine.nii.gz",
        "lge_unregistered.nii.gz",
        "lge_registered.nii.gz",
        "displacement.nii.gz",
        "transforms.json",
        "quality.csv",
        "quality.png",
    ),
    *("provenance.json", "transforms/cine_slice_000.tfm", "transforms/cine_slice_001.tfm"),
}
OF_JOINT = {
    *("cine_segmentation.nii.gz", "lge_segmentation_unregistered.nii.gz", "lge_segmentation_registered.nii.gz"),
}


def write_model(path, name):
    settings = tiny_settings(model__name=name)
    torch.manual_seed(0)
    network = stir(build_model(settings))
    path.parent.mkdir(exist_ok=True, parents=True)
    save_model(path, network.state_dict(), settings, {"training": ["1", "2"], "validation": ["3"]}, 7)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: write_model(folder / name / "model.pt", name) for name in ("joint", "standalone")}


def run(model, out, *more):
    return main(["--model", str(model), "--out", str(out), "--device", "cpu", *map(str, more)])


def one(model, out, folder, number=1, *more, labels=False):
    paths = file_paths(folder, number)
    manual = ("--cine-label", paths["cine_label"], "--lge-label", paths["lge_label"]) if labels else ()
    return run(model, out, "--cine", paths["cine"], "--lge", paths["lge"], *manual, *more)


def written(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def volume(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("name", ["joint", "standalone", "descriptors"])
def test_a_pair_gives_its_files_on_cine_s_own_grid(models, scan_folder, tmp_path, name, capsys):
    out = tmp_path / "deeper" / "out"
    assert one(models[name].parent if name in models else name, out, scan_folder) == 0
    assert written(out) == OF_ANY | (OF_JOINT if name == "joint" else set())
    cine = nib.load(file_paths(scan_folder, 1)["cine"])
    for file in (
        "cine.nii.gz",
        "lge_unregistered.nii.gz",
        "lge_registered.nii.gz",
        *(OF_JOINT if name == "joint" else ()),
    ):
        image = nib.load(out / file)
        assert image.shape == cine.shape
        np.testing.assert_array_equal(image.affine, cine.affine)
    for file in OF_JOINT if name == "joint" else ():
        assert nib.load(out / file).get_data_dtype() == np.int16
        assert set(np.unique(volume(out / file))) <= {0, 200, 500, 600}
    assert volume(out / "lge_registered.nii.gz").std() > 0
    told = capsys.readouterr().err
    assert "LGE onto cine: 2 of 2 cine slices" in told


def test_a_model_that_moves_nothing_gives_lge_as_it_lay(scan_folder, tmp_path, capsys):
    settings = feed_forward_settings(model__name="standalone")
    save_model(tmp_path / "model.pt", build_model(settings).state_dict(), settings, {"training": [1]}, 1)
    assert one(tmp_path / "model.pt", tmp_path / "out", scan_folder) == 0
    before, after = (volume(tmp_path / "out" / f"lge_{name}.nii.gz") for name in ("unregistered", "registered"))
    np.testing.assert_allclose(before, after, rtol=1e-4, atol=1e-2)
    assert before.std() > 10
    np.testing.assert_array_equal(volume(tmp_path / "out" / "cine.nii.gz"), volume(file_paths(scan_folder, 1)["cine"]))
    capsys.readouterr()


def test_a_folder_gives_what_single_pairs_give(models, scan_folder, tmp_path, capsys):
    assert run(models["joint"], tmp_path / "all", "--data", scan_folder, "--patients", "2-3", "--inverse") == 0
    assert {path.name for path in (tmp_path / "all").iterdir()} == {
        *("patient2", "patient3", "summary.csv", "patients.csv"),
    }
    for number in (2, 3):
        alone, among = tmp_path / str(number), tmp_path / "all" / f"patient{number}"
        assert one(models["joint"], alone, scan_folder, number, "--inverse", labels=True) == 0
        assert written(alone) == written(among)
        for name in written(among) - {"provenance.json"}:
            assert (alone / name).read_bytes() == (among / name).read_bytes(), name
    summary = list(csv.DictReader((tmp_path / "all" / "summary.csv").open()))
    assert [row["patient"] for row in summary] == ["2", "3"]
    capsys.readouterr()


def test_any_names_are_those_of_folders_and_tables_and_are_not_given_away(models, scan_folder, tmp_path, capsys):
    names = {1: "Ana [b]M\u00fcller", 2: "2", 3: 'P, "x" <i>', 4: "case_10", 5: "case_9"}
    for number, name in names.items():
        for role, path in file_paths(scan_folder, number).items():
            copy = tmp_path / "scans" / name / f"{role}.nii.gz"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    files = "\n".join(f'{role} = "{{id}}/{role}.nii.gz"' for role in file_paths(scan_folder, 1))
    labels = "myo = 200\nlv = 500\nrv = 600"
    (tmp_path / "scans/dataset.toml").write_text(f"[files]\n{files}\n[labels]\n{labels}\n")
    list_file = tmp_path / "own.txt"
    list_file.write_text("\n".join(names.values()), encoding="utf-8")
    assert run(models["joint"], tmp_path / "out", "--data", tmp_path / "scans", "--patients", f"@{list_file}") == 0
    in_order = ["2", "Ana [b]M\u00fcller", "case_9", "case_10", 'P, "x" <i>']
    told = capsys.readouterr().err
    places = [told.index(f"patient {name}:") for name in in_order]
    assert places == sorted(places)
    for table in ("summary.csv", "patients.csv"):
        rows = list(csv.DictReader((tmp_path / "out" / table).open(encoding="utf-8")))
        assert list(dict.fromkeys(row["patient"] for row in rows)) == in_order
    for name in in_order:
        folder = tmp_path / "out" / ("patient2" if name == "2" else name)
        record = (folder / "provenance.json").read_text(encoding="utf-8")
        assert json.loads(record)["command"][-2:] == ["--patients", "..."]
        assert not [each for each in in_order[1:] if json.dumps(each)[1:-1] in record]


def test_folders_of_the_same_name_are_refused(models, scan_folder, tmp_path, capsys):
    for number, name in ((1, "3"), (2, "patient3")):
        for role, path in file_paths(scan_folder, number).items():
            (tmp_path / "scans").mkdir(exist_ok=True)
            shutil.copyfile(path, tmp_path / "scans" / f"{role}-{name}.nii.gz")
    files = "\n".join(f'{role} = "{role}-{{id}}.nii.gz"' for role in file_paths(scan_folder, 1))
    labels = "myo = 200\nlv = 500\nrv = 600"
    (tmp_path / "scans/dataset.toml").write_text(f"[files]\n{files}\n[labels]\n{labels}\n")
    assert run(models["joint"], tmp_path / "out", "--data", tmp_path / "scans") == 3
    assert "must have patients whose folders have different names" in capsys.readouterr().err


def test_with_labels_the_metrics_are_those_of_evaluation(models, scan_folder, tmp_path, capsys):
    assert run(models["joint"], tmp_path / "out", "--data", scan_folder, "--patients", "1,4") == 0
    cached = prepare([files for number, files in find_patients(scan_folder).items() if number in ("1", "4")])
    known = evaluate(load_model(models["joint"]).model, cached)
    for number in (1, 4):
        rows = list(csv.DictReader((tmp_path / "out" / f"patient{number}" / "slices.csv").open()))
        expected = known[known["patient"] == str(number)]
        assert len(rows) == len(expected) > 0
        for row, (_, want) in zip(rows, expected.iterrows(), strict=True):
            assert (row["metric"], row["structure"], int(row["slice"])) == (
                want["metric"],
                want["structure"],
                want["slice"],
            )
            assert float(row["after"]) == pytest.approx(want["after"])
    means = list(csv.DictReader((tmp_path / "out" / "patients.csv").open()))
    first = next(row for row in means if (row["patient"], row["metric"], row["structure"]) == ("1", "cd_mm", "lv"))
    of_one = known[(known["patient"] == "1") & (known["metric"] == "cd_mm") & (known["structure"] == "lv")]
    assert float(first["after"]) == pytest.approx(of_one["after"].mean(), abs=1e-4)
    told = capsys.readouterr()
    assert "cd_mm" in told.out
    assert "patients [1] were used for training" in told.err


def test_labels_of_other_values_are_read_as_a_description_says(models, scan_folder, tmp_path, capsys):
    assert one(models["joint"], tmp_path / "reference", scan_folder, labels=True) == 0
    paths = file_paths(scan_folder, 1)
    for role, values in (("cine", {500: 3, 200: 2, 600: 1}), ("lge", {500: 1, 200: 2, 600: 3})):
        image = nib.load(paths[f"{role}_label"])
        labels = sum((volume(paths[f"{role}_label"]) == old) * new for old, new in values.items())
        write_nifti(tmp_path / f"{role}_label.nii.gz", labels.astype(np.int16), image.affine)
    own = [part for role in ("cine", "lge") for part in (f"--{role}-label", tmp_path / f"{role}_label.nii.gz")]
    assert one(models["joint"], tmp_path / "out", scan_folder, 1, *own) == 3
    assert "a dataset.toml says what values mean (--dataset FILE for single files)" in capsys.readouterr().err
    described = tmp_path / "own.toml"
    text = '[files]\ncine = "{id}.nii"\nlge = "{id}_lge.nii"\n[cine]\nframe = 0\n'
    described.write_text(
        text + "[labels]\nlv = 1\nmyo = 2\nrv = 3\n[labels.cine]\nlv = 3\nmyo = 2\nrv = 1\n", encoding="utf-8"
    )
    assert one(models["joint"], tmp_path / "out", scan_folder, 1, *own, "--dataset", described) == 0
    assert (tmp_path / "out/slices.csv").read_bytes() == (tmp_path / "reference/slices.csv").read_bytes()
    record = (tmp_path / "out" / "provenance.json").read_text()
    assert "own.toml" not in record
    capsys.readouterr()


def test_labels_are_used_where_they_are_and_missed_by_nobody(models, scan_folder, tmp_path, capsys):
    own = shutil.copytree(scan_folder, tmp_path / "own")
    for number in (3, 4, 5):
        for path in own.glob(f"patient{number}_*"):
            path.unlink()
    (own / "patient2_LGE_manual.nii.gz").unlink()
    assert run(models["joint"], tmp_path / "out", "--data", own) == 0
    assert "slices.csv" in written(tmp_path / "out" / "patient1")
    assert "slices.csv" not in written(tmp_path / "out" / "patient2")
    capsys.readouterr()


def test_inverse_brings_given_labels_onto_lge_s_own_grid(models, scan_folder, tmp_path, capsys):
    paths = file_paths(scan_folder, 1)
    cine = nib.load(paths["cine"])
    labels = np.zeros(cine.shape, np.int16)
    labels[20:36, 18:34] = 7
    write_nifti(tmp_path / "own.nii.gz", labels, cine.affine)
    given = ("--inverse", "--cine-labels", tmp_path / "own.nii.gz")
    assert one(models["standalone"], tmp_path / "out", scan_folder, 1, *given) == 0
    back = nib.load(tmp_path / "out" / "cine_segmentation_on_lge.nii.gz")
    lge = nib.load(paths["lge"])
    assert back.shape == lge.shape
    np.testing.assert_array_equal(back.affine, lge.affine)
    assert set(np.unique(np.asarray(back.dataobj))) == {0, 7}
    assert "cine_labels" in json.loads((tmp_path / "out" / "provenance.json").read_text())["inputs"]
    capsys.readouterr()


def test_the_record_says_what_and_names_nobody(models, scan_folder, tmp_path, capsys):
    folder = tmp_path / "DOE_JANE"
    shutil.copytree(scan_folder, folder)
    for path in file_paths(folder, 1).values():
        image = nib.load(path)
        image.header["descrip"] = b"DOE_JANE"
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
    out = tmp_path / "out"
    assert one(models["joint"], out, folder, 1, "--inverse") == 0
    record = json.loads((out / "provenance.json").read_text())
    digest = hashlib.sha256(models["joint"].read_bytes()).hexdigest()
    assert (record["model"]["sha256"], record["model"]["epoch"]) == (digest, 7)
    assert record["model"]["patients"] == {"training": ["1", "2"], "validation": ["3"]}
    assert record["command"][:5] == ["python", "-m", "jointnet.predict", "--model", "..."]
    assert record["command"][-1] == "--inverse"
    assert record["coverage"]["covered"] == [0, 1]
    assert set(record["files"]) == written(out) - {"provenance.json"}
    for name, sha256 in record["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256
    for name, path in (("cine", "cine"), ("lge", "lge")):
        assert record["inputs"][name]["sha256"] == hashlib.sha256(file_paths(folder, 1)[path].read_bytes()).hexdigest()
    for path in out.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.name.endswith(".gz"):
                content = nib.load(path).to_bytes()
            assert b"DOE_JANE" not in content, path.name
            assert str(tmp_path).encode() not in content, path.name
    capsys.readouterr()


def test_the_record_of_a_registration_without_a_trained_model_says_so(scan_folder, tmp_path, capsys):
    assert one("descriptors", tmp_path / "out", scan_folder) == 0
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["model"]["used"] == "no trained model: the images alone were registered"
    assert record["model"]["name"] == "descriptors" and "sha256" not in record["model"]
    assert record["model"]["settings"]["registration"]["refinement"] == "descriptors"
    capsys.readouterr()


def test_images_alone_bring_lge_nearer_to_cine(scan_folder, tmp_path, capsys):
    """LGE is displaced by (4.8, 3.6) mm."""
    assert run("descriptors", tmp_path / "out", "--data", scan_folder) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cd_mm       lv")]
    before, after = (float(cell) for cell in re.findall(r"(\d+\.\d+) \(", line))
    assert before > 5 and after < 1.5
    displacements = [float(row["displacement_mm"]) for row in csv.DictReader((tmp_path / "out/summary.csv").open())]
    assert displacements == pytest.approx([6.0] * len(displacements), abs=1.2)


def heart_of(folder, number=1):
    """Return world coordinates of a voxel in the LV of cine."""
    label = nib.load(file_paths(folder, number)["cine_label"])
    return label.affine[:3] @ [*np.argwhere(np.asarray(label.dataobj) == 500).mean(0), 1]


def test_a_point_in_the_heart_says_where_it_is(scan_folder, tmp_path, capsys):
    """Images are registered about the point. The reported displacement is the point's."""
    point = heart_of(scan_folder)
    assert one("descriptors", tmp_path / "out", scan_folder, 1, "--heart", *point) == 0
    assert "--heart" in json.loads((tmp_path / "out" / "provenance.json").read_text())["command"]
    content = json.loads((tmp_path / "out" / "transforms.json").read_text())
    for entry in content["slices"]:
        matrix = np.array(entry["matrix_ras"])
        moved = matrix[:3] @ [*point, 1] - point
        assert np.linalg.norm(moved) == pytest.approx(entry["displacement_mm"], abs=1e-3) == pytest.approx(6, abs=1)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("model", "point", "told"),
    [
        ("joint", (0, 0, 0), "--heart: must be left out with a model that segments; joint finds the heart itself"),
        ("descriptors", (900, 0, 0), "--heart: must be a point within 84 mm of the centre of the region that both"),
        ("standalone", (900, 0, 0), "--heart: must be a point within 84 mm"),
    ],
)
def test_a_point_that_is_no_help_is_refused(models, scan_folder, tmp_path, model, point, told, capsys):
    assert one(models.get(model, model), tmp_path / "out", scan_folder, 1, "--heart", *point) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def shifted(this, millimetres):
    affine = this.affine.copy()
    affine[:3, 3] += millimetres * axes()[2]
    return type(this)(this.image, this.label, affine)


def constant(this):
    return type(this)(np.full_like(this.image, 5), this.label, this.affine)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda cine, lge: (cine, shifted(lge, 500)), "must overlap"),
        (lambda cine, lge: (cine, constant(lge)), "must have contrast"),
        (lambda cine, lge: (cine, type(lge)(lge.image * np.nan, lge.label, lge.affine)), "finite intensities"),
    ],
)
def test_a_broken_pair_stops_no_other(models, tmp_path, change, told, capsys):
    write_patient(tmp_path / "in", 1, *change(*pair()))
    write_patient(tmp_path / "in", 2, *pair(seed=2))
    assert run(models["joint"], tmp_path / "out", "--data", tmp_path / "in") == 3
    assert not (tmp_path / "out" / "patient1").exists()
    assert (tmp_path / "out" / "patient2" / "provenance.json").is_file()
    assert told in capsys.readouterr().err
    assert one(models["joint"], tmp_path / "alone", tmp_path / "in", 1) == 3
    assert not (tmp_path / "alone").exists()
    capsys.readouterr()


def test_every_error_of_a_folder_is_told(models, scan_folder, tmp_path, capsys):
    own = shutil.copytree(scan_folder, tmp_path / "own")
    (own / "patient1_LGE.nii.gz").unlink()
    (own / "patient2_C0.nii.gz").write_bytes(b"ruined")
    assert run(models["joint"], tmp_path / "out", "--data", own, "--patients", "1-3,9") == 3
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(told) == 3
    for text in ("patient1_LGE.nii.gz", "patient2_C0.nii.gz", "patient 9"):
        assert any(text in line for line in told)
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["patient3"]


def one_slice(spacing_mm):
    shape = (56, 52, 1)
    affine = affine_about(axes(), (2.5, 2.5, spacing_mm), shape)
    return scan(affine, shape)


def more_cine_than_lge():
    shape, few = (56, 52, 5), (72, 76, 2)
    cine, lge = affine_about(axes(), (2.5, 2.5, 10), shape), affine_about(axes(rotation_deg=7), (1.9, 1.9, 5), few)
    return scan(cine, shape), scan(lge, few)


@pytest.mark.parametrize(
    "scans, covered",
    [
        (lambda: (one_slice(10), pair()[1]), [0]),
        (lambda: (pair()[0], one_slice(8)), [0]),
        (lambda: (one_slice(8), one_slice(8)), [0]),
        (more_cine_than_lge, [2]),
    ],
)
def test_slices_outside_the_other_scan_are_zero_and_said_to_be(models, tmp_path, scans, covered, capsys):
    cine, lge = scans()
    write_patient(tmp_path / "in", 1, cine, lge)
    assert one(models["joint"], tmp_path / "out", tmp_path / "in", 1, "--inverse") == 0
    slices = cine.image.shape[2]
    for name in ("lge_registered.nii.gz", *OF_JOINT):
        data = volume(tmp_path / "out" / name)
        assert data.shape == cine.image.shape
        assert not data[:, :, [number for number in range(slices) if number not in covered]].any()
    assert volume(tmp_path / "out" / "lge_registered.nii.gz")[:, :, covered].any()
    record = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert record["coverage"]["covered"] == covered
    entries = json.loads((tmp_path / "out" / "transforms.json").read_text())["slices"]
    assert [entry["cine_slice"] for entry in entries if entry["covered"]] == covered
    table = list(csv.DictReader((tmp_path / "out" / "quality.csv").open()))
    assert [int(row["cine_slice"]) for row in table if row["covered"] == "1"] == covered
    capsys.readouterr()


def test_a_second_prediction_replaces_the_first_and_touches_nothing_else(models, scan_folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert one(models["joint"], out, scan_folder, 1, "--inverse", labels=True) == 0
    (out / "notes.txt").write_text("mine")
    (out / "transforms" / "mine.tfm").write_text("mine")
    assert one(models["standalone"], out, scan_folder, 2) == 0
    assert written(out) == OF_ANY | {"notes.txt", "transforms/mine.tfm"}
    capsys.readouterr()


def test_an_interrupted_write_leaves_no_record_and_no_half_file(models, scan_folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert one(models["joint"], out, scan_folder, 1) == 0
    real, count = output_files.write_whole, iter(range(100))

    def stop_at_third(path, content):
        if next(count) == 2:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(output_files, "write_whole", stop_at_third)
    assert one(models["joint"], out, scan_folder, 2) == 130
    assert "provenance.json" not in written(out)
    assert not [name for name in written(out) if "part" in name]
    capsys.readouterr()


@pytest.mark.parametrize("name", ["../outside.nii.gz", "/etc/outside", "transforms/../../x.tfm", "transforms/x.tfm"])
def test_no_other_name_is_written(tmp_path, name):
    with pytest.raises(ValueError, match="must be the name"):
        write_results(tmp_path / "out", {name: b""}, b"{}")
    assert not (tmp_path / "out").exists()


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "w"))


def test_a_model_file_with_code_is_refused_and_runs_nothing(scan_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 2, "weights": Bomb()}, tmp_path / "torch.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Bomb(), protocol=2))
    for path in (tmp_path / "torch.pt", tmp_path / "pickle.pt"):
        assert one(path, tmp_path / "out", scan_folder) == 2
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "out").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    "more, told",
    [
        (["--cine", "C0.nii.gz"], "--lge: must be given"),
        (["--cine", "C0.nii.gz", "--lge", "L.nii.gz", "--patients", "1"], "--patients: must be given with --data"),
        (["--data", "D", "--lge", "L.nii.gz"], "--lge: must be given with --cine"),
        (["--data", "D", "--cine-labels", "L.nii.gz"], "--cine-labels: must be given with --cine"),
        (["--data", "D", "--heart", "1", "2", "3"], "--heart: must be given with --cine"),
        (["--cine", "C0.nii.gz", "--lge", "L.nii.gz", "--cine-label", "x"], "must be given together"),
        (["--cine", "C0.nii.gz", "--lge", "L.nii.gz", "--cine-labels", "x"], "must be given with --inverse"),
        (["--data", "D", "--threads", "0"], "--threads: must be at least 1"),
        (["--data", "D", "--device", "toaster"], "--device"),
    ],
)
def test_options_that_do_not_go_together(models, tmp_path, more, told, capsys):
    assert run(models["joint"], tmp_path / "out", *more) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "model, told", [("nowhere.pt", "no such file"), ("models:/heart@champion", "the same command of `study`")]
)
def test_a_model_that_is_not_there(scan_folder, tmp_path, model, told, capsys):
    assert one(model, tmp_path / "out", scan_folder) == 2
    assert told in capsys.readouterr().err


def test_a_model_that_does_not_segment_needs_labels_to_bring_back(models, scan_folder, tmp_path, capsys):
    assert one("descriptors", tmp_path / "out", scan_folder, 1, "--inverse") == 2
    assert one(models["standalone"], tmp_path / "out", scan_folder, 1, "--inverse") == 2
    assert "--cine-labels" in capsys.readouterr().err
    assert run(models["standalone"], tmp_path / "out", "--data", scan_folder, "--inverse") == 2
    assert not (tmp_path / "out").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda labels, affine: (labels[:-1], affine), "must have cine's grid"),
        (lambda labels, affine: (labels, affine + np.eye(4)[:, [3, 1, 2, 0]] * 3), "must have cine's grid"),
        (lambda labels, affine: (labels + np.float32(0.5), affine), "whole numbers"),
        (lambda labels, affine: (labels + np.float32(np.nan), affine), "whole numbers"),
    ],
)
def test_labels_to_bring_back_must_lie_on_cine_s_grid(models, scan_folder, tmp_path, change, told, capsys):
    cine = nib.load(file_paths(scan_folder, 1)["cine"])
    labels, affine = change(np.zeros(cine.shape, np.float32), cine.affine)
    write_nifti(tmp_path / "own.nii.gz", labels, affine)
    given = ("--inverse", "--cine-labels", tmp_path / "own.nii.gz")
    assert one(models["joint"], tmp_path / "out", scan_folder, 1, *given) == 3
    assert told in capsys.readouterr().err
