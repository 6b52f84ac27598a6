"""The paper's dual loss of one branch, and the weighted sum over the branches.

Equation 2: branch = alpha * cross-entropy + (1 - alpha) * Dice loss.
Equation 3: total = lambda_1 * registration + lambda_2 * cine segmentation + lambda_3 * LGE segmentation, and the user's
own terms.

Targets are class probabilities. They lie between 0 and 1 if a coarser pixel contains several classes.

Outside the common field of the two images nothing can be seen. Its pixels do not count in the segmentation loss, and a
structure that it cuts does not count in the slice's registration loss.

A structure that was not drawn is not background. Its label map is 0, so that it does not count in the registration
loss; `segmentation_loss` states what it does to the segmentation.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.batches.augmentation import Batch
from jointnet.compute.maps import box_maxima
from jointnet.errors import SettingsError, short_repr
from jointnet.geometry import warp
from jointnet.networks.output import Output
from jointnet.own_code import name_in, named
from jointnet.settings import LossSettings

LABEL_SMOOTHING = 0.1
"""Share of the uniform distribution that is mixed into a warped label map before its logarithm. The map is exactly 0
outside the structure, and log 0 would dominate the loss."""
DICE_SMOOTHING_PX = 1.0
"""Pixels added to numerator and denominator of the soft Dice, so that two empty maps have a Dice of 1."""


def cross_entropy(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy per sample (B,), mean over pixels.

    Both arguments have shape (B, C, H, W): log-probabilities and target probabilities.
    """
    pixels = target.shape[2] * target.shape[3]
    return -(target * log_probabilities).sum((1, 2, 3)) / pixels


def soft_dice_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """Return the soft Dice loss of every channel (B, C) of probabilities and target probabilities (B, C, H, W)."""
    overlap = 2 * (probabilities * target).sum((2, 3)) + DICE_SMOOTHING_PX
    return 1 - overlap / (probabilities.sum((2, 3)) + target.sum((2, 3)) + DICE_SMOOTHING_PX)


def segmentation_loss(logits: Tensor, target: Tensor, field: Tensor, alpha: float, labelled: Tensor) -> Tensor:
    """Return the dual loss (a scalar) of logits and target probabilities, both (B, C, H, W), of one image of each pair.

    It is the marginal loss: where a structure is not labelled, its pixels are among those of the background, so its
    probability is added to that of the background, and its Dice is left out. An image in which no structure is labelled
    has no influence. The loss is the mean over the other images.

    Pixels outside the common field (B, 1, H, W) have a loss of 0. The cross-entropy is still the mean over all pixels,
    so that the weight of a pixel does not depend on the size of the field.

    Args:
        logits: class scores.
        target: class probabilities, 0 for structures that are not labelled.
        field: the common field.
        alpha: share of the cross-entropy.
        labelled: 1 for the structures that are labelled in the image, else 0, (B, structures) by class.
    """
    log_probabilities = F.log_softmax(logits.float(), 1)
    counted = target * field
    entropy = cross_entropy(_marginal(log_probabilities, labelled), counted)
    structures = labelled.sum(1, keepdim=True)
    weights = labelled * (labelled.shape[1] / structures.clamp(min=1))  # exactly 1 where all are labelled
    dice = (soft_dice_loss(log_probabilities.exp() * field, counted)[:, 1:] * weights).mean(1)
    seen = (structures[:, 0] > 0).float()
    return ((alpha * entropy + (1 - alpha) * dice) * (seen * (len(seen) / seen.sum().clamp(min=1)))).mean()


def _marginal(log_probabilities: Tensor, labelled: Tensor) -> Tensor:
    """Return log-probabilities (B, C, H, W) with that of background or any structure that is not labelled first."""
    if labelled.device.type == "cpu" and labelled.all():  # not on a GPU, which would wait
        return log_probabilities
    unlabelled = torch.cat([torch.ones_like(labelled[:, :1]), 1 - labelled], 1)
    merged = log_probabilities.masked_fill(unlabelled[:, :, None, None] == 0, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([merged, log_probabilities[:, 1:]], 1)


def counted_structures(cine: Tensor, lge: Tensor, field: Tensor) -> Tensor:
    """Return which structures count in the registration loss of each slice pair, as bool (B, structures) by class.

    These are the structures that both label maps (B, C, H, W) show and that the common field (B, 1, H, W) does not cut,
    as in `jointnet.preparation.counted_structures`: no pixel that is mostly of the structure lies outside the field or
    beside a pixel outside.
    """
    outside = F.pad(1 - field, (1, 1, 1, 1), value=1.0)
    at_edge = box_maxima(outside, 3)[:, :, 1:-1, 1:-1]
    maps = torch.cat([cine[:, 1:], lge[:, 1:]], 1)
    counted = (maps.amax((2, 3)) > 0) & ~((maps * at_edge).amax((2, 3)) > 0.5)
    of_cine, of_lge = counted.chunk(2, 1)
    return of_cine & of_lge


def registration_loss(theta: Tensor, cine: Tensor, lge: Tensor, field: Tensor, alpha: float) -> Tensor:
    """Return the dual loss (a scalar) of the LGE label map, warped by theta (B, 2, 3), against the cine label map.

    Label maps have shape (B, C, H, W). Structures that are missing in either slice or cut by the common field
    (B, 1, H, W) are left out, because no transform can align them. Slices in which none is left have no influence.
    """
    shared = counted_structures(cine, lge, field).float()
    kept = shared[:, :, None, None]
    moved, wanted = warp(lge[:, 1:] * kept, theta), cine[:, 1:] * kept
    target = torch.cat([1 - wanted.sum(1, keepdim=True), wanted], 1)
    structures = shared.sum(1)
    dice = (soft_dice_loss(moved, wanted) * shared).sum(1) / structures.clamp(min=1)
    probabilities = torch.cat([1 - moved.sum(1, keepdim=True), moved], 1)
    smooth = (1 - LABEL_SMOOTHING) * probabilities + LABEL_SMOOTHING / probabilities.shape[1]
    counted = (structures > 0).float()
    branch = counted * (alpha * cross_entropy(smooth.log(), target) + (1 - alpha) * dice)
    return branch.sum() / counted.sum().clamp(min=1)


def branch_losses(
    output: Output, cine: Tensor, lge: Tensor, field: Tensor, labelled: Tensor, settings: LossSettings
) -> dict[str, Tensor]:
    """Return the loss of each branch of the model: `registration`, and `cine` and `lge` if it segments.

    Args:
        output: the model's output for B slice pairs.
        cine: label map (B, C, H, W).
        lge: label map (B, C, H, W).
        field: the common field (B, 1, H, W), 1 inside and 0 outside.
        labelled: 1 for the structures that are labelled in each image, else 0, (B, 2, structures) by class, cine first.
        settings: the weights.
    """
    losses = {"registration": registration_loss(output.theta, cine, lge, field, settings.alpha)}
    if output.cine_logits is not None and output.lge_logits is not None:
        losses["cine"] = segmentation_loss(output.cine_logits, cine, field, settings.alpha, labelled[:, 0])
        losses["lge"] = segmentation_loss(output.lge_logits, lge, field, settings.alpha, labelled[:, 1])
    return losses


class LossTerm(Protocol):
    """The user's own term of the loss."""

    def __call__(self, output: Output, batch: Batch) -> Tensor:
        """Return the loss, a scalar, of the network's output for a batch, from which it was computed."""
        ...


def own_losses(output: Output, batch: Batch, settings: LossSettings) -> dict[str, Tensor]:
    """Return the user's own terms by name.

    Raises:
        SettingsError: if one is not found, or does not return a scalar.
    """
    losses = {}
    for reference, _ in settings.terms:
        term: LossTerm = named(reference)
        loss = losses[name_in(reference)] = term(output, batch)
        if not isinstance(loss, Tensor) or loss.ndim:
            raise SettingsError(f"loss.terms: {reference} must return a scalar tensor, got {short_repr(loss)}")
    return losses


def weighted_losses(losses: dict[str, Tensor], settings: LossSettings) -> dict[str, Tensor]:
    """Return the loss of each branch times its lambda, and each own term times its weight. They are not normalised."""
    weights = {"registration": settings.lambda_1, "cine": settings.lambda_2, "lge": settings.lambda_3}
    weights |= {name_in(reference): weight for reference, weight in settings.terms}
    return {name: weights[name] * loss for name, loss in losses.items()}
