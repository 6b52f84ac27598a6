"""Folders of other conventions, made from patients in the challenge's layout: renamed, relabelled, not resampled.

`python tests/jointnet/foreign_folders.py SOURCE OUT --layout NAME` writes one from any folder of MS-CMRSeg 2019 and
prints the names. Names keep the order of the numbers, so that a split of the foreign folder holds the same patients.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

CHALLENGE = {"myo": 200, "lv": 500, "rv": 600}
NAME = re.compile(r"patient([0-9]+)_(C0|LGE)(_manual)?\.nii(\.gz)?")
ROLES = {("C0", None): "cine", ("LGE", None): "lge", ("C0", "_manual"): "cine_label", ("LGE", "_manual"): "lge_label"}
FRAMES = 3
"""Number of frames of a 4D cine."""
ACDC, MNMS = {"rv": 1, "myo": 2, "lv": 3}, {"lv": 1, "myo": 2, "rv": 3}


@dataclass(frozen=True)
class Layout:
    """A convention of names and labels.

    Attributes:
        name: foreign name of a patient's number.
        files: path by role, with `{id}` for the name and `{ed}` for the ED frame, counted from 1.
        values: label value by structure; a structure that is not named is left out.
        cine_values: those of cine, where they differ.
        described: the `dataset.toml` that describes the folder, but for structures that nobody drew in some patients.
        ed_frame: ED frame, counted from 0, of a patient's 4D cine; None for 3D cines.
        info: whether the ED frame is in `Info.cfg` and the cine's label is of that frame; else the label is 4D too.
        scar: label values of bright and of the brightest myocardium on LGE; none if it is one value.
        without_rv: positions (from 0) of patients whose RV nobody drew.
        without_lge_label: positions of patients whose LGE nobody labelled.
        more: paths of further files of a patient that are neither its scans nor its labels.
        folder_files: text by path of files that are no patient's.
    """

    name: Callable[[int], str]
    files: Mapping[str, str]
    values: Mapping[str, int]
    described: str
    cine_values: Mapping[str, int] | None = None
    ed_frame: Callable[[int], int] | None = None
    info: bool = False
    scar: tuple[int, ...] = ()
    without_rv: tuple[int, ...] = ()
    without_lge_label: tuple[int, ...] = ()
    more: tuple[str, ...] = ()
    folder_files: Mapping[str, str] = field(default_factory=dict)

    def path(self, role: str, number: int) -> str:
        """Return a file's path in the folder."""
        return self.files[role].format(id=self.name(number), ed=f"{self.frame(number) + 1:02d}")

    def frame(self, number: int) -> int:
        """Return the ED frame, counted from 0."""
        return 0 if self.ed_frame is None else self.ed_frame(number)

    def value_of(self, role: str) -> Mapping[str, int]:
        """Return the label value by structure of a label file."""
        return self.cine_values if role == "cine_label" and self.cine_values is not None else self.values


def _flat(cine: str = "cine", lge: str = "lge", label: str = "_mask") -> dict[str, str]:
    """Return paths of one folder for all patients."""
    names = {"cine": cine, "lge": lge, "cine_label": f"{cine}{label}", "lge_label": f"{lge}{label}"}
    return {role: f"{{id}}_{name}.nii.gz" for role, name in names.items()}


def _files_text(files: Mapping[str, str], *roles: str) -> str:
    """Return the text of `[files]`, for all roles or for some."""
    return "[files]\n" + "".join(f'{role} = "{path}"\n' for role, path in files.items() if role in (roles or files))


HOSPITAL = {
    "cine": "{id}/cine/{id}_sax.nii.gz",
    "lge": "{id}/lge/{id}_psir.nii.gz",
    "cine_label": "{id}/seg/{id}_sax_seg.nii.gz",
    "lge_label": "{id}/seg/{id}_psir_seg.nii.gz",
}
NNUNET = {
    "cine": "imagesTr/{id}_0000.nii.gz",
    "lge": "imagesTr/{id}_0001.nii.gz",
    "cine_label": "labelsTr/{id}.nii.gz",
    "lge_label": "labelsTr_LGE/{id}.nii.gz",
}
BIDS = {
    "cine": "sub-{id}/anat/sub-{id}_cine.nii.gz",
    "lge": "sub-{id}/anat/sub-{id}_lge.nii.gz",
    "cine_label": "derivatives/labels/sub-{id}/anat/sub-{id}_cine_dseg.nii.gz",
    "lge_label": "derivatives/labels/sub-{id}/anat/sub-{id}_lge_dseg.nii.gz",
}
ACDC_FILES = {
    "cine": "patient{id}/patient{id}_4d.nii.gz",
    "lge": "patient{id}/patient{id}_lge.nii.gz",
    "cine_label": "patient{id}/patient{id}_frame{ed}_gt.nii.gz",
    "lge_label": "patient{id}/patient{id}_lge_gt.nii.gz",
}
MNMS_FILES = {
    "cine": "{id}/{id}_sa.nii.gz",
    "lge": "{id}/{id}_lge.nii.gz",
    "cine_label": "{id}/{id}_sa_gt.nii.gz",
    "lge_label": "{id}/{id}_lge_gt.nii.gz",
}
EMIDEC_FILES = {
    "cine": "Case_{id}/Images/Case_{id}_cine.nii.gz",
    "lge": "Case_{id}/Images/Case_{id}.nii.gz",
    "cine_label": "Case_{id}/Contours/Case_{id}_cine.nii.gz",
    "lge_label": "Case_{id}/Contours/Case_{id}.nii.gz",
}
SPACES = {
    "cine": "{id}/ciné Kurzachse.nii.gz",
    "lge": "{id}/LGE Spätaufnahme.nii.gz",
    "cine_label": "{id}/ciné Kurzachse Maske.nii.gz",
    "lge_label": "{id}/LGE Spätaufnahme Maske.nii.gz",
}
PLAIN, INITIALS = _flat(), _flat("C0", "DE", "_gt")


LAYOUTS: dict[str, Layout] = {
    "hospital": Layout(
        name=lambda number: f"STJ-{100 + 7 * number:04d}",
        files=HOSPITAL,
        values={"lv": 1, "myo": 2, "rv": 3},
        described=_files_text(HOSPITAL) + "[labels]\nlv = 1\nmyo = 2\nrv = 3\n",
        more=("{id}/cine/{id}_4ch.nii.gz",),
        folder_files={"export.log": "27 series\n"},
    ),
    "nnunet": Layout(
        name=lambda number: f"case_{number:03d}",
        files=NNUNET,
        values=ACDC,
        described='preset = "nnunet"\n' + _files_text(NNUNET, "lge_label") + "[labels]\nlv = 3\nmyo = 2\nrv = 1\n",
        folder_files={"dataset.json": '{"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}}\n'},
    ),
    "bids": Layout(
        name=lambda number: f"{number:02d}",
        files=BIDS,
        values=MNMS,
        described='preset = "bids"\n[labels]\nlv = 1\nmyo = 2\nrv = 3\n',
        folder_files={"participants.tsv": "participant_id\tage\n"},
    ),
    "acdc": Layout(
        name=lambda number: f"{number:03d}",
        files=ACDC_FILES,
        values=ACDC,
        described='preset = "acdc"\n' + _files_text(ACDC_FILES, "lge", "lge_label"),
        ed_frame=lambda number: number % 2,
        info=True,
    ),
    "emidec": Layout(
        name=lambda number: f"P{number:03d}",
        files=EMIDEC_FILES,
        values={"lv": 1, "myo": 2, "rv": 5},
        described='preset = "emidec"\n'
        + _files_text(EMIDEC_FILES, "cine", "cine_label")
        + "[labels]\nlv = 1\nmyo = [2, 3, 4]\nrv = 5\nscar = [3, 4]\n",
        scar=(3, 4),
    ),
    "mnms": Layout(
        name=lambda number: f"A{number:02d}S9V{number % 10}",
        files=MNMS_FILES,
        values=MNMS,
        described='preset = "mnms"\n' + _files_text(MNMS_FILES, "lge", "lge_label") + "[cine]\nframe = 1\n",
        ed_frame=lambda number: 1,
        more=("{id}/{id}_la.nii.gz",),
    ),
    "lv_myo": Layout(
        name=lambda number: f"{number}",
        files=PLAIN,
        values={"lv": 1, "myo": 2},
        described='structures = ["lv", "myo"]\n' + _files_text(PLAIN) + "[labels]\nlv = 1\nmyo = 2\n",
    ),
    "rv_missing": Layout(
        name=lambda number: f"P{number}",
        files=PLAIN,
        values=MNMS,
        cine_values=ACDC,
        described=_files_text(PLAIN) + "[labels]\nlv = 1\nmyo = 2\nrv = 3\n[labels.cine]\nlv = 3\nmyo = 2\nrv = 1\n",
        without_rv=(1, 3),
    ),
    "lge_unlabelled": Layout(
        name=lambda number: f"heart{number:02d}",
        files=INITIALS,
        values={"lv": 255, "myo": 128, "rv": 64},
        described=_files_text(INITIALS) + "[labels]\nlv = 255\nmyo = 128\nrv = 64\n",
        without_lge_label=(0, 2, 3),
    ),
    "spaces": Layout(
        name=lambda number: f"Zoë Müller {number}",
        files=SPACES,
        values={"lv": 10, "myo": 20, "rv": 30},
        described=_files_text(SPACES) + "[labels]\nlv = 10\nmyo = 20\nrv = 30\n",
    ),
}
"""The ten conventions by name."""


def description(source: Path, layout: Layout, only: Collection[int] | None = None) -> str:
    """Return the `dataset.toml` of a foreign folder."""
    names = list(foreign_names(source, layout, only).values())
    return _without_rv_text(layout, names) + layout.described


def reference_description(source: Path, layout: Layout, only: Collection[int] | None = None) -> str | None:
    """Return the `dataset.toml` of a reference folder; None for a complete one (then missing labels are errors)."""
    if "rv" not in layout.values:
        return 'preset = "mscmrseg"\nstructures = ["lv", "myo"]\n'
    numbers = [str(number) for number in challenge_files(source, only)]
    text = _without_rv_text(layout, numbers)
    return f'preset = "mscmrseg"\n{text}' if text or layout.without_lge_label else None


def _without_rv_text(layout: Layout, names: list[str]) -> str:
    absent = [names[position] for position in layout.without_rv if position < len(names)]
    return f"unlabelled = {{rv = {json.dumps(absent)}}}\n" if absent else ""


def foreign_names(source: Path, layout: Layout, only: Collection[int] | None = None) -> dict[int, str]:
    """Return the foreign name by number of the patients of a folder in the challenge's layout."""
    return {number: layout.name(number) for number in challenge_files(source, only)}


def challenge_files(source: Path, only: Collection[int] | None = None) -> dict[int, dict[str, Path]]:
    """Return the files by number and role of a folder in the challenge's layout."""
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(Path(source).rglob("patient*.nii*")):
        if (match := NAME.fullmatch(path.name)) and (only is None or int(match[1]) in only):
            found.setdefault(int(match[1]), {})[ROLES[match[2], match[3]]] = path
    return dict(sorted(found.items()))


def write_foreign(source: Path, out: Path, layout: Layout, only: Collection[int] | None = None) -> dict[int, str]:
    """Write the patients of a challenge's folder in a foreign layout, and return the foreign name by number.

    No `dataset.toml` is written.
    """
    for path, text in layout.folder_files.items():
        _made(Path(out) / path).write_text(text, encoding="utf-8")
    for position, (number, files) in enumerate(challenge_files(source, only).items()):
        for role, path in files.items():
            to = _made(Path(out) / layout.path(role, number))
            if role == "lge_label" and position in layout.without_lge_label:
                continue
            if role.endswith("_label"):
                values = dict(layout.value_of(role))
                if position in layout.without_rv:
                    del values["rv"]
                scar = _brightness(path, files["lge"]) if layout.scar and role == "lge_label" else None
                _write_relabelled(path, to, values, layout.scar, scar)
                if role == "cine_label" and layout.ed_frame is not None and not layout.info:
                    _write_frames(to, to, layout.frame(number), others=False)
            elif role == "cine" and layout.ed_frame is not None:
                _write_frames(path, to, layout.frame(number))
                if layout.info:
                    text = f"ED: {layout.frame(number) + 1}\nES: {FRAMES}\nGroup: DCM\nNbFrame: {FRAMES}\n"
                    (to.parent / "Info.cfg").write_text(text, encoding="utf-8")
            else:
                shutil.copyfile(path, to)
        for path in layout.more:
            shutil.copyfile(files["cine"], _made(Path(out) / path.format(id=layout.name(number))))
    return foreign_names(source, layout, only)


def write_reference(source: Path, out: Path, layout: Layout, only: Collection[int] | None = None) -> None:
    """Write the same patients in the challenge's layout, without what nobody drew in the foreign layout."""
    Path(out).mkdir(parents=True, exist_ok=True)
    for position, files in enumerate(challenge_files(source, only).values()):
        for role, path in files.items():
            left_out = {name for name in CHALLENGE if name not in layout.value_of(role)}
            left_out |= {"rv"} if position in layout.without_rv else set()
            if role == "lge_label" and position in layout.without_lge_label:
                continue
            if role.endswith("_label") and left_out:
                kept = {name: value for name, value in CHALLENGE.items() if name not in left_out}
                _write_relabelled(path, Path(out) / path.name, kept)
            else:
                shutil.copyfile(path, Path(out) / path.name)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _brightness(label: Path, image: Path) -> np.ndarray:
    """Return 0, 1 or 2 for each voxel of a label: plain, bright and brightest myocardium, by thirds."""
    labels, intensities = (np.asarray(nib.load(path).dataobj) for path in (label, image))
    myocardium = np.rint(labels) == CHALLENGE["myo"]
    levels = np.quantile(intensities[myocardium], [1 / 3, 2 / 3])
    return np.where(myocardium, np.digitize(intensities, levels), 0)


def _write_relabelled(
    path: Path, to: Path, values: Mapping[str, int], scar: tuple[int, ...] = (), level: np.ndarray | None = None
) -> None:
    """Write a label file with other values. A structure without a value becomes background."""
    image = nib.load(path)
    labels = np.rint(np.asarray(image.dataobj))
    changed = np.zeros(labels.shape, np.int16)
    for structure, value in values.items():
        changed[labels == CHALLENGE[structure]] = value
    for number, value in enumerate(scar, start=1):
        changed[level == number] = value
    header = image.header.copy()
    header.set_data_dtype(np.int16)
    nib.save(nib.Nifti1Image(changed, None, header), to)


def _write_frames(path: Path, to: Path, ed: int, others: bool = True) -> None:
    """Write a 4D file with the scan in the ED frame, and in the others the scan mirrored, or half of it in the last."""
    image = nib.load(path)
    scan = np.asarray(image.dataobj, np.float32)
    last = np.where(np.arange(scan.shape[2]) < scan.shape[2] // 2, scan[::-1], 0)
    rest = [scan[::-1]] * FRAMES if others else [np.zeros_like(scan)] * (FRAMES - 1) + [last]
    frames = np.stack([scan if frame == ed else rest[frame] for frame in range(FRAMES)], -1)
    header = image.header.copy()
    header.set_data_dtype(np.float32)
    header.set_data_shape(frames.shape)
    nib.save(nib.Nifti1Image(frames, None, header), to)


def main() -> None:
    """Write a foreign folder, and print the names as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path, help="folder in the layout of MS-CMRSeg 2019")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--layout", choices=LAYOUTS, required=True)
    parser.add_argument("--patients", type=int, nargs="+", help="numbers; all by default")
    parser.add_argument(
        "--reference", action="store_true", help="keep the challenge's layout, leave out what is not drawn"
    )
    options = parser.parse_args()
    layout = LAYOUTS[options.layout]
    if options.reference:
        write_reference(options.source, options.out, layout, options.patients)
    else:
        write_foreign(options.source, options.out, layout, options.patients)
    names = foreign_names(options.source, layout, options.patients)
    json.dump({str(number): name for number, name in names.items()}, sys.stdout, ensure_ascii=False, indent=1)
    print()


if __name__ == "__main__":
    main()
