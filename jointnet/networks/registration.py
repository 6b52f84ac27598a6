"""The stages that follow a network's prediction: pooling over the slices of a patient, and refinement.

A network registers each slice alone. Slices of a patient differ only by breath-holds, so *pooling* shrinks each slice's
transform towards the patient's mean transform. That is a mean over slices, weighted by each slice's precision and
robust against outliers. The guided head's precision comes from its fit; a fully connected head has the same precision
in every slice.

*Refinement* aligns MIND descriptors of the images, together with the segmentations if there are any, by Gauss-Newton
steps with a prior about the pooled transform. Descriptors add detail that segmentations lack, but need a good initial
alignment. They count within and just around the segmented heart. Without segmentations they count within a disc about
the middle of the region that both scans show, or about a given point. Near the rim of that region nothing counts, in
either image.

Without a network (`model.name = "descriptors"`) the refinement starts with a search of the patient's translation on the
pixels of the maps.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.alignment.gauss_newton import (
    DAMPING,
    OBSERVATIONS,
    PATIENT_SD,
    Evidence,
    Fit,
    Prior,
    fit,
    fit_together,
)
from jointnet.alignment.guide_maps import (
    GUIDE_PX,
    LEAST_PIXELS,
    DescriptorMaps,
    SegmentationMaps,
    descriptor_maps,
    guide_map,
    segmentation_maps,
)
from jointnet.alignment.mind import mind_descriptors
from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.compute.device import computing_in, constant
from jointnet.compute.maps import block_means, box_maxima
from jointnet.geometry import about, centres, parameters_from_theta, theta_from_parameters
from jointnet.models import model_of
from jointnet.networks.affine_head import transform_limits
from jointnet.networks.output import Output
from jointnet.settings import Settings

SLICE_SD = (math.radians(2), 0.045, 0.045, 0.015, 2 / HALF_EXTENT_MM, 2 / HALF_EXTENT_MM)
"""SD of a slice's transform parameters about the patient's mean, in the units of `PATIENT_SD`. Alignment of manual
labels of the phantom and of real training patients gave 1.2 to 1.7 degrees, 0.04, 0.01 and 1.1 to 2.1 mm."""
PREDICTION_SD = tuple(1.5 * sd for sd in SLICE_SD)
"""SD of the error of a fully connected head's transform parameters in one slice. With this value, pooling pulls a slice
by 70 % to the patient's mean, which improved the stand-alone model on real patients as much as any share."""
ROBUST_ROUNDS = 3
REFINEMENT = 2
"""Factor of the number of steps in the refinement. MIND descriptors have a smaller capture range than areas."""
MARGIN_PX = 7
"""Side of the square by which the heart is dilated to get the region of the descriptors: 3 pixels (9 mm) each way."""
DISC_MM = 50.0
"""Radius of the disc in which descriptors count without segmentations."""
RIM_PX = 7
"""Side of the square by which the region that both scans show is eroded: 3 pixels (9 mm) each way. The rim of a scan
is an edge in its descriptors that is not anatomy."""


def register(
    output: Output, images: Tensor, settings: Settings, field: Tensor, heart_mm: tuple[float, float] | None = None
) -> Tensor:
    """Apply pooling and refinement to the prediction for all slices of a patient and return theta (S, 2, 3).

    Args:
        output: the network's prediction.
        images: images (S, 2, H, W) at the network's resolution, cine first.
        settings: the settings of the model.
        field: the pixels (S, H', W') that both scans show, with a side that `GUIDE_PX` divides.
        heart_mm: column and row in mm from the centre of the field of view where the heart is. If None, it is in the
            middle of `field`. It has no effect if there are segmentations.
    """
    stages = settings.registration
    if stages.pooling == "independent" and stages.refinement == "none":
        return output.theta
    with computing_in(torch.float32, images.device):
        limits = transform_limits(settings.model).to(images.device)
        maps = _segmentations(output)
        pooled = stages.pooling == "patient"
        centre = _centre(field, heart_mm, pooled) if maps is None else maps.centre
        descriptors = None
        if stages.refinement == "descriptors":
            described = [mind_descriptors(images[:, [image]], GUIDE_PX) for image in (0, 1)]
            shown = _within_rim(field)
            counts = shown * (_disc(centre, GUIDE_PX) if maps is None else _around_heart(maps))
            descriptors = descriptor_maps(described[0], described[1], counts, shown, stages.descriptor_weight)
        evidence = Evidence(centre, maps, descriptors)
        steps = settings.model.guide_steps * (1 if stages.refinement == "none" else REFINEMENT)
        if output.fit is not None and maps is not None:
            parameters = _from_fit(output.fit, evidence, limits, steps, pooled)
        else:
            searched = output.fit is not None or not model_of(settings.model.name).trained
            theta = about(output.theta.float(), -centre)
            parameters = _from_prediction(
                parameters_from_theta(theta), searched, evidence, limits, steps, pooled, stages.refinement != "none"
            )
        return about(theta_from_parameters(parameters), centre)


def patient_mean_parameters(parameters: Tensor, precision: Tensor) -> Tensor:
    """Return the mean transform parameters (6,) of the slices of a patient.

    This is a weighted mean with a normal prior about the identity. Outlying slices get less weight, as with a Cauchy
    error distribution.

    Args:
        parameters: transform parameters of each slice (S, 6).
        precision: their inverse variance (S, 6); 0 for a slice without structures.
    """
    variance = 1 / precision.clamp(min=1e-6) + constant(SLICE_SD, parameters.device) ** 2
    prior = 1 / constant(PATIENT_SD, parameters.device) ** 2
    weight = 1 / variance
    mean = (weight * parameters).sum(0) / (weight.sum(0) + prior)
    for _ in range(ROBUST_ROUNDS):
        robust = weight / (1 + (parameters - mean) ** 2 / variance)
        mean = (robust * parameters).sum(0) / (robust.sum(0) + prior)
    return mean


def _from_fit(start: Fit, evidence: Evidence, limits: Tensor, steps: int, pooled: bool) -> Tensor:
    """Return transform parameters (S, 6) fitted to all evidence, starting from the guided head's fit."""
    parameters = start.parameters
    prior = Prior(torch.zeros_like(parameters), constant(PATIENT_SD, parameters.device))
    if pooled:
        parameters = patient_mean_parameters(parameters, start.precision).expand_as(parameters)
        prior = Prior(parameters, constant(SLICE_SD, parameters.device))
    return fit(evidence, parameters, prior, limits, steps)[0]


def _from_prediction(
    parameters: Tensor, searched: bool, evidence: Evidence, limits: Tensor, steps: int, pooled: bool, refined: bool
) -> Tensor:
    """Return transform parameters (S, 6) from those that a network predicted without a fit, or from the identity.

    Args:
        parameters: transform parameters (S, 6) about the evidence's centre.
        searched: whether no network predicted them, so that the translation is searched.
        evidence: what the transforms are fitted to.
        limits: the largest absolute value (6,) of each transform parameter.
        steps: number of Gauss-Newton steps.
        pooled: whether to shrink the slices towards the patient's transform.
        refined: whether to fit the transforms to the evidence.
    """
    uncertain = constant(PATIENT_SD if searched else PREDICTION_SD, parameters.device)
    between = constant(SLICE_SD, parameters.device)
    if not pooled:
        shift = _search(evidence.descriptors, limits, False) if searched else 0
        return fit(evidence, parameters + shift, Prior(parameters, uncertain), limits, steps)[0]
    mean = patient_mean_parameters(parameters, torch.ones_like(parameters) / uncertain**2)
    shrunk = mean + (parameters - mean) * between**2 / (between**2 + uncertain**2)
    if not refined:
        return shrunk
    prior = Prior(mean[None], uncertain)
    first = prior.mean + (_search(evidence.descriptors, limits, True) if searched else 0)
    shrunk = shrunk + fit_together(evidence, first, prior, limits, steps) - mean
    return fit(evidence, shrunk, Prior(shrunk, between), limits, steps)[0]


def _search(descriptors: DescriptorMaps | None, limits: Tensor, together: bool) -> Tensor | float:
    """Return the transform parameters of the best translation by whole pixels, of all slices (1, 6) or each (S, 6).

    The sum of squared differences at every translation follows from correlations. A translation by which more than half
    of the pixels that count in cine meet none that counts in LGE is not considered.
    """
    if descriptors is None:
        return 0.0
    cine, counts = descriptors.cine, descriptors.counts.square()
    rows, columns = descriptors.box
    size_px, slices = descriptors.lge.shape[-1], len(cine)
    reach = max(1, size_px // 7)
    maps = torch.cat([descriptors.shown, descriptors.shown * descriptors.lge[:, : cine.shape[1]]], 1)
    maps = F.pad(maps, (reach, reach, reach, reach))
    maps = maps[:, :, rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
    shown, lge = maps[:, 0], maps[:, 1:]
    products = F.conv2d(lge.flatten(0, 1)[None], cine * counts[:, None], groups=slices)[0]
    lge_squares = F.conv2d(lge.square().sum(1)[None], counts[:, None], groups=slices)[0]
    cine_squares = F.conv2d(shown[None], (cine.square().sum(1) * counts)[:, None], groups=slices)[0]
    pixels = F.conv2d(shown[None], counts[:, None], groups=slices)[0]
    residual = (cine_squares + lge_squares - 2 * products) / (pixels + LEAST_PIXELS)
    residual = residual.masked_fill(pixels < counts.sum((1, 2))[:, None, None] / 2, torch.inf)
    least = residual.amin((1, 2), keepdim=True) / descriptors.weight**2 / OBSERVATIONS
    cost = residual / (least + DAMPING)
    shifts = torch.arange(-reach, reach + 1, device=cine.device) * (2 / size_px)
    cost = cost.sum(0, keepdim=True) if together else cost
    sd = PATIENT_SD[4:]
    cost = cost + (shifts / sd[0]).square() + (shifts / sd[1]).square()[:, None]
    best = cost.flatten(1).argmin(1)
    translation = torch.stack([shifts[best % len(shifts)], shifts[best // len(shifts)]], 1).clamp(
        -limits[4:], limits[4:]
    )
    return torch.cat([torch.zeros_like(translation).repeat(1, 2), translation], 1)


def _segmentations(output: Output) -> SegmentationMaps | None:
    """Return the maps of the predicted segmentations.

    None if the network does not segment, or if both images of the patient together show almost no structure, as early
    in a training with few patients. The refinement then uses no segmentations.
    """
    if output.fit is not None:
        maps = output.fit.maps
    elif output.cine_logits is None or output.lge_logits is None:
        return None
    else:
        maps = segmentation_maps(guide_map(output.cine_logits), guide_map(output.lge_logits))
    return maps if maps.area.mean() >= LEAST_PIXELS else None


def _around_heart(maps: SegmentationMaps) -> Tensor:
    """Return the weight of each pixel (S, H, W): cine's dilated heart times the share of it that LGE also shows."""
    shared = maps.area / (maps.heart.sum((1, 2, 3)) + LEAST_PIXELS)
    return (box_maxima(maps.heart, MARGIN_PX) * shared.detach()[:, None, None, None]).squeeze(1)


def _disc(centre: Tensor, size_px: int) -> Tensor:
    """Return the weight of each pixel (S, size_px, size_px): 1 in the disc about `centre` (S, 2), else 0."""
    apart = centres(size_px, centre.device) - centre[:, None, None]
    return (apart.square().sum(-1) < (DISC_MM / HALF_EXTENT_MM) ** 2).float()


def _within_rim(field: Tensor) -> Tensor:
    """Return 1 for pixels (S, `GUIDE_PX`, `GUIDE_PX`) inside the rim of the common field (S, H, W), else 0.

    The descriptors of these pixels do not depend on what is outside the field.
    """
    shown = block_means(field.float()[:, None], field.shape[-1] // GUIDE_PX)
    return 1 - box_maxima((shown < 1).float(), RIM_PX).squeeze(1)


def _centre(field: Tensor, heart_mm: tuple[float, float] | None, together: bool) -> Tensor:
    """Return the given point (S, 2), or the middle of the pixels (S, H, W) that both scans show.

    It is the middle over all slices if they are registered `together`, otherwise that of each slice.
    """
    if heart_mm is not None:
        return torch.tensor(heart_mm, device=field.device).div(HALF_EXTENT_MM).expand(len(field), 2)
    shown = field.float().sum(0, keepdim=True) if together else field.float()
    total = (centres(field.shape[-1], field.device) * shown[..., None]).sum((1, 2))
    middle = total / shown.sum((1, 2)).clamp(min=1)[:, None]
    return middle.expand(len(field), 2)
