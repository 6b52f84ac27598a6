"""Registration of slices by Gauss-Newton optimisation of an affine transform: the fit of maps to maps.

For maps P (cine) and Q (LGE), such as probabilities of the structures, the transform parameters p minimise

    E(p) = sum_x sum_k (P_k(x) - Q_k(theta_p x))^2 / n  +  r / m  sum_j ((p_j - mean_j) / sigma_j)^2,

where theta_p acts about a centre, such as that of the cine heart, and n is the number of pixels that count. MIND
descriptors of the images may be further maps of P and Q.

The second term is a normal prior on p. Its weight is r / m, where r is the residual (constant within a step) and m the
number of independent observations in a slice. The data dominate if the maps agree; the prior dominates if they
disagree. If nothing counts, the result is the prior mean. Each structure is weighted by the ratio of its smaller to its
larger area, so that a structure in only one image has no influence. r is the residual of the segmentations, and that
of the descriptors if there are no segmentations.

In training the registration loss also trains the segmentations. Its gradient passes through the last Gauss-Newton step
only: at a minimum with zero residual, and only there, the derivative of one step is the implicit derivative of the
minimum.

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
from torch import Tensor

from jointnet.alignment.guide_maps import LEAST_PIXELS, DescriptorMaps, SegmentationMaps
from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.compute.device import computing_in, constant
from jointnet.geometry import (
    TRANSFORM_PARAMETERS,
    about,
    centres,
    moved_centres,
    theta_from_parameters,
    values_at,
)

PATIENT_SD = (math.radians(5), 0.06, 0.06, 0.03, 8 / HALF_EXTENT_MM, 8 / HALF_EXTENT_MM)
"""SD of the transform parameters over patients: rotation (radians), log-scales, shear, translations (normalised)."""
OBSERVATIONS = 30.0
"""Number of independent observations in a slice. It is small because errors of neighbouring pixels are correlated."""
DAMPING = 1e-4
GRADIENT_PAIR = ((0, 1), (1, 2))
"""Index of g_a g_b in (column column, column row, row row)."""
MONOMIAL = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
"""Index of m_i m_k in (1, column, row, column^2, column row, row^2)."""


class Evidence(NamedTuple):
    """What the transforms of B slices are fitted to.

    Attributes:
        centre: the point (B, 2) about which transforms act.
        segmentations: maps of the structures, None if there are no segmentations.
        descriptors: maps of MIND descriptors, None if they are not used.
    """

    centre: Tensor
    segmentations: SegmentationMaps | None
    descriptors: DescriptorMaps | None = None


class Prior(NamedTuple):
    """Normal prior on transform parameters: mean (B, 6) and standard deviations (6,)."""

    mean: Tensor
    sd: Tensor


class Fit(NamedTuple):
    """The transforms fitted to segmentations.

    Attributes:
        maps: the segmentations.
        parameters: transform parameters (B, 6) about the centre of the heart.
        precision: their inverse variance (B, 6); 0 for a slice without structures.
        theta: the transforms (B, 2, 3).
    """

    maps: SegmentationMaps
    parameters: Tensor
    precision: Tensor
    theta: Tensor


def align(maps: SegmentationMaps, limits: Tensor, steps: int) -> Fit:
    """Align segmentations, each slice by itself, with a prior about the identity.

    Args:
        maps: the segmentations.
        limits: the largest absolute value (6,) of each transform parameter.
        steps: number of Gauss-Newton steps after the initialisation from the structures' centroids.
    """
    limits = limits.to(maps.start.device)
    with computing_in(torch.float32, maps.start.device):
        start = torch.cat([torch.zeros_like(maps.start).repeat(1, 2), maps.start.clamp(-limits[4:], limits[4:])], 1)
        prior = Prior(torch.zeros_like(start), constant(PATIENT_SD, start.device))
        parameters, precision = fit(Evidence(maps.centre, maps), start, prior, limits, steps)
        return Fit(maps, parameters, precision, about(theta_from_parameters(parameters), maps.centre))


def fit(evidence: Evidence, parameters: Tensor, prior: Prior, limits: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return the transform parameters (B, 6) after `steps` steps and their precision (B, 6) from segmentations.

    It must be called in 32 bits. In 16 bits the sampling grid has errors of half a millimetre.
    """
    precision = torch.zeros_like(parameters)
    with torch.no_grad():
        for _ in range(steps - 1):
            parameters = _step(evidence, parameters, prior)[0].clamp(-limits, limits)
    if steps > 0:
        parameters, precision = _step(evidence, parameters, prior)
        parameters = parameters.clamp(-limits, limits)
    return parameters, precision.detach()


def fit_together(evidence: Evidence, parameters: Tensor, prior: Prior, limits: Tensor, steps: int) -> Tensor:
    """Return the transform parameters (1, 6) that all slices have in common, after `steps` steps.

    The normal equations are summed over the slices, each divided by its variance. The prior counts once.

    Args:
        evidence: what the transforms are fitted to.
        parameters: initial transform parameters (1, 6).
        prior: prior with the mean (1, 6).
        limits: the largest absolute value (6,) of each transform parameter.
        steps: number of Gauss-Newton steps.
    """
    for _ in range(steps):
        each = _equations(evidence, parameters.expand(len(evidence.centre), -1))
        information = 1 / (each.variance + DAMPING)
        curvature = (information[:, :, None] * each.curvature).sum(0) + torch.diag(1 / prior.sd**2)
        downhill = (information * each.downhill).sum(0) - (parameters - prior.mean)[0] / prior.sd**2
        parameters = (parameters + torch.linalg.solve_ex(curvature, downhill)[0]).clamp(-limits, limits)
    return parameters


def _step(evidence: Evidence, parameters: Tensor, prior: Prior) -> tuple[Tensor, Tensor]:
    """Return the transform parameters (B, 6) after a Gauss-Newton step and their precision from segmentations."""
    equations = _equations(evidence, parameters)
    prior_weight = equations.variance / prior.sd**2 + DAMPING
    curvature = equations.curvature + torch.diag_embed(prior_weight)
    downhill = equations.downhill - prior_weight * (parameters - prior.mean)
    return parameters + torch.linalg.solve_ex(curvature, downhill)[0], equations.precision


class _Equations(NamedTuple):
    """The normal equations of the data for each slice, without the prior.

    Attributes:
        curvature: J J^T / n (B, 6, 6).
        downhill: J r / n (B, 6).
        variance: r / m (B, 1).
        precision: inverse variance of the parameters (B, 6) from segmentations.
    """

    curvature: Tensor
    downhill: Tensor
    variance: Tensor
    precision: Tensor


def _equations(evidence: Evidence, parameters: Tensor) -> _Equations:
    """Return the normal equations of all maps at transform parameters (B, 6). Without any maps they are 0."""
    centre = evidence.centre
    theta, factor = about(theta_from_parameters(parameters), centre), directions(parameters, centre)
    curvature, slope = torch.zeros_like(factor), torch.zeros_like(parameters)
    weight, variance, precision = torch.ones_like(parameters[:, 0]), torch.zeros_like(parameters[:, :1]), slope
    if (maps := evidence.segmentations) is not None:
        weight = 1 / (maps.area + LEAST_PIXELS)
        places = moved_centres(theta, maps.cine.shape[-1])
        compared = _compare(maps.cine, maps.lge, places)
        variance = (weight * compared[0].detach().square().sum((1, 2, 3)) / OBSERVATIONS).unsqueeze(1)
        moments, slope = normal_equations(*compared, monomials(maps.cine.shape[-1], places.device))
        curvature = factor @ moments @ factor.mT
        precision = weight[:, None] * curvature.diagonal(dim1=1, dim2=2).detach() / (variance + DAMPING)
    if (further := evidence.descriptors) is not None:
        rows, columns = further.box
        places = moved_centres(theta, further.lge.shape[-1])[:, rows, columns]
        compared = _compare(further.cine, further.lge, places)
        counts = further.counts.square() * values_at(further.shown, places).squeeze(1)
        if maps is None:
            weight = 1 / (counts.sum((1, 2)) + LEAST_PIXELS)
            residual = (compared[0].square().sum(1) * counts).sum((1, 2)) / further.weight**2
            variance = (weight * residual / OBSERVATIONS).unsqueeze(1)
        powers = monomials(further.lge.shape[-1], places.device)[:, rows, columns]
        moments, added = normal_equations(*compared, powers, counts)
        curvature, slope = curvature + factor @ moments @ factor.mT, slope + added
    downhill = weight[:, None] * (factor @ slope.unsqueeze(-1)).squeeze(-1)
    return _Equations(weight[:, None, None] * curvature, downhill, variance, precision)


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
