"""The application of a model to the slices of a patient: the network, then the stages of the registration."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from jointnet.common_grid import SIZE_PX
from jointnet.compute.device import computing_in
from jointnet.compute.maps import block_means, box_maxima, likeliest
from jointnet.geometry import bounding_box
from jointnet.networks.output import Output
from jointnet.networks.registration import register
from jointnet.settings import Settings
from jointnet.structures import STRUCTURES


class Prediction(NamedTuple):
    """The prediction of a model for S slices of the common grid.

    Attributes:
        theta: affines (S, 2, 3) from cine to LGE coordinates.
        cine_labels, lge_labels: class indices (S, H, W); None if the model does not segment.
        structures: the structures that a model that segments looks for.
    """

    theta: NDArray[np.float32]
    cine_labels: NDArray[np.uint8] | None
    lge_labels: NDArray[np.uint8] | None
    structures: tuple[str, ...] = STRUCTURES


def predict(
    model: nn.Module,
    images: np.ndarray,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
    field: NDArray[np.bool_] | None = None,
    heart_mm: tuple[float, float] | None = None,
) -> Prediction:
    """Apply a model to images (S, 2, H, W) of one patient on the common grid, cine first.

    Args:
        model: a model of `jointnet.networks`. It is applied in evaluation mode; its mode is restored afterwards.
        images: the images.
        device: the device the model runs on.
        precision: the type the network computes in. The stages after it compute in 32 bits.
        field: the pixels (S, H, W) that both scans show; if None, those where an image is above 0.
        heart_mm: where the heart is, for models that do not segment: column and row in mm from the centre of the field
            of view. If None, the heart is in the middle of `field`.
    """
    settings: Settings = model.settings  # type: ignore[assignment]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            pair = network_images(images, settings.training.downsampling, device)
            indices = neighbour_indices(len(images), settings.model.neighbours, device)
            inputs = pair[indices]
            with computing_in(precision, inputs.device):
                output: Output = model(inputs[:, :, 0], inputs[:, :, 1])
            shown = _shown(pair) if field is None else torch.from_numpy(np.array(field)).to(device)
            theta = register(output, pair, settings, shown, heart_mm)
            labels = [None if logits is None else _labels(logits) for logits in (output.cine_logits, output.lge_logits)]
            return Prediction(theta.float().cpu().numpy(), labels[0], labels[1], settings.model.structures)
    finally:
        model.train(training)


def _shown(images: Tensor) -> Tensor:
    """Return the pixels (S, H, W) at most one pixel from where an image (S, 2, H, W) is above 0."""
    return box_maxima(images.amax(1, keepdim=True), 3).squeeze(1) > 0


def _labels(logits: Tensor) -> NDArray[np.uint8]:
    """Return the most likely class (S, H, W) on the common grid of class scores (S, C, h, w), interpolated bilinearly.

    Between background pixels the interpolated class is background as well. So only the bounding box of the other
    classes, with a margin of one pixel, is interpolated.
    """
    block = SIZE_PX // logits.shape[-1]
    coarse = likeliest(logits)
    if block == 1:
        return coarse.cpu().numpy()
    labels = np.zeros((len(logits), SIZE_PX, SIZE_PX), np.uint8)
    box = bounding_box(coarse > 0, 1)
    if box is not None:
        rows, columns = box
        part = F.interpolate(logits[:, :, rows, columns].float(), scale_factor=block, mode="bilinear")
        fine_rows, fine_columns = (slice(block * each.start, block * each.stop) for each in (rows, columns))
        labels[:, fine_rows, fine_columns] = likeliest(part).cpu().numpy()
    return labels


def network_images(images: np.ndarray, downsampling: int, device: torch.device | str) -> Tensor:
    """Return images (S, 2, h, w) float32 at the networks' resolution from the common grid's (S, 2, H, W)."""
    as_stored = np.float16 if images.dtype == np.float16 else np.float32  # torch converts float16 faster than numpy
    copied = torch.from_numpy(np.array(images, dtype=as_stored)).to(device)
    return block_means(copied.float(), downsampling)


def neighbour_indices(slices: int, neighbours: int, device: torch.device | str = "cpu") -> Tensor:
    """Return the indices (slices, 1 + 2 neighbours) of each slice and its neighbours, clamped to the stack."""
    offsets = torch.arange(-neighbours, neighbours + 1, device=device)
    return (torch.arange(slices, device=device)[:, None] + offsets).clamp(0, slices - 1)
