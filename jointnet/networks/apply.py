"""The input and output of the models, and their application to the slices of a patient."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from jointnet.common_grid import SIZE_PX
from jointnet.cpu_kernels.maps import block_means, likeliest
from jointnet.geometry import bounding_box
from jointnet.networks.device import computing_in


class Output(NamedTuple):
    """Prediction for a batch of B slice pairs.

    Attributes:
        theta: affine (B, 2, 3) from cine to LGE coordinates, see `jointnet.geometry`.
        cine_logits, lge_logits: class scores (B, C, H, W) of each image, or None if the model does not segment.
    """

    theta: Tensor
    cine_logits: Tensor | None = None
    lge_logits: Tensor | None = None


class Prediction(NamedTuple):
    """The prediction of a model for S slices of the common grid.

    Attributes:
        theta: affines (S, 2, 3) from cine to LGE coordinates.
        cine_labels, lge_labels: class indices (S, H, W); None if the model does not segment.
    """

    theta: NDArray[np.float32]
    cine_labels: NDArray[np.uint8] | None
    lge_labels: NDArray[np.uint8] | None


def predict(
    model: nn.Module,
    images: np.ndarray,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> Prediction:
    """Apply a model to images (S, 2, H, W) of one patient on the common grid, cine first.

    The network computes in `precision` and in evaluation mode. Its previous mode is restored afterwards.
    """
    downsampling = int(model.downsampling)  # type: ignore[arg-type]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            indices = neighbour_indices(len(images), int(model.neighbours), device)  # type: ignore[arg-type]
            inputs = network_images(images, downsampling, device)[indices]
            with computing_in(precision, inputs.device):
                output = model(inputs[:, :, 0], inputs[:, :, 1], same_patient=True)
            labels = [None if logits is None else _labels(logits) for logits in (output.cine_logits, output.lge_logits)]
            return Prediction(output.theta.float().cpu().numpy(), labels[0], labels[1])
    finally:
        model.train(training)


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
