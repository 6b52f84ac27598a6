"""Builders of tiny scans with analytic voxel values, and of prepared patients.

The scene consists of cylinders along the cine's slice direction. A short-axis slice shows discs: an LV pool in a ring
of myocardium around `CENTRE_MM`, and an RV pool beside it. Positions in a slice are (column, row) in mm from the
centre.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import nn

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.preparation.cache import CachedPatient
from jointnet.settings import Settings, with_values
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

CENTRE_MM = np.array([12.0, -30.0, 41.0])
LV_MM, MYO_MM, RV_MM, RV_AT_MM = 16.0, 24.0, 14.0, (-38.0, 6.0)
CONTRAST = {0: 50.0, 200: 120.0, 500: 300.0, 600: 260.0}


def axes(rotation_deg: float = 0.0, tilt_deg: float = 0.0) -> np.ndarray:
    """Return unit vectors (3, 3), one per row: column, row and slice direction of an oblique short-axis view.

    `rotation_deg` rotates them in the plane; `tilt_deg` then rotates the plane about the column direction.
    """
    column = np.array([-0.64, -0.74, -0.2])
    column /= np.linalg.norm(column)
    row = np.array([0.37, -0.12, -0.92])
    row -= (row @ column) * column
    row /= np.linalg.norm(row)
    normal = np.cross(column, row)
    turn, tilt = np.deg2rad(rotation_deg), np.deg2rad(tilt_deg)
    column, row = np.cos(turn) * column + np.sin(turn) * row, -np.sin(turn) * column + np.cos(turn) * row
    row, normal = np.cos(tilt) * row + np.sin(tilt) * normal, -np.sin(tilt) * row + np.cos(tilt) * normal
    return np.stack([column, row, normal])


def affine_about(directions: np.ndarray, spacing_mm, shape, centre_mm=CENTRE_MM) -> np.ndarray:
    """Return the affine of a grid (column, row, slice) centred at a point in world coordinates."""
    affine = np.eye(4)
    affine[:3, :3] = directions.T * np.asarray(spacing_mm, float)
    affine[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def world(affine: np.ndarray, shape) -> np.ndarray:
    """Return world coordinates in mm (*shape, 3) of all voxels."""
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def in_plane(points_mm: np.ndarray, shift_mm=(0.0, 0.0)) -> np.ndarray:
    """Return (column, row) in mm (..., 2) of world points, relative to the scene's centre displaced by `shift_mm`."""
    return (points_mm - CENTRE_MM) @ axes()[:2].T - np.asarray(shift_mm)


def scene(points_mm: np.ndarray, shift_mm=(0.0, 0.0)) -> np.ndarray:
    """Return the file's label values at world points, with the scene displaced in the plane by `shift_mm`."""
    flat = in_plane(points_mm, shift_mm)
    radius, rv_radius = np.hypot(*np.moveaxis(flat, -1, 0)), np.hypot(*np.moveaxis(flat - RV_AT_MM, -1, 0))
    label = np.where(rv_radius < RV_MM, LABEL_VALUE["rv"], 0)
    label = np.where(radius < MYO_MM, LABEL_VALUE["myo"], label)
    return np.where(radius < LV_MM, LABEL_VALUE["lv"], label)


def edge_distance_mm(points_mm: np.ndarray, shift_mm=(0.0, 0.0)) -> np.ndarray:
    """Return the distance in mm of world points from the nearest edge of the scene."""
    flat = in_plane(points_mm, shift_mm)
    radius, rv_radius = np.hypot(*np.moveaxis(flat, -1, 0)), np.hypot(*np.moveaxis(flat - RV_AT_MM, -1, 0))
    return np.minimum.reduce([abs(radius - LV_MM), abs(radius - MYO_MM), abs(rv_radius - RV_MM)])


@dataclass(frozen=True)
class Scan:
    """An image, its label values as in the file, and the affine of both."""

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def scan(affine: np.ndarray, shape, shift_mm=(0.0, 0.0), seed: int = 0) -> Scan:
    """Return the scene on a grid: an intensity per structure, a smooth texture and a little noise."""
    points = world(affine, shape)
    label = scene(points, shift_mm)
    flat = in_plane(points, shift_mm)
    texture = 20 * np.sin(flat[..., 0] / 9) * np.cos(flat[..., 1] / 7)
    noise = np.random.default_rng(seed).normal(0, 2, shape)
    image = np.vectorize(CONTRAST.get)(label) + texture + noise
    return Scan(image.astype(np.float32), label.astype(np.int16), affine)


def pair(seed: int = 0, lge_shift_mm=(0.0, 0.0), slices: int = 2) -> tuple[Scan, Scan]:
    """Return a cine and an LGE scan of the scene on different in-plane grids. Both cover the same `slices` * 10 mm."""
    cine_shape, lge_shape = (56, 52, slices), (72, 76, 2 * slices)
    cine = affine_about(axes(), (2.5, 2.5, 10.0), cine_shape)
    lge = affine_about(axes(rotation_deg=7.0), (1.9, 1.9, 5.0), lge_shape)
    return scan(cine, cine_shape, seed=seed), scan(lge, lge_shape, lge_shift_mm, seed=seed + 1000)


def mirrored(this: Scan, axis: int) -> Scan:
    """Return the scan with an array axis stored backwards. Voxels keep their world positions."""
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, this.image.shape[axis] - 1
    return Scan(np.flip(this.image, axis).copy(), np.flip(this.label, axis).copy(), this.affine @ flip)


def transposed(this: Scan) -> Scan:
    """Return the scan with its two in-plane array axes swapped."""
    swap = np.eye(4)[[1, 0, 2, 3]]
    return Scan(this.image.swapaxes(0, 1).copy(), this.label.swapaxes(0, 1).copy(), this.affine @ swap)


def with_image(this: Scan, image: np.ndarray) -> Scan:
    """Return the scan with another image."""
    return replace(this, image=image)


def cropped(this: Scan, columns: int) -> Scan:
    """Return the scan without its first columns (axis 0), on the side of the RV. Voxels keep their world positions."""
    moved = this.affine.copy()
    moved[:3, 3] += columns * this.affine[:3, 0]
    return Scan(this.image[columns:].copy(), this.label[columns:].copy(), moved)


def without(this: Scan, structure: str) -> Scan:
    """Return the scan with a structure removed from its labels."""
    return replace(this, label=np.where(this.label == LABEL_VALUE[structure], 0, this.label).astype(this.label.dtype))


def file_paths(folder: Path, number: int, subfolders: bool = False) -> dict[str, Path]:
    """Return the paths of a patient's four files by role, flat or in the challenge's subfolders."""
    where = {"cine": "c0t2lge", "lge": "c0t2lge", "cine_label": "c0gt", "lge_label": "lgegt"}
    names = {"cine": "C0", "lge": "LGE", "cine_label": "C0_manual", "lge_label": "LGE_manual"}
    return {
        role: Path(folder) / (where[role] if subfolders else "") / f"patient{number}_{name}.nii.gz"
        for role, name in names.items()
    }


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray, codes: tuple[int, int] = (1, 1)) -> None:
    """Write a NIfTI file with the given sform and qform codes."""
    header = nib.Nifti1Header()
    header.set_data_dtype(data.dtype)
    header.set_data_shape(data.shape)
    header.set_qform(affine, code=codes[1])
    header.set_sform(affine if codes[0] else np.eye(4), code=codes[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, None, header), path)
    written = nib.load(path).header
    assert (int(written["sform_code"]), int(written["qform_code"])) == codes


def write_patient(
    folder: Path, number: int, cine: Scan, lge: Scan, subfolders: bool = False, codes: tuple[int, int] = (1, 1)
) -> dict[str, Path]:
    """Write the four files of a patient and return their paths by role."""
    paths = file_paths(folder, number, subfolders)
    for role, this in (("cine", cine), ("lge", lge)):
        write_nifti(paths[role], this.image, this.affine, codes)
        write_nifti(paths[f"{role}_label"], this.label, this.affine, codes)
    return paths


def disc(centre_mm, radius_mm: float) -> np.ndarray:
    """Return a mask (row, column) of the common grid: a disc at (column, row) in mm from the field's centre."""
    along = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * PIXEL_MM
    columns, rows = along[None, :] - centre_mm[0], along[:, None] - centre_mm[1]
    return columns**2 + rows**2 < radius_mm**2


def heart(shift_mm=(0.0, 0.0)) -> np.ndarray:
    """Return class indices (row, column) of the scene's slice on the common grid, displaced by `shift_mm`."""
    shift = np.asarray(shift_mm, float)
    labels = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    labels[disc(shift + RV_AT_MM, RV_MM)] = CLASS_INDEX["rv"]
    labels[disc(shift, MYO_MM)] = CLASS_INDEX["myo"]
    labels[disc(shift, LV_MM)] = CLASS_INDEX["lv"]
    return labels


def whole_field(labels: np.ndarray) -> np.ndarray:
    """Return a common field (slice, row, column) that covers all pixels of labels (slice, 2, row, column)."""
    return np.ones((len(labels), *labels.shape[2:]), bool)


def prepared(
    folder: Path, number: int, labels: np.ndarray, seed: int = 0, field: np.ndarray | None = None
) -> CachedPatient:
    """Return a prepared patient with labels (slice, 2, row, column) and images whose intensity follows the labels.

    Its common field (slice, row, column) is the whole field of view unless `field` is given.
    """
    field = whole_field(labels) if field is None else field
    contrast = np.array([[0.2, 0.5, 1.0, 0.8], [0.1, 0.2, 0.9, 1.0]])
    images = np.stack([contrast[0][labels[:, 0]], contrast[1][labels[:, 1]]], 1)
    images = images + np.random.default_rng(seed).normal(0, 0.03, images.shape)
    path = Path(folder) / f"prepared{number}"
    path.mkdir(parents=True)
    np.save(path / "images.npy", (images.clip(0, 1.5) * field[:, None]).astype(np.float16))
    np.save(path / "labels.npy", labels.astype(np.uint8))
    np.save(path / "field.npy", field)
    return CachedPatient(str(number), path, f"digest{number}")


def easy_patients(folder: Path, count: int, slices: int = 2) -> list[CachedPatient]:
    """Return prepared patients with different heart positions and LGE displaced by about 9 mm."""
    rng = np.random.default_rng(1)
    patients = []
    for number in range(1, count + 1):
        place = rng.uniform(-6, 6, 2)
        shifts = [np.array([7.5, -4.5]) + rng.normal(0, 1, 2) for _ in range(slices)]
        labels = np.stack([np.stack([heart(place), heart(place + shift)]) for shift in shifts])
        patients.append(prepared(folder, number, labels, seed=number))
    return patients


def tiny_settings(**dotted) -> Settings:
    """Return the default settings with very small networks. Keywords are dotted keys, with `__` for the dot."""
    values = {
        "model.widths": [4, 8, 8],
        "model.neighbours": 0,
        "model.hidden": 8,
        "model.guide_steps": 3,
        "training.downsampling": 4,
        "training.epochs": 2,
        "training.validate_every": 1,
    }
    return with_values(Settings(), values | {key.replace("__", "."): value for key, value in dotted.items()})


def feed_forward_settings(**dotted) -> Settings:
    """Return `tiny_settings` without the stages that follow the network."""
    return tiny_settings(registration__pooling="independent", registration__refinement="none", **dotted)


def stir(model: nn.Module, spread: float = 0.2) -> nn.Module:
    """Add random noise to all weights, so that none is zero as at initialisation, and return the model."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return model


def invert(theta: torch.Tensor) -> torch.Tensor:
    """Return the inverse affine, shape (..., 2, 3); `theta` must have a non-zero determinant."""
    linear = torch.linalg.inv(theta[..., :2])
    return torch.cat([linear, -linear @ theta[..., 2:]], -1)
