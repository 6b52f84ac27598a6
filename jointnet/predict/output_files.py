"""The output files of a pair: names, NIfTI volumes on the grid of a scan, transforms for other programs, writing.

A scan's header may contain free text (names, comments, extensions). A written volume therefore gets a new header, into
which only the numbers that define the voxels' position are copied unchanged. So any viewer can overlay it on the scan.

The registration is written as JSON, ITK text transforms and a displacement field. All of them map a point in cine to
the same anatomy in LGE, as is needed to resample LGE onto cine's grid. ITK uses LPS coordinates, NIfTI uses RAS.

Files are written atomically, and the record that lists them is written last.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.predict.back_projection import Registration
from jointnet.preparation.grid import Array
from jointnet.preparation.scan_file import volume_shape
from jointnet.structures import CLASS_INDEX, LABEL_VALUE
from jointnet.system.atomic_file import write_whole

CINE = "cine.nii.gz"
UNREGISTERED = "lge_unregistered.nii.gz"
REGISTERED = "lge_registered.nii.gz"
CINE_LABELS = "cine_segmentation.nii.gz"
LGE_LABELS = "lge_segmentation_registered.nii.gz"
UNREGISTERED_LABELS = "lge_segmentation_unregistered.nii.gz"
INVERSE_LABELS = "cine_segmentation_on_lge.nii.gz"
DISPLACEMENT = "displacement.nii.gz"
TRANSFORMS = "transforms.json"
SLICES = "quality.csv"
SHEET = "quality.png"
RECORD = "provenance.json"
ROWS = "slices.csv"
PAIR_FILES = (
    *(CINE, UNREGISTERED, REGISTERED, DISPLACEMENT),
    *(CINE_LABELS, UNREGISTERED_LABELS, LGE_LABELS, INVERSE_LABELS),
    *(TRANSFORMS, SLICES, SHEET, ROWS),
)
"""All possible files of a pair, except the record and the transforms in `transforms/`."""

POSITION_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
"""Header fields that define the position of the voxels."""
COMPRESSION = 4
VECTOR_INTENT = 1007
"""`NIFTI_INTENT_VECTOR`: every version of ITK reads the components of such a file unchanged."""

FORMAT = 1
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Conversion between RAS and LPS, in both directions: the first two coordinates change their signs."""

EQUATION = "p_lge = M @ p_cine, p = (x, y, z, 1) in mm"
DIRECTION = (
    "from cine to LGE: M takes a point of a cine slice to the place in the LGE scan that shows the same anatomy, so "
    "lge_registered(p) = lge(M p). To move points of LGE onto cine use the inverse of M."
)
FRAMES = {
    "ras": "NIfTI's world, by the files' affines, mm: x towards the patient's right, y anterior, z superior",
    "lps": "ITK's and DICOM's world, mm: (-x, -y, z) of ras",
}


def write_results(folder: Path, files: Mapping[str, bytes], record: bytes | None = None) -> None:
    """Write a pair's files and remove the files of an earlier prediction that this one does not have.

    The old record is removed first and the new one, if there is one, written last. A folder with a record is complete.

    Raises:
        OSError: if a file cannot be written.
        ValueError: if a name is not one of a pair's files.
    """
    for name in files:
        if name not in PAIR_FILES and not (
            Path(name).parent == Path("transforms") and Path(name).match("cine_slice_*.tfm")
        ):
            raise ValueError(f"must be the name of a pair's file, got {name!r}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for path in [*(folder / name for name in PAIR_FILES), *folder.glob("transforms/cine_slice_*.tfm")]:
        if path.relative_to(folder).as_posix() not in files:
            path.unlink(missing_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_whole(path, content)
    if record is not None:
        write_whole(folder / RECORD, record)


def nifti_bytes(volume: NDArray, like: nib.Nifti1Image) -> bytes:
    """Return a compressed NIfTI file with the world position of `like`. Equal content gives equal bytes.

    Args:
        volume: (I, J, K) on the grid of `like`, or vectors (I, J, K, 1, components).
        like: a scan; its lengths are in mm, even if its header does not state a unit.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header["pixdim"][:4] = like.header["pixdim"][:4]
    for name in POSITION_FIELDS:
        header[name] = like.header[name]
    if volume.ndim == 5:
        header["intent_code"] = VECTOR_INTENT
    image = nib.Nifti1Image(volume, None, header)
    return gzip.compress(image.to_bytes(), COMPRESSION, mtime=0)


def intensities(image: nib.Nifti1Image, frame: int | None = None) -> NDArray[np.float32]:
    """Return a scan's intensities (I, J, K) as `jointnet.preparation.prepared_patient` reads them.

    Args:
        image: the scan.
        frame: the frame of a 4D scan, counted from 0.
    """
    shape = volume_shape(image.shape)
    data = image.dataobj if len(shape) == 3 else image.dataobj[:, :, :, frame]
    return np.asarray(data, dtype=np.float32).reshape(shape[:3])


def as_stored(volume: NDArray[np.float32], image: nib.Nifti1Image) -> NDArray:
    """Return resampled intensities in the scan's data type if that is an integer type of at most 16 bits.

    For other types, and for scans with a scale factor or offset, return float32.
    """
    kind = image.get_data_dtype()
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    if kind.kind not in "iu" or kind.itemsize > 2 or scaled:
        return volume.astype(np.float32)
    limits = np.iinfo(kind)
    return np.rint(volume).clip(limits.min, limits.max).astype(kind.newbyteorder("="))


def as_label_values(labels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the challenge's label values for class indices: 0 background, 200 myocardium, 500 LV pool, 600 RV pool."""
    values = np.zeros(256, np.int16)
    for name, value in LABEL_VALUE.items():
        values[CLASS_INDEX[name]] = value
    return values[labels]


def table_bytes(rows: Iterable[Mapping[str, Any]], columns: list[str]) -> bytes:
    """Return rows as the content of a CSV file. Missing values are empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def in_lps(affine: Array) -> Array:
    """Convert an affine (..., 4, 4) from RAS to LPS coordinates, or the reverse."""
    return np.asarray(LPS @ affine @ LPS)


def transforms_content(pair: Registration, displacements_mm: dict[int, float]) -> dict[str, Any]:
    """Return the content of the JSON file: equation, direction, coordinate frames, and an entry for every cine slice.

    Args:
        pair: the registration.
        displacements_mm: displacement of the heart by slice of the common grid.
    """
    return {
        "format": FORMAT,
        "equation": EQUATION,
        "direction": DIRECTION,
        "frames": FRAMES,
        "through_plane": (
            "M moves nothing along the normal of the cine slices. The registered image of a cine slice is resampled "
            "from one acquired slice of LGE: lge_slice, at a distance of lge_offset_mm along the normal at the centre "
            "of the field of view. displacement.nii.gz includes this distance."
        ),
        "slice_numbers": "from 0, along the third axis of the cine file and of the LGE file",
        "normal_ras": pair.grid.normal.tolist(),
        "slices": [_entry(pair, number, displacements_mm) for number in range(pair.cine.shape[2])],
    }


def transform_name(cine_slice: int) -> str:
    """Return the name of the ITK transform file of a cine slice."""
    return f"cine_slice_{cine_slice:03d}.tfm"


def itk_transform(affine: Array) -> str:
    """Return the text of an ITK transform file for an affine (4, 4) in RAS world coordinates, in mm."""
    matrix = in_lps(affine)
    numbers = [*matrix[:3, :3].ravel(), *matrix[:3, 3]]
    lines = (
        "#Insight Transform File V1.0",
        "#Transform 0",
        "Transform: AffineTransform_double_3_3",
        "Parameters: " + " ".join(repr(float(number)) for number in numbers),
        "FixedParameters: 0 0 0",
    )
    return "\n".join(lines) + "\n"


def itk_transforms(pair: Registration) -> dict[str, str]:
    """Return the texts of the ITK transform files by name, one for each cine slice that has a transform."""
    return {
        transform_name(number): itk_transform(pair.transforms[match.grid_slice])
        for number, match in enumerate(pair.cine_matches)
        if match is not None
    }


def itk_displacement(displacement_mm: Array) -> NDArray[np.float32]:
    """Convert displacements (I, J, K, 3) in RAS to the form that ITK reads from NIfTI: (I, J, K, 1, 3) in LPS."""
    return (displacement_mm * np.diag(LPS)[:3])[:, :, :, None, :].astype(np.float32)


def _entry(pair: Registration, number: int, displacements_mm: dict[int, float]) -> dict[str, Any]:
    match = pair.cine_matches[number]
    if match is None:
        return {"cine_slice": number, "covered": False}
    affine = pair.transforms[match.grid_slice]
    return {
        "cine_slice": number,
        "covered": True,
        "lge_slice": match.other_slice,
        "lge_offset_mm": round(match.offset_mm, 4),
        "common_grid_slice": match.grid_slice,
        "displacement_mm": round(displacements_mm[match.grid_slice], 4),
        "matrix_ras": affine.tolist(),
        "matrix_lps": in_lps(affine).tolist(),
        "itk_file": f"transforms/{transform_name(number)}",
    }
