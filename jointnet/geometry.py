"""Conversions between pixels, normalised coordinates and millimetres, the definition of the warp, and bounding boxes.

theta is an affine of shape (2, 3) that maps *cine* coordinates to *LGE* coordinates,

    moved(x) = lge(theta x),        theta x = A x + t,

with x = (column, row) in the normalised coordinates of `torch.nn.functional.affine_grid` and
`align_corners=False`: -1 and +1 are the outer edges of the first and the last pixel. Pixel i of n sits at
(2 i + 1) / n - 1. The common grid is square. So A is the same in pixels and in millimetres, t only needs a factor, and
theta is valid at any resolution of the same field of view.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from jointnet.common_grid import HALF_EXTENT_MM

TRANSFORM_PARAMETERS = 6
"""Number of transform parameters: rotation (radians), two log-scales, shear, two translations (normalised)."""


def identity(batch: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the identity transforms, theta of shape (batch, 2, 3)."""
    return torch.eye(2, 3, device=device).expand(batch, 2, 3).contiguous()


def pixel_centres(size_px: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the normalised coordinates, shape (size_px,), of the pixel centres along one side."""
    return (2 * torch.arange(size_px, device=device, dtype=torch.float32) + 1) / size_px - 1


def theta_from_parameters(parameters: Tensor) -> Tensor:
    """Return theta (..., 2, 3) of transform parameters (..., 6): A = rotation @ shear @ scale, and t.

    The parameters are the rotation in radians, the logarithms of the column and row scales, the shear (columns per
    row), and the column and row translations in normalised units. All zeros give the identity.
    """
    angle, log_x, log_y, shear, shift_x, shift_y = parameters.unbind(-1)
    cosine, sine, scale_x, scale_y = angle.cos(), angle.sin(), log_x.exp(), log_y.exp()
    rows = (
        torch.stack([cosine * scale_x, (cosine * shear - sine) * scale_y, shift_x], -1),
        torch.stack([sine * scale_x, (sine * shear + cosine) * scale_y, shift_y], -1),
    )
    return torch.stack(rows, -2)


def parameters_from_theta(theta: Tensor) -> Tensor:
    """Return the transform parameters (..., 6) of theta (..., 2, 3) with a positive determinant.

    It is the inverse of `theta_from_parameters`.
    """
    (a, b, shift_x), (c, d, shift_y) = (row.unbind(-1) for row in theta.unbind(-2))
    angle = torch.atan2(c, a)
    cosine, sine = angle.cos(), angle.sin()
    scale_y = cosine * d - sine * b
    shear = (cosine * b + sine * d) / scale_y
    return torch.stack([angle, torch.hypot(a, c).log(), scale_y.log(), shear, shift_x, shift_y], -1)


def about(theta: Tensor, centre: Tensor) -> Tensor:
    """Return the affine that acts about `centre` (..., 2) as `theta` (..., 2, 3) acts about the origin.

    x -> A (x - c) + c + t.
    """
    shift = centre - (theta[..., :2] @ centre.unsqueeze(-1)).squeeze(-1)
    return torch.cat([theta[..., :2], theta[..., 2:] + shift.unsqueeze(-1)], -1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the affine x -> outer(inner(x)); both have shape (..., 2, 3)."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return torch.cat([linear, shift], -1)


def in_mm(theta: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return theta as affines (S, 2, 3) of (column, row) in mm from the centre of the field of view."""
    affine = np.array(theta, dtype=np.float64)
    affine[..., 2] *= HALF_EXTENT_MM
    return affine


def centres(size_px: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the normalised coordinates (size_px, size_px, 2) of all pixels of a square image, the column first."""
    x = pixel_centres(size_px, device)
    return torch.stack(torch.meshgrid(x, x, indexing="xy"), -1)


def moved_centres(theta: Tensor, size_px: int) -> Tensor:
    """Return theta x at all pixel centres x, shape (B, size_px, size_px, 2), column first, for theta (B, 2, 3).

    The result equals `torch.nn.functional.affine_grid` with `align_corners=False`, which takes up to fifty times as
    long on a CPU. Here a point is a complex number, column + i row, so that both coordinates are computed at once.
    """
    x = pixel_centres(size_px, theta.device).to(theta.dtype)
    along_column, along_row, shift = torch.view_as_complex(theta.mT.contiguous()).unsqueeze(-1).unbind(1)
    return torch.view_as_real((along_row * x + shift)[:, :, None] + (along_column * x)[:, None])


def warp(images: Tensor, theta: Tensor, mode: str = "bilinear") -> Tensor:
    """Resample square images (B, C, H, H) so that result(x) = image(theta x). Values outside the image are 0."""
    wide = torch.promote_types(images.dtype, torch.float32)  # complex numbers need at least 32 bits per part
    return values_at(images, moved_centres(theta.to(wide), images.shape[-1]).to(images.dtype), mode)


def values_at(images: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """Sample images (B, C, H, W) at points (B, h, w, 2), column first, to (B, C, h, w). Values outside are 0."""
    return F.grid_sample(images, places, mode=mode, padding_mode="zeros", align_corners=False)


def warp_labels(labels: NDArray[np.uint8], theta: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Resample label maps (S, H, W) with nearest neighbours, so that moved(x) = labels(theta x), theta (S, 2, 3)."""
    images = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))[:, None]
    moved = warp(images, torch.from_numpy(np.ascontiguousarray(theta, dtype=np.float32)), mode="nearest")
    return moved[:, 0].numpy().astype(np.uint8)


def bounding_box(mask: Tensor, margin_px: int = 0) -> tuple[slice, slice] | None:
    """Return the rows and columns of the bounding box of all True pixels, or None if there are none.

    Args:
        mask: masks (..., H, W); one bounding box is computed for all of them.
        margin_px: margin added on every side, clipped to the image.
    """
    union = mask.reshape(-1, *mask.shape[-2:]).any(0)
    height = len(union)
    filled = torch.cat([union.any(1), union.any(0)]).tolist()  # one read: each read from a GPU waits for it
    rows, columns = (_side(each, margin_px) for each in (filled[:height], filled[height:]))
    return None if rows is None or columns is None else (rows, columns)


def _side(filled: list[bool], margin_px: int) -> slice | None:
    indices = [index for index, any_pixel in enumerate(filled) if any_pixel]
    return slice(max(0, indices[0] - margin_px), min(len(filled), indices[-1] + 1 + margin_px)) if indices else None
