"""One patient of the phantom: sample the scene, simulate both scans, and encode the files."""

import gzip
import io
import json
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.phantom.anatomy import Heart, at_lge_time, heart_tissues, sample_heart, scar_burden
from jointnet.phantom.appearance import Appearance, render_slice, sample_cine_appearance, sample_lge_appearance
from jointnet.phantom.scanner import (
    HEADER_UNITS,
    Grid,
    Matrix,
    Storage,
    sample_misalignment,
    sample_placement,
    sample_slice_shifts,
    stored,
)
from jointnet.phantom.thorax import Thorax, fill_surroundings, sample_thorax
from jointnet.phantom.tissue import INFARCT, Array, Mask, labels_of

ODD_STORAGE_EVERY = 6
"""One patient in this many has scans with unusual storage, such as mirrored axes, a different one each time."""
ODD_STORAGES = (Storage.REVERSED, Storage.QFORM_ONLY, Storage.MIRRORED, Storage.TRANSPOSED)


@dataclass(frozen=True)
class Scan:
    """Parameters of one simulated scan.

    Attributes:
        grid: The voxel grid.
        heart: The heart's shape at the time of the scan.
        heart_to_world: 4x4, from heart coordinates to world mm at the time of the scan.
        still_to_world: 4x4, from the chest wall's coordinates to world mm.
        shifts_mm: Breath-hold shift of each slice, world mm, shape (slices, 3).
        appearance: Intensity parameters.
    """

    grid: Grid
    heart: Heart
    heart_to_world: Matrix
    still_to_world: Matrix
    shifts_mm: Matrix
    appearance: Appearance


@dataclass(frozen=True)
class Scene:
    """All random parameters of one patient."""

    seed: int
    number: int
    thorax: Thorax
    cine: Scan
    lge: Scan
    cine_to_lge: Matrix
    storage: dict[str, Storage]


def _stream(seed: int, number: int, stream: int) -> np.random.Generator:
    """Create an independent random number generator for one purpose within one patient."""
    return np.random.default_rng([seed, number, stream])


def storage_of(seed: int, number: int) -> dict[str, Storage]:
    """Return the storage of a patient's two scans. If it is unusual, cine and LGE are stored differently."""
    turn, rest = divmod(seed + number, ODD_STORAGE_EVERY)
    if rest:
        return {"C0": Storage.PLAIN, "LGE": Storage.PLAIN}
    return {"C0": ODD_STORAGES[turn % 4], "LGE": ODD_STORAGES[(turn + 1) % 4]}


def sample_scene(seed: int, number: int) -> Scene:
    """Draw one patient. The result depends only on the seed and the patient's number."""
    shape_rng, misalignment_rng = _stream(seed, number, 0), _stream(seed, number, 1)
    heart = sample_heart(shape_rng)
    thorax = sample_thorax(shape_rng, heart)
    placement = sample_placement(_stream(seed, number, 2), heart)
    cine_to_lge = sample_misalignment(misalignment_rng).in_world(placement.heart_to_world)
    cine = Scan(
        grid=placement.cine,
        heart=heart,
        heart_to_world=placement.heart_to_world,
        still_to_world=placement.heart_to_world,
        shifts_mm=sample_slice_shifts(misalignment_rng, placement.cine.in_plane_axes, placement.cine.shape[2]),
        appearance=sample_cine_appearance(_stream(seed, number, 3)),
    )
    lge = Scan(
        grid=placement.lge,
        heart=at_lge_time(heart, misalignment_rng),
        heart_to_world=cine_to_lge @ placement.heart_to_world,
        still_to_world=placement.heart_to_world,
        shifts_mm=sample_slice_shifts(misalignment_rng, placement.lge.in_plane_axes, placement.lge.shape[2]),
        appearance=sample_lge_appearance(_stream(seed, number, 4)),
    )
    return Scene(seed, number, thorax, cine, lge, cine_to_lge, storage_of(seed, number))


def _axis_level_mm(points_mm: Array) -> float:
    """Return the level at which a slice, given as points (3, nx, ny), is closest to the long axis."""
    return float(points_mm[2].flat[np.argmin(points_mm[0] ** 2 + points_mm[1] ** 2)])


def scan_volumes(scan: Scan, thorax: Thorax, noise: np.random.Generator) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Simulate a scan slice by slice and return the image and its labels, both of the grid's shape."""
    image, labels = np.empty(scan.grid.shape, np.int16), np.empty(scan.grid.shape, np.int16)
    world_to_heart, world_to_still = np.linalg.inv(scan.heart_to_world), np.linalg.inv(scan.still_to_world)
    for index, shift_mm in enumerate(scan.shifts_mm):
        moving_mm = scan.grid.slice_points(index, world_to_heart, shift_mm)
        still_mm = scan.grid.slice_points(index, world_to_still, np.zeros(3))
        tissues, distance_mm = heart_tissues(scan.heart, moving_mm, _axis_level_mm(moving_mm))
        tissues = fill_surroundings(thorax, scan.heart, tissues, distance_mm, moving_mm, still_mm)
        labels[:, :, index] = labels_of(tissues)
        image[:, :, index] = render_slice(scan.appearance, tissues, moving_mm, noise)
    return image, labels


def true_scar(seed: int, number: int, name: str = "LGE") -> Mask:
    """Return the true scar of a patient, including dark cores of microvascular obstruction.

    Args:
        seed: The phantom's seed.
        number: The patient's number.
        name: The scan whose time and grid are used: `LGE` or `C0` (cine, in which the scar is not visible).

    Returns:
        A mask in the voxel order of the scan's file.
    """
    scene = sample_scene(seed, number)
    scan = {"C0": scene.cine, "LGE": scene.lge}[name]
    world_to_heart = np.linalg.inv(scan.heart_to_world)
    scar = np.empty(scan.grid.shape, bool)
    for index, shift_mm in enumerate(scan.shifts_mm):
        moving_mm = scan.grid.slice_points(index, world_to_heart, shift_mm)
        tissues, _ = heart_tissues(scan.heart, moving_mm, _axis_level_mm(moving_mm))
        scar[:, :, index] = np.isin(tissues, INFARCT)
    return stored(scene.storage[name], scan.grid, scar)[0]


def nifti_bytes(volume: NDArray[Any], grid: Grid, storage: Storage) -> bytes:
    """Return a volume as the content of a `.nii.gz` file. Equal volumes give equal bytes."""
    array, affine = stored(storage, grid, volume)
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=0 if storage is Storage.QFORM_ONLY else 1)
    image.header.set_xyzt_units(HEADER_UNITS)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=packed, mtime=0) as stream:
        stream.write(image.to_bytes())
    return packed.getvalue()


def _stored_shifts(scan: Scan, storage: Storage) -> list[list[float]]:
    """Return the slices' shifts in the slice order of the file."""
    shifts = scan.shifts_mm[::-1] if storage is Storage.REVERSED else scan.shifts_mm
    return [[float(value) for value in shift] for shift in shifts]


def truth(scene: Scene) -> dict[str, Any]:
    """Return the ground truth of a patient: misalignment, scar and storage.

    `affine_cine_to_lge` maps a point of the heart from its position in the cine scan to that in the LGE scan, in world
    mm. Slice k shows it displaced by `*_shifts_mm[k]`, in world mm and in the file's slice order.
    """
    volume_ml, share = scar_burden(scene.lge.heart)
    return {
        "patient": scene.number,
        "seed": scene.seed,
        "affine_cine_to_lge": scene.cine_to_lge.tolist(),
        "cine_shifts_mm": _stored_shifts(scene.cine, scene.storage["C0"]),
        "lge_shifts_mm": _stored_shifts(scene.lge, scene.storage["LGE"]),
        "scar_volume_ml": volume_ml * abs(float(np.linalg.det(scene.cine_to_lge[:3, :3]))),
        "scar_fraction_of_myocardium": share,
        "storage": {name: str(storage) for name, storage in scene.storage.items()},
    }


def patient_paths(number: int) -> tuple[str, ...]:
    """Return the paths of a patient's files in the phantom's folder: C0 and LGE scans, C0 and LGE labels, truth."""
    return (
        f"c0t2lge/patient{number}_C0.nii.gz",
        f"c0t2lge/patient{number}_LGE.nii.gz",
        f"c0gt/patient{number}_C0_manual.nii.gz",
        f"lgegt/patient{number}_LGE_manual.nii.gz",
        f"truth/patient{number}_truth.json",
    )


def patient_files(seed: int, number: int) -> dict[str, bytes]:
    """Create all files of a patient, as content by path within the phantom's folder."""
    scene = sample_scene(seed, number)
    cine, cine_labels = scan_volumes(scene.cine, scene.thorax, _stream(seed, number, 5))
    lge, lge_labels = scan_volumes(scene.lge, scene.thorax, _stream(seed, number, 6))
    contents = (
        nifti_bytes(cine, scene.cine.grid, scene.storage["C0"]),
        nifti_bytes(lge, scene.lge.grid, scene.storage["LGE"]),
        nifti_bytes(cine_labels, scene.cine.grid, scene.storage["C0"]),
        nifti_bytes(lge_labels, scene.lge.grid, scene.storage["LGE"]),
        (json.dumps(truth(scene), indent=2, sort_keys=True) + "\n").encode(),
    )
    return dict(zip(patient_paths(number), contents, strict=True))
