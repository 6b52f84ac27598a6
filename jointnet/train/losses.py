"""The paper's dual loss of one branch, and the weighted sum over the branches.

Equation 2: branch = alpha * cross-entropy + (1 - alpha) * Dice loss.
Equation 3: total = lambda_1 * registration + lambda_2 * cine segmentation + lambda_3 * LGE segmentation.

Targets are class probabilities. They lie between 0 and 1 if a coarser pixel contains several classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from jointnet.geometry import warp
from jointnet.networks.output import Output
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


def segmentation_loss(logits: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Return the dual loss (a scalar) of logits and target probabilities, both (B, C, H, W)."""
    log_probabilities = F.log_softmax(logits.float(), 1)
    entropy = cross_entropy(log_probabilities, target)
    dice = soft_dice_loss(log_probabilities.exp(), target)[:, 1:].mean(1)  # mean over the structures
    return (alpha * entropy + (1 - alpha) * dice).mean()


def registration_loss(theta: Tensor, cine: Tensor, lge: Tensor, alpha: float) -> Tensor:
    """Return the dual loss (a scalar) of the LGE label map, warped by theta (B, 2, 3), against the cine label map.

    Label maps have shape (B, C, H, W). Structures that are missing in either slice are left out, because no transform
    can align them. Slices without a common structure have no influence.
    """
    shared = ((cine[:, 1:].sum((2, 3)) > 0) & (lge[:, 1:].sum((2, 3)) > 0)).float()
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


def branch_losses(output: Output, cine: Tensor, lge: Tensor, settings: LossSettings) -> dict[str, Tensor]:
    """Return the loss of each branch of the model: `registration`, and `cine` and `lge` if it segments."""
    losses = {"registration": registration_loss(output.theta, cine, lge, settings.alpha)}
    if output.cine_logits is not None and output.lge_logits is not None:
        losses["cine"] = segmentation_loss(output.cine_logits, cine, settings.alpha)
        losses["lge"] = segmentation_loss(output.lge_logits, lge, settings.alpha)
    return losses


def weighted_losses(losses: dict[str, Tensor], settings: LossSettings) -> dict[str, Tensor]:
    """Return the loss of each branch times its lambda. The lambdas are not normalised."""
    weights = {"registration": settings.lambda_1, "cine": settings.lambda_2, "lge": settings.lambda_3}
    return {name: weights[name] * loss for name, loss in losses.items()}
