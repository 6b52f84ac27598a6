"""The best affine that could have been found: fitted to the manual labels of each slice, as no model may.

It is a floor to measure models against, never a result: `achieved` gives the share of the reduction that was possible.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from jointnet.networks.affine_head import motion_limits
from jointnet.networks.guide import align
from jointnet.pooling import block_means
from jointnet.prediction import Prediction
from jointnet.settings import ModelSettings
from jointnet.structures import CLASSES

STEPS = 12
MAP_PIXELS = 4
"""Side of a block of common-grid pixels in the maps that are aligned: 3 mm, whose averages hold sub-pixel positions."""


def oracle(labels: NDArray[np.uint8], settings: ModelSettings | None = None) -> Prediction:
    """Give the affine of each slice that aligns its manual labels, by Gauss-Newton within the models' own limits.

    Args:
        labels: class codes (S, 2, H, W) of one patient, cine first.
        settings: whose limits hold; the defaults where None.
    """
    codes = torch.from_numpy(np.array(labels))
    maps = torch.stack([(codes == code).float() for code in range(1, CLASSES)], 2)
    cine, lge = (block_means(maps[:, image], MAP_PIXELS) for image in (0, 1))
    with torch.inference_mode():
        theta = align(cine, lge, motion_limits(settings or ModelSettings()), STEPS)
    return Prediction(theta.numpy(), None, None)


def achieved(before: float, after: float, floor: float) -> float:
    """Give the share of the achievable reduction, (before - after) / (before - floor); NaN where none was possible."""
    return (before - after) / (before - floor) if before > floor else float("nan")
