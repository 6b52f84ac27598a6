"""Content of data, settings and tracking stores reaches no other file, runs no code, and reveals no name."""

import re
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scans import pair, tiny_settings, write_patient

from jointnet.errors import InputError
from jointnet.evaluate import __main__ as evaluate
from jointnet.model_file import load_model, save_model
from jointnet.networks import build_model
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
