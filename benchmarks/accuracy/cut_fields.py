"""Scans with fields of view cut at random and lopsidedly, so that where a field ends tells nothing of the heart.

python benchmarks/accuracy/cut_fields.py --data DIR --out CUT_DIR [--patients 1-25] [--most-px 36] [--seed 0]

From each side of each scan 0 to `--most-px` pixels are cut, drawn for each side and scan by itself, but never nearer
than 6 pixels to a label. The affines move along: each voxel that stays keeps its place, and the distances between
labels are what they were. Only what the two fields have in common changes. A model that reads the field's edge in place
of the heart is found out here, as published crops are centred on their labels (`real_pairs.py`).

DIR is a folder in the layout of MS-CMRSeg 2019 whose patients have all four files. Files of the same name in CUT_DIR
are replaced.
"""

import argparse
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from real_pairs import numbered_patients

from jointnet.data.challenge_files import challenge_file_name
from jointnet.data.description import load_dataset
from jointnet.data.folder import scan_folder, select
from jointnet.errors import DataError, SettingsError
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.system.commands import run_command

MARGIN_PX = 6


def kept(labelled: NDArray[np.bool_], axis: int, most_px: int, random: np.random.Generator) -> slice:
    """Draw what stays of one axis of a scan, given where its labels are."""
    shown = np.flatnonzero(labelled.any(tuple(other for other in range(3) if other != axis)))
    room = (shown[0] - MARGIN_PX, labelled.shape[axis] - 1 - shown[-1] - MARGIN_PX)
    low, high = (min(max(int(space), 0), int(random.integers(0, most_px + 1))) for space in room)
    return slice(low, labelled.shape[axis] - high)


def write_patient(files: PatientFiles, out: Path, most_px: int, seed: int) -> None:
    """Write the four files of a patient, cut."""
    for place, (sequence, scan) in enumerate(zip(("cine", "lge"), files.scans, strict=True)):
        image, label = nib.load(scan.image), nib.load(scan.label)
        labelled = np.asarray(label.dataobj) > 0
        if not labelled.any():
            raise DataError(f"{scan.label}: must have labels, as nothing else says what must not be cut; it has none")
        random = np.random.default_rng([seed, int(files.patient), place])
        rows, columns = (kept(labelled, axis, most_px, random) for axis in (0, 1))
        for role, each in ((sequence, image), (f"{sequence}_label", label)):
            nib.save(each.slicer[rows, columns, :], out / challenge_file_name(files.patient, role))


def write_patients(options: argparse.Namespace) -> None:
    """Write the patients of the command line."""
    patients = numbered_patients(options.patients)
    if options.out.resolve() == options.data.resolve():
        raise SettingsError(f"--out: must be another folder than --data, which stays as it is, got {options.out}")
    if description := load_dataset(options.data).file:
        raise DataError(f"{description}: must not be there; the folder must have the layout of MS-CMRSeg 2019")
    found, errors = scan_folder(options.data, only=patients)
    if errors:
        raise DataError(errors)
    chosen = select(found, patients)
    if errors := check_headers(chosen):
        raise DataError(errors)
    options.out.mkdir(parents=True, exist_ok=True)
    for files in chosen:
        write_patient(files, options.out, options.most_px, options.seed)
    print(f"{options.out}: {len(chosen)} patients")


def main() -> int:
    """Write the cut scans and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="CUT_DIR")
    parser.add_argument("--patients", default="1-25", metavar="LIST", help="default: %(default)s")
    parser.add_argument("--most-px", type=int, default=36, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return run_command(lambda: write_patients(options))


if __name__ == "__main__":
    sys.exit(main())
