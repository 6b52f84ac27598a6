"""Registration of two soft segmentations by Gauss-Newton optimisation of an affine transform.

For probability maps P (cine) and Q (LGE) of the structures, the transform parameters p minimise

    E(p) = sum_x sum_k (P_k(x) - Q_k(theta_p x))^2 / n  +  r / m  sum_j (p_j / sigma_j)^2,

where theta_p acts about the centre of the cine heart and n is the number of heart pixels. The result is then refined:
MIND descriptors of the images are added to P and Q as further maps, within and just around the cine heart. They add
detail that the segmentations lack, but need a good initial alignment.

The second term is a normal prior on p. Its mean is the identity or, if the slices of a patient are aligned together,
the patient's mean transform. That is a mean over slices, weighted by each slice's precision and robust against
outliers; slices differ from it only by breath-holds. The weight of the prior is r / m. Here r is the residual of the
segmentations' term (constant within a step), and m is the number of independent observations in a slice. The data
dominate if the segmentations agree; the prior dominates if they disagree. With an empty segmentation the result is the
prior mean. Each structure is weighted by the ratio of its smaller to its larger area, so that a structure in only one
image has no influence.

In training the registration loss also trains the segmentations. Its gradient passes through the last Gauss-Newton step
only: at the minimum, the derivative of one step is the implicit derivative of the minimum.

The normal equations are computed from moments of the warped maps' gradients. With g the gradient of a warped map at x
and u = x - c, the map changes with the transform parameters by

    dQ(theta_p x) / dp_j = sum_ai  M_jai  g_a(x) m_i(u),      m = (1, u_column, u_row),

where M depends on p alone. So J J^T and J r only need the moments sum_x g_a g_b m_i m_k and sum_x g_a r m_i, which are
18 and 6 numbers per slice. J itself, with six values per pixel and map, is never computed.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.cpu_kernels.maps import box_maxima
from jointnet.geometry import (
    TRANSFORM_PARAMETERS,
    about,
    bounding_box,
    centres,
    moved_centres,
    pixel_centres,
    theta_from_parameters,
    values_at,
)
from jointnet.networks.device import computing_in

PATIENT_SD = (math.radians(5), 0.06, 0.06, 0.03, 8 / HALF_EXTENT_MM, 8 / HALF_EXTENT_MM)
"""SD of the transform parameters over patients: rotation (radians), log-scales, shear, translations (normalised)."""
SLICE_SD = (math.radians(2), 0.045, 0.045, 0.015, 2 / HALF_EXTENT_MM, 2 / HALF_EXTENT_MM)
"""SD of a slice's transform parameters about the patient's mean, in the same units. Alignment of manual labels of the
phantom and of real training patients gave 1.2 to 1.7 degrees, 0.04, 0.01 and 1.1 to 2.1 mm."""
OBSERVATIONS = 30.0
"""Number of independent observations in a slice. It is small because errors of neighbouring pixels are correlated."""
LEAST_PIXELS = 8.0
"""Pixels added to the area in weights and means, so that a few stray pixels have little influence."""
DAMPING = 1e-4
ROBUST_ROUNDS = 3
REFINEMENT = 2
"""Factor of the number of steps in the refinement. MIND descriptors have a smaller capture range than areas."""
MARGIN_PX = 7
"""Side of the square by which the heart is dilated to get the region of the descriptors: 3 pixels (9 mm) each way."""
GRADIENT_PAIR = ((0, 1), (1, 2))
"""Index of g_a g_b in (column column, column row, row row)."""
MONOMIAL = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
"""Index of m_i m_k in (1, column, row, column^2, column row, row^2)."""


class DescriptorMaps(NamedTuple):
    """Maps of MIND descriptors, used in addition to the segmentations.

    Attributes:
        box: bounding box (rows, columns) of the pixels with a weight.
        cine: maps of cine within the box (B, D, h, w).
        lge: maps of LGE, followed by their derivatives along columns and rows, (B, 3 D, H, W).
        counts: weight of each pixel of the box (B, h, w).
    """

    box: tuple[slice, slice]
    cine: Tensor
    lge: Tensor
    counts: Tensor


class SegmentationMaps(NamedTuple):
    """The segmentation maps of B slices, prepared for the optimisation.

    Attributes:
        cine: maps of cine (B, K, H, W), each structure weighted by the agreement of its areas.
        lge: maps of LGE, followed by their derivatives along columns and rows, (B, 3 K, H, W).
        centre: centre of the cine heart (B, 2).
        area: sum over structures of the smaller of the two areas, in pixels (B,).
        start: initial translation (B, 2) between the structures' centroids.
    """

    cine: Tensor
    lge: Tensor
    centre: Tensor
    area: Tensor
    start: Tensor


class Prior(NamedTuple):
    """Normal prior on transform parameters: mean (B, 6) and standard deviations (6,)."""

    mean: Tensor
    sd: Tensor


def align(
    cine: Tensor,
    lge: Tensor,
    limits: Tensor,
    steps: int,
    same_patient: bool = False,
    descriptors: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return theta (B, 2, 3) that aligns `lge` to `cine`.

    Args:
        cine: probabilities of the structures without background, (B, K, H, W), square.
        lge: the same for LGE.
        limits: the largest absolute value (6,) of each transform parameter.
        steps: number of Gauss-Newton steps after the initialisation from the structures' centroids.
        same_patient: whether the slices belong to one patient and are aligned together.
        descriptors: MIND descriptors of cine and LGE (B, D, H, W) for the refinement.
    """
    with computing_in(torch.float32, cine.device):
        return _align(cine.float(), lge.float(), limits.to(cine.device), steps, same_patient, descriptors)


def patient_mean_parameters(parameters: Tensor, precision: Tensor) -> Tensor:
    """Return the mean transform parameters (6,) of the slices of a patient.

    This is a weighted mean with a normal prior about the identity. Outlying slices get less weight, as with a Cauchy
    error distribution.

    Args:
        parameters: transform parameters of each slice (S, 6).
        precision: their inverse variance (S, 6); 0 for a slice without structures.
    """
    variance = 1 / precision.clamp(min=1e-6) + torch.tensor(SLICE_SD, device=parameters.device) ** 2
    prior = 1 / torch.tensor(PATIENT_SD, device=parameters.device) ** 2
    weight = 1 / variance
    mean = (weight * parameters).sum(0) / (weight.sum(0) + prior)
    for _ in range(ROBUST_ROUNDS):
        robust = weight / (1 + (parameters - mean) ** 2 / variance)
        mean = (robust * parameters).sum(0) / (robust.sum(0) + prior)
    return mean


def _align(
    cine: Tensor,
    lge: Tensor,
    limits: Tensor,
    steps: int,
    same_patient: bool,
    descriptors: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """Implement `align` in 32 bits. In 16 bits the sampling grid has errors of half a millimetre."""
    maps = _segmentation_maps(cine, lge)
    start = torch.cat([torch.zeros_like(maps.start).repeat(1, 2), maps.start.clamp(-limits[4:], limits[4:])], 1)
    prior = Prior(torch.zeros_like(start), torch.tensor(PATIENT_SD, device=cine.device))
    parameters, precision = _fit(maps, start, prior, limits, steps)
    if same_patient:
        parameters = patient_mean_parameters(parameters, precision).expand_as(parameters)
        prior = Prior(parameters, torch.tensor(SLICE_SD, device=cine.device))
    if same_patient or descriptors is not None:
        descriptor_maps = None if descriptors is None else _descriptor_maps(maps, cine, *descriptors)
        times = 1 if descriptors is None else REFINEMENT
        parameters, _ = _fit(maps, parameters.detach(), prior, limits, times * steps, descriptor_maps)
    return about(theta_from_parameters(parameters), maps.centre)


def _segmentation_maps(cine: Tensor, lge: Tensor) -> SegmentationMaps:
    """Weight the structures by the agreement of their areas, and compute the initial translation."""
    cine_area, cine_centres = _moments(cine)
    lge_area, lge_centres = _moments(lge)
    seen = torch.minimum(cine_area, lge_area)
    agreement = (seen / (torch.maximum(cine_area, lge_area) + LEAST_PIXELS)).detach()[:, :, None, None]
    total = seen.sum(1, keepdim=True) + LEAST_PIXELS
    start = ((lge_centres - cine_centres) * seen.unsqueeze(-1)).sum(1) / total
    centre = (cine_centres * seen.unsqueeze(-1)).sum(1) / total
    lge = lge * agreement
    return SegmentationMaps(cine * agreement, torch.cat([lge, *_gradients(lge)], 1), centre, seen.sum(1), start)


def _descriptor_maps(maps: SegmentationMaps, heart: Tensor, cine: Tensor, lge: Tensor) -> DescriptorMaps | None:
    """Return the descriptor maps with their weights, or None if no pixel has a weight.

    The weight of a pixel is the dilated heart of cine (B, K, H, W) times the share of the heart that LGE also shows.
    """
    heart = heart.detach().sum(1, keepdim=True)
    shared = maps.area / (heart.sum((1, 2, 3)) + LEAST_PIXELS)
    counts = (box_maxima(heart, MARGIN_PX) * shared.detach()[:, None, None, None]).squeeze(1)
    box = bounding_box(counts > 0)
    if box is None:
        return None
    rows, columns = box
    return DescriptorMaps(
        box, cine[:, :, rows, columns], torch.cat([lge, *_gradients(lge)], 1), counts[:, rows, columns]
    )


def _fit(
    maps: SegmentationMaps,
    parameters: Tensor,
    prior: Prior,
    limits: Tensor,
    steps: int,
    descriptor_maps: DescriptorMaps | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the transform parameters (B, 6) after `steps` steps and their precision (B, 6) from segmentations."""
    precision = torch.zeros_like(parameters)
    with torch.no_grad():
        for _ in range(steps - 1):
            parameters = _step(maps, parameters, prior, descriptor_maps)[0].clamp(-limits, limits)
    if steps > 0:
        parameters, precision = _step(maps, parameters, prior, descriptor_maps)
        parameters = parameters.clamp(-limits, limits)
    return parameters, precision.detach()


def _step(
    maps: SegmentationMaps, parameters: Tensor, prior: Prior, descriptor_maps: DescriptorMaps | None
) -> tuple[Tensor, Tensor]:
    """Return the transform parameters (B, 6) after a Gauss-Newton step and their precision from segmentations."""
    weight = 1 / (maps.area + LEAST_PIXELS)
    theta, factor = about(theta_from_parameters(parameters), maps.centre), directions(parameters, maps.centre)
    places = moved_centres(theta, maps.cine.shape[-1])
    powers = monomials(maps.cine.shape[-1], places.device)
    residual, along_columns, along_rows = _compare(maps.cine, maps.lge, places)
    variance = (weight * residual.detach().square().sum((1, 2, 3)) / OBSERVATIONS).unsqueeze(1)
    moments, slope = normal_equations(residual, along_columns, along_rows, powers)
    data_curvature = factor @ moments @ factor.mT
    precision = weight[:, None] * data_curvature.diagonal(dim1=1, dim2=2).detach() / (variance + DAMPING)
    if descriptor_maps is not None:
        rows, columns = descriptor_maps.box
        compared = _compare(descriptor_maps.cine, descriptor_maps.lge, places[:, rows, columns])
        further = normal_equations(*compared, powers[:, rows, columns], descriptor_maps.counts.square())
        data_curvature, slope = data_curvature + factor @ further[0] @ factor.mT, slope + further[1]
    prior_weight = variance / prior.sd**2 + DAMPING
    curvature = weight[:, None, None] * data_curvature + torch.diag_embed(prior_weight)
    downhill = weight[:, None] * (factor @ slope.unsqueeze(-1)).squeeze(-1)
    downhill = downhill - prior_weight * (parameters - prior.mean)
    return parameters + torch.linalg.solve_ex(curvature, downhill)[0], precision


def _compare(cine: Tensor, lge: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return cine's maps minus LGE's warped maps, and the warped maps' derivatives along columns and rows.

    All results have the shape of `cine`.

    Args:
        cine: maps (B, K, h, w).
        lge: maps of LGE, followed by their derivatives, (B, 3 K, H, W).
        places: coordinates in LGE of each pixel of cine's maps (B, h, w, 2).
    """
    moved, along_columns, along_rows = values_at(lge, places).split(cine.shape[1], 1)
    return cine - moved, along_columns, along_rows


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return area in pixels (B, K) and centroid (B, K, 2), column then row, of each map; the image centre if empty."""
    coordinates = pixel_centres(maps.shape[-1], maps.device)
    area = maps.sum((2, 3))
    column = (maps.sum(2) * coordinates).sum(2)
    row = (maps.sum(3) * coordinates).sum(2)
    return area, torch.stack([column, row], 2) / (area + 1e-3).unsqueeze(-1)


def _gradients(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the derivatives of maps (B, K, H, W) along columns and rows per unit of normalised coordinates."""
    padded = F.pad(maps, (1, 1, 1, 1)) * (maps.shape[-1] / 4)
    columns = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    rows = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    return columns, rows


def normal_equations(
    residual: Tensor, along_columns: Tensor, along_rows: Tensor, powers: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the moments of J J^T (B, 6, 6) and J r (B, 6), summed over maps and pixels, about the image centre.

    Args:
        residual: r (B, K, H, W), on a square image or a part of it.
        along_columns: derivative of the warped maps along columns, of the same shape.
        along_rows: the same along rows.
        powers: `monomials` of these pixels (6, H, W).
        weight: weight of each pixel's squared residual (B, H, W); 1 if None.
    """
    pairs = ((along_columns, along_columns), (along_columns, along_rows), (along_rows, along_rows))
    second = torch.stack([(first * other).sum(1) for first, other in pairs], 1)
    first = torch.stack([(gradient * residual).sum(1) for gradient in (along_columns, along_rows)], 1)
    if weight is not None:
        second, first = second * weight[:, None], first * weight[:, None]
    flat = powers.flatten(1)
    sums = second.flatten(2) @ flat.T
    pair, power = _places(residual.device)
    return sums[:, pair, power], (first.flatten(2) @ flat[:3].T).flatten(1)


def directions(parameters: Tensor, centre: Tensor) -> Tensor:
    """Return M (B, 6, 6) of transform parameters (B, 6) about `centre` (B, 2), for moments about the image centre.

    With the moments S and s of `normal_equations`, J J^T is M S M^T, and J r is M s.
    """
    (a, b), (c, d) = (row.unbind(-1) for row in theta_from_parameters(parameters)[..., :2].unbind(-2))
    angle, log_y = parameters[:, 0], parameters[:, 2]
    along, across = angle.cos() * log_y.exp(), angle.sin() * log_y.exp()
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = (
        (zero, -c, -d, zero, a, b),  # rotation
        (zero, a, zero, zero, c, zero),  # log-scale of columns
        (zero, zero, b, zero, zero, d),  # log-scale of rows
        (zero, zero, along, zero, zero, across),  # shear
        (one, zero, zero, zero, zero, zero),
        (zero, zero, zero, one, zero, zero),
    )
    about_centre = torch.stack([torch.stack(row, -1) for row in rows], 1).unflatten(2, (2, 3))
    shift = torch.eye(3, device=parameters.device).repeat(len(parameters), 1, 1)
    shift[:, 1:, 0] = -centre
    return (about_centre @ shift[:, None]).reshape(-1, TRANSFORM_PARAMETERS, TRANSFORM_PARAMETERS)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def monomials(size_px: int, device: torch.device) -> Tensor:
    """Return (1, column, row, column^2, column row, row^2) of every pixel centre, shape (6, size_px, size_px).

    The result is cached and must not be modified.
    """
    column, row = centres(size_px, device).unbind(2)
    return torch.stack([torch.ones_like(row), column, row, column * column, column * row, row * row])


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _places(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices into the sums (3, 6) of the entries (6, 6) of J J^T."""
    pair = torch.tensor(GRADIENT_PAIR, device=device).repeat_interleave(3, 0).repeat_interleave(3, 1)
    return pair, torch.tensor(MONOMIAL, device=device).repeat(2, 2)
