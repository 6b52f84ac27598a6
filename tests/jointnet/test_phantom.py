import gzip
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from jointnet.errors import EXIT_DATA, EXIT_USAGE, DataError, SettingsError
from jointnet.phantom import writer
from jointnet.phantom.__main__ import main
from jointnet.phantom.anatomy import BASAL_STRETCH, Scar, sample_heart, scar_burden
from jointnet.phantom.patient import nifti_bytes, sample_scene, storage_of, true_scar
from jointnet.phantom.scanner import Grid, Storage, rotation
from jointnet.phantom.tissue import sample_field
from jointnet.phantom.writer import PHANTOM_VERSION, write_phantom
from jointnet.structures import LABEL_VALUE

PATIENTS = 6
LABELS = {"C0": "c0gt", "LGE": "lgegt"}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "data"
    write_phantom(folder, patients=PATIENTS)
    return folder


def scan(folder, number, name):
    return nib.load(folder / "c0t2lge" / f"patient{number}_{name}.nii.gz")


def labels(folder, number, name):
    image = nib.load(folder / LABELS[name] / f"patient{number}_{name}_manual.nii.gz")
    return image, np.asarray(image.dataobj)


def truth_of(folder, number):
    return json.loads((folder / "truth" / f"patient{number}_truth.json").read_text())


def apply(affine, point):
    return affine[:3, :3] @ point + affine[:3, 3]


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_folder_gets_the_same_bytes_however_many_patients_are_written(phantom, tmp_path):
    write_phantom(tmp_path, patients=1)
    alone, among_others = files_in(tmp_path), files_in(phantom)
    del alone["phantom.json"]
    assert len(alone) == 5
    assert {path: among_others[path] for path in alone} == alone


def test_patients_and_seeds_differ():
    first, other_patient, other_seed = sample_scene(0, 1), sample_scene(0, 2), sample_scene(1, 1)
    widths = {scene.cine.heart.radius_u_mm for scene in (first, other_patient, other_seed)}
    assert len(widths) == 3


def test_the_folder_has_the_challenges_layout(phantom):
    expected = {"phantom.json"}
    for number, name in itertools.product(range(1, PATIENTS + 1), ("C0", "LGE")):
        expected.add(f"c0t2lge/patient{number}_{name}.nii.gz")
        expected.add(f"{LABELS[name]}/patient{number}_{name}_manual.nii.gz")
        expected.add(f"truth/patient{number}_truth.json")
    assert set(files_in(phantom)) == expected
    assert json.loads((phantom / "phantom.json").read_text())["phantom_version"] == PHANTOM_VERSION
    assert [path.name for path in phantom.parent.iterdir()] == [phantom.name]


@pytest.mark.parametrize("name", ["C0", "LGE"])
@pytest.mark.parametrize("number", range(1, PATIENTS + 1))
def test_labels_hold_the_challenges_values_on_the_scans_grid(phantom, number, name):
    image = scan(phantom, number, name)
    label_image, values = labels(phantom, number, name)
    assert set(np.unique(values)) == {0, *LABEL_VALUE.values()}
    assert image.shape == label_image.shape
    np.testing.assert_array_equal(image.affine, label_image.affine)
    for each in (image, label_image):
        assert each.get_data_dtype() == np.int16
        assert each.header.get_xyzt_units()[0] == "mm"
        assert each.header["qform_code"] == 1
    assert np.asarray(image.dataobj).min() >= 0
    assert np.asarray(image.dataobj).max() < 32767


@pytest.mark.parametrize("name", ["C0", "LGE"])
@pytest.mark.parametrize("number", range(1, PATIENTS + 1))
def test_myocardium_encloses_the_pool_in_every_slice_that_shows_it(phantom, number, name):
    _, values = labels(phantom, number, name)
    pool, muscle = values == LABEL_VALUE["lv"], values == LABEL_VALUE["myo"]
    in_plane = ndimage.generate_binary_structure(3, 1)
    in_plane[:, :, [0, 2]] = False
    border = ndimage.binary_dilation(pool, in_plane) & ~pool
    assert pool.any(axis=(0, 1)).sum() >= 4
    assert muscle[border].all()


def test_cine_and_lge_lie_on_different_oblique_grids_with_a_wide_view(phantom):
    for number in range(1, PATIENTS + 1):
        cine, lge = scan(phantom, number, "C0"), scan(phantom, number, "LGE")
        cine_mm, lge_mm = (np.linalg.norm(each.affine[:3, :3], axis=0) for each in (cine, lge))
        assert 8 <= round(cine_mm[2], 4) <= 13
        assert 1.19 <= cine_mm[0] <= 1.4
        np.testing.assert_allclose(lge_mm, [0.75, 0.75, 5], atol=1e-4)
        assert 8 <= cine.shape[2] <= 12
        assert 10 <= lge.shape[2] <= 18
        for image, spacing_mm in ((cine, cine_mm), (lge, lge_mm)):
            assert (np.array(image.shape[:2]) * spacing_mm[:2] >= 220).all()
            assert np.abs(image.affine[:3, :3] / spacing_mm).max(axis=0).min() < 0.98
        assert not np.allclose(cine.affine[:3, 3], lge.affine[:3, 3], atol=1)


def test_every_sixth_patient_is_stored_unusually_and_every_way_occurs():
    ways = [storage_of(0, number) for number in range(1, 46)]
    unusual = [number for number, way in enumerate(ways, start=1) if set(way.values()) != {Storage.PLAIN}]
    assert unusual == [6, 12, 18, 24, 30, 36, 42]
    assert {way for pair in ways for way in pair.values()} == set(Storage)


@pytest.mark.parametrize("storage", Storage)
def test_a_voxel_stays_where_it_is_in_the_world_however_it_is_stored(storage, tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.array([0.5, -0.3, 0.8])) @ np.diag([-1.25, 1.25, 10.0])
    affine[:3, 3] = [11, -7, 30]
    volume = np.zeros((6, 8, 5), np.int16)
    volume[1, 6, 3] = 9
    (tmp_path / "a.nii.gz").write_bytes(nifti_bytes(volume, Grid((6, 8, 5), affine), storage))
    image = nib.load(tmp_path / "a.nii.gz")
    assert image.header["sform_code"] == (0 if storage is Storage.QFORM_ONLY else 1)
    (voxel,) = np.argwhere(np.asarray(image.dataobj) == 9)
    np.testing.assert_allclose(apply(image.affine, voxel), apply(affine, np.array([1, 6, 3])), atol=1e-3)


def test_a_header_with_only_a_qform_is_read_with_the_scenes_affine(phantom):
    image = scan(phantom, 6, "C0")
    assert storage_of(0, 6)["C0"] is Storage.QFORM_ONLY
    assert image.header["sform_code"] == 0
    np.testing.assert_allclose(image.affine, sample_scene(0, 6).cine.grid.affine, atol=2e-3)


def test_files_carry_no_time(phantom):
    packed = (phantom / "c0gt" / "patient1_C0_manual.nii.gz").read_bytes()
    assert packed[4:8] == bytes(4)
    assert len(gzip.decompress(packed)) > len(packed)


@pytest.mark.parametrize("number", range(1, PATIENTS + 1))
def test_the_truth_takes_the_cine_pool_centre_to_the_lge_pool_centre(phantom, number):
    truth = truth_of(phantom, number)
    affine = np.array(truth["affine_cine_to_lge"])
    cine, cine_values = labels(phantom, number, "C0")
    lge, lge_values = labels(phantom, number, "LGE")
    spacing_mm = np.linalg.norm(lge.affine[:3, :3], axis=0)
    assert len(truth["cine_shifts_mm"]) == cine.shape[2]
    assert len(truth["lge_shifts_mm"]) == lge.shape[2]

    errors_mm = []
    shown = np.flatnonzero((cine_values == LABEL_VALUE["lv"]).sum(axis=(0, 1)) > 300)
    for index in shown[1:-1]:
        row, column = ndimage.center_of_mass(cine_values[:, :, index] == LABEL_VALUE["lv"])
        at_rest = apply(cine.affine, np.array([row, column, index])) - truth["cine_shifts_mm"][index]
        moved = apply(affine, at_rest)
        there = round(apply(np.linalg.inv(lge.affine), moved)[2])
        if not 0 <= there < lge.shape[2] or not (lge_values[:, :, there] == LABEL_VALUE["lv"]).any():
            continue
        expected = apply(np.linalg.inv(lge.affine), moved + truth["lge_shifts_mm"][there])
        found = ndimage.center_of_mass(lge_values[:, :, there] == LABEL_VALUE["lv"])
        errors_mm.append(np.linalg.norm((expected[:2] - found) * spacing_mm[:2]))
    assert len(errors_mm) >= 2
    assert max(errors_mm) < 1.0


def test_shifts_lie_in_the_plane_of_their_own_slices(phantom):
    for number, (name, key) in itertools.product((1, 6), (("C0", "cine_shifts_mm"), ("LGE", "lge_shifts_mm"))):
        normal = scan(phantom, number, name).affine[:3, 2]
        shifts = np.array(truth_of(phantom, number)[key])
        np.testing.assert_allclose(shifts @ normal, 0, atol=1e-3)
        assert np.linalg.norm(shifts, axis=1).std() > 0


def test_scar_burden_of_a_wall_that_is_all_scar_is_the_walls_own_volume():
    everywhere = Scar(0.0, 1e6, 0.0, 1e6, 1e6, obstruction=False)
    heart = replace(
        sample_heart(np.random.default_rng(0)),
        radius_u_mm=25.0,
        radius_v_mm=25.0,
        ripple=0.0,
        wall_mm=10.0,
        wall_swing=0.0,
        half_length_mm=60.0,
        apex_wall_mm=6.0,
        base_mm=30.0,
        scars=(everywhere,),
    )

    def volume_ml(radius, half_length):
        """Return the volume of half an ellipsoid below the middle and of a 30 mm section of a longer one above it."""
        upper = 30 - 30**3 / (3 * (BASAL_STRETCH * half_length) ** 2)
        return np.pi * radius**2 * (2 / 3 * half_length + upper) / 1000

    scar_ml, share = scar_burden(heart)
    assert share == 1
    assert scar_ml == pytest.approx(volume_ml(35, 66) - volume_ml(25, 60), rel=0.02)
    assert scar_burden(replace(heart, scars=())) == (0, 0)


def test_a_field_has_mean_0_and_variance_about_1():
    field = sample_field(np.random.default_rng(1), 10, 20, waves=16)
    values = field.at(np.random.default_rng(2).uniform(-500, 500, size=(3, 20000)).astype(np.float32))
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.var() == pytest.approx(1, abs=0.1)


def test_a_complete_phantom_is_left_alone(phantom):
    before = {path: path.stat().st_mtime_ns for path in phantom.rglob("*")}
    write_phantom(phantom, patients=PATIENTS)
    assert {path: path.stat().st_mtime_ns for path in phantom.rglob("*")} == before


@pytest.mark.parametrize("changes", [{"seed": 1}, {"patients": 5}])
def test_another_phantom_is_refused(phantom, changes):
    with pytest.raises(DataError, match=r"must hold the requested phantom, .* but holds"):
        write_phantom(phantom, **{"patients": PATIENTS, "seed": 0, **changes})


def test_foreign_content_is_refused_and_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"phantom\.json"):
        write_phantom(tmp_path, patients=1)
    assert files_in(tmp_path) == {"notes.txt": b"mine"}
    with pytest.raises(DataError, match="is a file"):
        write_phantom(tmp_path / "notes.txt", patients=1)
    with pytest.raises(DataError, match="a part of its path is a file"):
        write_phantom(tmp_path / "notes.txt" / "below", patients=1)


def test_a_phantom_with_a_missing_file_is_refused(tmp_path):
    marker = {"phantom_version": PHANTOM_VERSION, "patients": 1, "seed": 0}
    (tmp_path / "phantom.json").write_text(json.dumps(marker))
    with pytest.raises(DataError, match=r"patient1_C0\.nii\.gz"):
        write_phantom(tmp_path, patients=1)


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    def fail(seed, number):
        if number == 2:
            raise KeyboardInterrupt
        return {"c0gt/x": b"x"}

    monkeypatch.setattr(writer, "patient_files", fail)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "data", patients=3)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_user_s_beside_it_stays(tmp_path):
    (tmp_path / "scans.part-1").mkdir()
    write_phantom(tmp_path / "scans", patients=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scans", "scans.part-1"]


def test_a_killed_run_leaves_nothing_in_the_way_and_two_at_once_write_it_once(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from jointnet.phantom import writer; real = writer.patient_files\n"
        "writer.patient_files = lambda *of: print(of, flush=True) or time.sleep(float(sys.argv[2])) or real(*of)\n"
        "writer.write_phantom(Path(sys.argv[1]), patients=1)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "phantom")]
    killed = subprocess.Popen([*command, "60"], stdout=subprocess.PIPE)
    killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert [path.is_dir() for path in tmp_path.iterdir()].count(True) == 1
    both = [subprocess.Popen([*command, "0.5"], stdout=subprocess.PIPE) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in both) == [b"", b"(0, 1)\n"]
    assert [process.returncode for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]


def test_every_bad_argument_is_named(tmp_path):
    with pytest.raises(SettingsError) as caught:
        write_phantom(tmp_path / "data", patients=0, seed=-1)
    assert [error.split(":")[0] for error in caught.value.errors] == ["patients", "seed"]


def test_command_line(phantom, tmp_path, capsys):
    out = str(tmp_path / "data")
    assert main(["--out", out, "--patients", "0"]) == EXIT_USAGE
    assert "patients: must be at least 1, got 0" in capsys.readouterr().err
    for arguments in (["--out", out, "--patients", "many"], ["--patients", "1"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == EXIT_USAGE
    assert not Path(out).exists()
    assert main(["--out", str(phantom), "--patients", str(PATIENTS)]) == 0
    assert main(["--out", str(phantom), "--patients", str(PATIENTS), "--seed", "4"]) == EXIT_DATA


@pytest.mark.parametrize("number", range(1, PATIENTS + 1))
@pytest.mark.parametrize("name", ["C0", "LGE"])
def test_the_true_scar_lies_in_the_files_myocardium(phantom, number, name):
    scar = true_scar(0, number, name)
    _, values = labels(phantom, number, name)
    assert scar.shape == values.shape
    assert (values[scar] == LABEL_VALUE["myo"]).all()
    assert scar.any() == (truth_of(phantom, number)["scar_volume_ml"] > 0.5)


def test_the_true_scar_is_bright_in_lge_and_has_the_truths_share_of_the_wall(phantom):
    """Patient 4's stack covers nearly the whole ventricle. Patient 3's scars have no dark core."""
    truth = truth_of(phantom, 4)
    _, values = labels(phantom, 4, "LGE")
    share = true_scar(0, 4).sum() / (values == LABEL_VALUE["myo"]).sum()
    assert share == pytest.approx(truth["scar_fraction_of_myocardium"], rel=0.2)
    _, values = labels(phantom, 3, "LGE")
    scar, image = true_scar(0, 3), np.asarray(scan(phantom, 3, "LGE").dataobj)
    assert image[scar].mean() > 1.5 * image[(values == LABEL_VALUE["myo"]) & ~scar].mean()
