"""Content of data, settings and tracking stores reaches no other file, runs no code, and reveals no name."""

import json
import re
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scans import pair, tiny_settings, write_patient

import study.predict
from jointnet import own_code
from jointnet.errors import InputError
from jointnet.evaluate import __main__ as evaluate
from jointnet.export_bundle import __main__ as export_bundle
from jointnet.export_bundle.bundle import bundle_files
from jointnet.model_file import load_model, save_model, stored_settings
from jointnet.networks import build_model
from jointnet.predict import __main__ as predict
from jointnet.system.atomic_file import write_whole
from jointnet.train import __main__ as train
from study.store_names import is_plain_name

ROOT = Path(__file__).parents[1]
SECRET = "DOE^JANE"
PATIENTS = {"training": [1], "validation": [2]}


@pytest.fixture
def named_folder(tmp_path):
    """Three patients whose headers contain a name in every free text and in an extension."""
    for number in (1, 2, 3):
        for path in write_patient(tmp_path / "scans", number, *pair(seed=number, lge_shift_mm=(4.8, 3.6))).values():
            image = nib.load(path)
            for field in ("descrip", "aux_file", "intent_name", "db_name"):
                image.header[field] = SECRET.encode()
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)
    return tmp_path / "scans"


def test_no_text_of_a_header_gets_into_a_model_a_log_or_the_cache(named_folder, tmp_path, capfd):
    settings = tmp_path / "tiny.toml"
    settings.write_text("[model]\nwidths = [4, 4]\n[training]\ndownsampling = 4\nvalidate_every = 1\n")
    out, cache = tmp_path / "out", tmp_path / "cache"
    common = ["--data", str(named_folder), "--device", "cpu", "--cache", str(cache)]
    own = ["--train", "1", "--val", "1", "--epochs", "1", "--settings", str(settings), "--out", str(out)]
    assert train.main([*common, "--model", "joint", *own]) == 0
    assert evaluate.main([*common, "--model", str(out), "--out", str(out / "rows.csv")]) == 0
    (named_folder / "patient3_LGE.nii.gz").write_bytes(b"ruined")
    assert evaluate.main([*common, "--model", "identity", "--out", str(out / "other.csv")]) == 3
    shown = capfd.readouterr()
    assert "DOE" not in shown.out + shown.err
    written = [path for folder in (out, cache) for path in folder.rglob("*") if path.is_file()]
    assert {"model.pt", "log.csv", "rows.csv", "config.json", "images.npy"} <= {path.name for path in written}
    assert not [path for path in written if b"DOE" in path.read_bytes()]


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "../a", "/a", "a\\b", "a\0", "-a", ".a", "a" * 101, "a b", "a\n"]
)
def test_a_name_that_leads_elsewhere_is_no_plain_name(name):
    assert not is_plain_name(name)
    assert is_plain_name("20261123-085002-a4020542")
    assert is_plain_name("joint-25")


def saved(path, **changes):
    settings = tiny_settings()
    save_model(path, build_model(settings).state_dict(), settings, PATIENTS, 1)
    if changes:
        torch.save(torch.load(path, weights_only=True) | changes, path)
    return path


def test_a_flipped_bit_in_a_weight_is_found(tmp_path):
    path = saved(tmp_path / "model.pt")
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
    data = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", data, largest.header_offset + 26)
    data[largest.header_offset + 30 + name + extra + 4] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        load_model(path)


def test_a_model_that_claims_to_be_huge_is_refused_before_it_is_made(tmp_path, monkeypatch):
    path = saved(tmp_path / "model.pt")
    content = torch.load(path, weights_only=True)
    content["settings"]["model"]["widths"] = [4096, 4096, 4096]
    torch.save(content, path)
    with pytest.raises(InputError, match="do not match the settings"):
        load_model(path)


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "finite"), (None, "stored completely")])
def test_weights_that_no_training_leaves_are_refused(tmp_path, value, words):
    path = saved(tmp_path / "model.pt")
    content = torch.load(path, weights_only=True)
    name = max(content["weights"], key=lambda key: content["weights"][key].numel())
    shape = content["weights"][name].shape
    content["weights"][name] = torch.zeros(1).expand(shape) if value is None else torch.full(shape, value)
    torch.save(content, path)
    with pytest.raises(InputError, match=words):
        load_model(path)


@pytest.fixture
def own_model(tmp_path):
    """A model file of the documentation's example, whose code leaves the file `ran` when it is run; it is not now."""
    source, mark = tmp_path / "small_net.py", tmp_path / "ran"
    example = (ROOT / "docs/how-to/own_model.py").read_text()
    source.write_text(f"{example}\n__import__('pathlib').Path({str(mark)!r}).touch()\n")
    settings = tiny_settings(model__name=f"{source}:MODEL", model__options__width=4)
    save_model(tmp_path / "model.pt", build_model(settings).state_dict(), settings, PATIENTS, 1)
    own_code._RUN.clear()  # as in another process
    mark.unlink()
    yield tmp_path
    own_code._RUN.clear()


def commands_on(model, scans_folder, out):
    """Return the command lines that load a model file, by their main function."""
    pair_of = ["--cine", str(scans_folder / "patient1_C0.nii.gz"), "--lge", str(scans_folder / "patient1_LGE.nii.gz")]
    own = ["--data", str(scans_folder), "--model", "joint", "--train", "1", "--val", "1", "--unlabelled", "4"]
    named = ["--model", str(model / "model.pt")]
    return {
        evaluate.main: ["--data", str(scans_folder), *named, "--out", str(out / "rows.csv")],
        predict.main: [*pair_of, *named, "--out", str(out / "predicted")],
        study.predict.main: [*pair_of, *named, "--out", str(out / "predicted")],
        export_bundle.main: [*named, "--out", str(out / "bundle")],
        train.main: [*own, "--teacher", str(model / "model.pt"), "--out", str(out / "trained")],
    }


def test_no_command_runs_code_that_a_model_file_names_unless_it_is_allowed(own_model, scan_folder, tmp_path, capsys):
    for main, arguments in commands_on(own_model, scan_folder, tmp_path / "out").items():
        assert main(arguments) == 2, main.__module__
        assert main([*arguments, "--allow-code", "other.py", "small_net"]) == 2, main.__module__
        told = capsys.readouterr().err
        assert told.count(f"its network is code outside jointnet, {own_model / 'small_net.py'}:MODEL") == 2
        assert "which was not run" in told and "Traceback" not in told
        assert not (own_model / "ran").exists() and not (tmp_path / "out").exists()
    allowed = commands_on(own_model, scan_folder, tmp_path / "out")[evaluate.main]
    assert evaluate.main([*allowed, "--allow-code", str(own_model / "small_net.py"), "--device", "cpu"]) == 0
    assert (own_model / "ran").exists()


def test_a_bundle_builds_a_network_outside_only_where_it_is_allowed(own_model):
    code = str(own_model / "small_net.py")
    saved_model = load_model(own_model / "model.pt", allow_code=[code])
    content = json.loads(bundle_files(saved_model, "bundle", "", "")["configs/inference.json"])
    (own_model / "ran").unlink()
    own_code._RUN.clear()
    target, stored = content["settings"], content["model_settings"]
    assert (target["_target_"], target["allow_code"]) == ("jointnet.model_file.stored_settings", "@allow_code")
    with pytest.raises(InputError, match="which was not run"):
        stored_settings(stored, content["allow_code"], target["digest"])
    assert not (own_model / "ran").exists()
    assert stored_settings(stored, [code], target["digest"]) == saved_model.settings


def test_an_output_replaces_files_only(tmp_path, scan_folder):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "folder.csv", b"")
    assert (tmp_path / "folder.csv").is_dir()
    scan = next(scan_folder.glob("*_C0.nii.gz"))
    before = scan.read_bytes()
    assert evaluate.main(["--data", str(scan_folder), "--model", "identity", "--out", str(scan)]) == 2
    assert scan.read_bytes() == before


def test_servers_that_the_project_starts_bind_to_this_machine():
    """No file that starts a server uses the address of all interfaces, and each uses the local address."""
    files = [path for room in ("jointnet", "study", "benchmarks", "cluster") for path in (ROOT / room).rglob("*")]
    texts = {path: path.read_text() for path in files if path.suffix in (".py", ".sh", ".yaml") and path.is_file()}
    assert not [path for path, text in texts.items() if re.search(r"\b0\.0\.0\.0\b", text)]
    starting = [path for path, text in texts.items() if re.search(r'mlflow (ui|server)|"mlflow", "server"', text)]
    assert starting
    assert not [path for path in starting if "127.0.0.1" not in texts[path]]
