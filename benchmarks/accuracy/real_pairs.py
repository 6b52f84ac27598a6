"""Real pairs of cine (C0) and LGE with manual labels, as a folder in the layout of MS-CMRSeg 2019.

git clone --no-checkout https://github.com/FupingWu90/VarDA VarDA
python benchmarks/accuracy/real_pairs.py --repository VarDA --out DIR [--patients 1-25] [--shift-mm 2] [--seed 0]

The repository (MIT licence) is of the laboratory that owns the challenge's images, and the challenge's page links to
it. It holds crops of 192 x 192 pixels with manual labels: cine of patients 1 to 35, LGE of 1 to 45. The images are
patients': do not commit them anywhere. Files of the same name in DIR are replaced.

What the crops lost, and what is assumed in its place:

- Cine's headers have the scanner's pixel size (1.19 to 1.25 mm), but the pixels were resampled: a ventricle covers as
  many pixels as in LGE. Cine gets LGE's pixel size.
- Where the crops were in the plane is lost; each is centred on its labels. The centres of both are put on one line
  along the slices' normal. The position along the normal is the header's.
- So that the centre of the crop does not give the answer away, cine is moved in plane by a random vector per patient
  (normal, `--shift-mm` along each axis). Only its affine changes; no pixel is resampled.

So errors before registration are not the scanner's. Compare before with after on the same data, not with the
millimetres of other papers.
"""

import argparse
import gzip
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.data.challenge_files import ROLE_OF, challenge_file_name
from jointnet.errors import DataError, SettingsError
from jointnet.patient_names import parse_patients
from jointnet.system.commands import run_command

COMMIT = "7bdb4f6b7c262053e90fecbfb39355a32f185cfa"
"""The repository's newest commit, of 2022-04-12."""
FOLDER_OF = {"cine": "C0", "lge": "LGE"}


def numbered_patients(text: str) -> tuple[str, ...]:
    """Return the patients of `--patients`. They must be numbers: a patient's number is part of its random seed.

    Raises:
        SettingsError: if a name is no number.
    """
    patients = parse_patients(text)
    if unnumbered := [name for name in patients if not name.isdecimal()]:
        raise SettingsError(f"--patients: must be numbers, such as 1-25, got {', '.join(unnumbered)}")
    return patients


def read_patient(repository: Path, patient: str) -> dict[str, nib.Nifti1Image]:
    """Return the four images of a patient by role: `cine`, `cine_label`, `lge`, `lge_label`.

    Raises:
        DataError: with what git says, if the repository cannot be read or lacks a file.
    """
    images, errors = {}, []
    for role in ROLE_OF.values():
        name = f"Dataset/Patch192/{FOLDER_OF[role.removesuffix('_label')]}/{challenge_file_name(patient, role)}"
        command = ["git", "-C", str(repository), "show", f"{COMMIT}:{name}"]
        shown = subprocess.run(command, capture_output=True, check=False)
        if shown.returncode:
            told = shown.stderr.decode(errors="replace").strip().partition("\n")[0]
            errors.append(f"{repository}: must be a clone of FupingWu90/VarDA that has {name}; git says: {told}")
        else:
            images[role] = nib.Nifti1Image.from_bytes(gzip.decompress(shown.stdout))
    if errors:
        raise DataError(errors)
    return images


def cine_affine(cine: nib.Nifti1Image, lge: nib.Nifti1Image, shift_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return cine's affine with LGE's pixel size, centred on the axis of LGE's crop, then moved in plane."""
    affine, reference = cine.affine.copy(), lge.affine
    for axis in (0, 1):
        affine[:3, axis] *= np.linalg.norm(reference[:3, axis]) / np.linalg.norm(affine[:3, axis])
    normal = reference[:3, 2] / np.linalg.norm(reference[:3, 2])
    depth_mm = normal @ (_first_centre(cine, cine.affine) - _first_centre(lge, reference))
    wanted = _first_centre(lge, reference) + depth_mm * normal
    in_plane = reference[:3, :2] / np.linalg.norm(reference[:3, :2], axis=0)
    affine[:3, 3] += wanted - _first_centre(cine, affine) + in_plane @ shift_mm
    return affine


def _first_centre(image: nib.Nifti1Image, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centre of the first slice in mm, with this affine in place of the image's own."""
    rows, columns = image.shape[:2]
    return (affine @ [(rows - 1) / 2, (columns - 1) / 2, 0, 1])[:3]


def write_patient(images: dict[str, nib.Nifti1Image], patient: str, out: Path, shift_mm: float, seed: int) -> None:
    """Write the four files of a patient: scans in 32 bits, labels as integers."""
    shift = np.random.default_rng([seed, int(patient)]).normal(0, shift_mm, 2)
    affines = {"cine": cine_affine(images["cine"], images["lge"], shift), "lge": images["lge"].affine}
    for role, image in images.items():
        scan = role.removesuffix("_label")
        values, affine = image.dataobj, affines[scan]
        data = np.asarray(values, np.float32) if role == scan else np.rint(np.asarray(values)).astype(np.int16)
        written = nib.Nifti1Image(data, affine)
        written.set_qform(affine, code=1)
        written.set_sform(affine, code=1)
        written.header.set_xyzt_units("mm")
        nib.save(written, out / challenge_file_name(patient, role))


def write_patients(options: argparse.Namespace) -> None:
    """Write the patients of the command line."""
    patients = numbered_patients(options.patients)
    options.out.mkdir(parents=True, exist_ok=True)
    for patient in patients:
        images = read_patient(options.repository, patient)
        write_patient(images, patient, options.out, options.shift_mm, options.seed)
    print(f"{options.out}: {len(patients)} patients")


def main() -> int:
    """Write the pairs and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR", help="clone of FupingWu90/VarDA")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--patients", default="1-25", metavar="LIST", help="default: %(default)s")
    parser.add_argument("--shift-mm", type=float, default=2.0, metavar="MM", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    return run_command(lambda: write_patients(options))


if __name__ == "__main__":
    sys.exit(main())
