"""Folders for `python -m jointnet.data init`: two patients in some convention, with up to five mutations."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from broken_scans import broken_scan, sound_patient

CONVENTIONS: tuple[dict[str, str], ...] = (
    {role: f"patient{{id}}_{role}.nii.gz" for role in ("C0", "LGE", "C0_manual", "LGE_manual")},
    {
        "C0": "{id}/sa.nii.gz",
        "LGE": "{id}/lge.nii.gz",
        "C0_manual": "{id}/sa_gt.nii.gz",
        "LGE_manual": "{id}/lge_gt.nii.gz",
    },
    {"C0": "imagesTr/c_{id}_0000.nii.gz", "LGE": "imagesTr/c_{id}_0001.nii.gz", "C0_manual": "labelsTr/c_{id}.nii.gz"},
    {"C0": "patient{id}/patient{id}_4d.nii.gz", "LGE": "patient{id}/patient{id}_lge.nii.gz"},
    {"C0": "{id}_sa.nii.gz", "LGE": "{id}_lge.nii.gz", "C0_manual": "{id}_sa_gt.nii.gz"},
    {"LGE": "Case_{id}/Images/Case_{id}.nii.gz", "LGE_manual": "Case_{id}/Contours/Case_{id}.nii.gz"},
)
"""Path in the folder by the name of `sound_patient`'s file."""
PARTS = (
    "cine",
    "LGE",
    "sa",
    "seg",
    "gt",
    "\u00e9",
    "e\u0301",
    "\u202e",
    "\n",
    "{id}",
    "{",
    "*",
    " ",
    "..x",
    "'",
    '"',
    "\\",
    "1",
    "2024-01-31",
)
OPTIONS = (
    *(["--cine", "{id}/*sa.nii.gz"], ["--lge", "**/*{id}*lge*.nii.gz"], ["--cine-label", "{id}.nii"]),
    *(
        ["--values", "lv=500", "myo=200"],
        ["--values", "lv=--1"],
        ["--values", f"lv={'9' * 5000}"],
        ["--values", "rv=\u0663"],
    ),
    *(["--frame", "0"], ["--frame", "ed"], ["--frame", "9" * 5000], ["--frame", "\u00b2"], ["--lge", "{id}" * 9]),
)


def broken_folder(folder: Path, rng: np.random.Generator) -> list[str]:
    """Write a folder with up to five mutations, and return the options to run the command with."""
    convention = CONVENTIONS[int(rng.integers(len(CONVENTIONS)))]
    for number in ("1", "2"):
        for role, pattern in convention.items():
            path = folder / pattern.format(id=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sound_patient()[f"patient1_{role}.nii.gz"])
    for _ in range(int(rng.integers(0, 6))):
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        mutation = MUTATIONS[int(rng.integers(len(MUTATIONS)))]
        if paths:
            mutation(folder, paths[int(rng.integers(len(paths)))], rng)
    return OPTIONS[int(rng.integers(len(OPTIONS)))] if rng.random() < 0.2 else []


def _scan(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Damage header, voxels or compression: huge shapes, NaN, truncation, bombs."""
    path.write_bytes(broken_scan(path.read_bytes(), rng) if path.stat().st_size else b"")


def _empty(folder: Path, path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b"")


def _huge(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Write a header alone that claims up to 32767 voxels along each of seven axes."""
    header = nib.Nifti1Header()
    axes = int(rng.integers(3, 8))
    header["dim"][: axes + 1] = [axes, *rng.choice([1, 600, 32767], axes)]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(header.binaryblock + bytes(4))


def _affine(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Write an uncompressed scan with a singular affine, or one that is not finite."""
    header = nib.Nifti1Header()
    header.set_data_shape((8, 8, 2))
    header["vox_offset"], header["magic"], header["sform_code"] = 352, b"n+1", 1
    header["srow_x"], header["srow_y"], header["srow_z"] = rng.choice([0, 1, np.nan, np.inf, 1e30], (3, 4))
    path.with_suffix("").with_suffix(".nii").write_bytes(header.binaryblock + bytes(4 + 8 * 8 * 2 * 4))


def _labels(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Write labels as floats: fractions, negative or huge values, thousands of values, or none."""
    kinds = (
        [0, 0.5, 2],
        [0, -1, 3],
        [0, 1e30, 3e38],
        [0, np.nan, 1],
        [0, np.inf],
        [0, 2**40, 2**63],
        range(300),
        [0],
        [0, 7],
    )
    values = np.array(list(kinds[int(rng.integers(len(kinds)))]), np.float32)
    image = nib.Nifti1Image(rng.choice(values, (40, 36, 2)).astype(np.float32), np.diag([3.0, 3, 10, 1]))
    nib.save(image, path if path.name.endswith((".nii", ".nii.gz")) else path.with_name(f"{path.name}.nii"))


def _renamed(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Change a file's suffix or its name, also to one that is not UTF-8 or very long."""
    stem, suffix = (
        path.name.split(".")[0],
        str(rng.choice([".nii", ".NII.GZ", ".gz", ".mha", "", ".nii.gz.nii", ".dcm", ".nii.gz"])),
    )
    name = os.fsencode(stem + "_".join(map(str, rng.choice(PARTS, int(rng.integers(0, 4))))))
    name += [b"", b"\xff\xfe", b"x" * 150][int(rng.integers(3))] + suffix.encode()
    path.replace(path.with_name(os.fsdecode(name)))


def _copied(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Copy a file to one name or to hundreds."""
    data = path.read_bytes() if rng.random() < 0.5 else b""
    pattern = str(
        rng.choice(
            ["case_{}_sa.nii.gz", "{}/lge.nii.gz", "x {} de sa {} lge 3.nii", "{}.nii.gz", "deep/a/b/{}/c/{}.nii"]
        )
    )
    for number in range(int(rng.choice([1, 3, 300]))):
        to = folder / pattern.replace("{}", str(number))
        to.parent.mkdir(parents=True, exist_ok=True)
        if not to.exists():
            to.write_bytes(data if number < 5 else b"")


def _linked(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Add a link, broken, to itself, to a file, folder or device; or a pipe or a folder named as a scan."""
    name = path.with_name(f"{rng.choice(['3', 'link', 'c_3_0000', 'patient3_C0'])}.nii.gz")
    if os.path.lexists(name):
        return
    match rng.integers(0, 7):
        case 0:
            os.mkfifo(name)
        case 1:
            name.mkdir()
        case kind:
            name.symlink_to((path, folder, "nowhere", name, "/dev/zero")[int(kind) - 2])


def _forbidden(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Take all permissions from a file or from its folder."""
    (path if rng.random() < 0.7 else path.parent).chmod(0)


def _beside(folder: Path, path: Path, rng: np.random.Generator) -> None:
    """Write a file that a data set states its facts in, sound or broken."""
    named = {
        "dataset.json": json.dumps(
            {"channel_names": {"0": "LGE", "1": "cine"}, "labels": {"lv": 500, "myo": 200, "rv": 600}}
        ),
        "table.csv": "External code,ED,ES\n1,0,3\n2,0,3\n",
        "Info.cfg": "ED: 1\nES: 3\n",
        "dataset.toml": "name = 3",
    }
    name = str(rng.choice(list(named)))
    data = bytearray(named[name].encode())
    for at in rng.integers(0, len(data), int(rng.integers(0, 5))):
        data[int(at)] = int(rng.integers(256))
    cut = data[: int(rng.integers(len(data)))] if rng.random() < 0.3 else data
    (path.parent if name == "Info.cfg" else folder).joinpath(name).write_bytes(cut * int(rng.choice([1, 1, 40_000])))


def _cut(folder: Path, path: Path, rng: np.random.Generator) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(0, len(data) + 1))] + struct.pack("<i", 348) * int(rng.integers(0, 2)))


MUTATIONS: tuple[Callable[[Path, Path, np.random.Generator], None], ...] = (
    *(_scan, _empty, _huge, _affine, _labels, _renamed, _copied, _linked, _forbidden, _beside, _cut),
)
