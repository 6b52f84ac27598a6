"""Oracle registration: the affine of each slice fitted to its manual labels, which models must not use.

It is the best affine that Gauss-Newton finds for soft label maps, for comparison. It is neither a bound of any metric
nor a result.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from jointnet.alignment.gauss_newton import align
from jointnet.alignment.guide_maps import segmentation_maps
from jointnet.compute.maps import block_means
from jointnet.networks.affine_head import transform_limits
from jointnet.networks.apply import Prediction
from jointnet.settings import ModelSettings
from jointnet.structures import CLASSES

STEPS = 12
MAP_PIXELS = 4
"""Side, in common-grid pixels, of a pixel of the aligned maps: 3 mm. Block means keep sub-pixel positions."""


def oracle(labels: NDArray[np.uint8]) -> Prediction:
    """Fit the affine of each slice to its manual labels by Gauss-Newton, within the default transform limits.

    Args:
        labels: label maps (S, 2, H, W) of one patient, cine first, with the values of `structures.CLASS_INDEX`.
    """
    indices = torch.from_numpy(np.array(labels))
    maps = torch.stack([(indices == index).float() for index in range(1, CLASSES)], 2)
    cine, lge = (block_means(maps[:, image], MAP_PIXELS) for image in (0, 1))
    with torch.inference_mode():
        theta = align(segmentation_maps(cine, lge), transform_limits(ModelSettings()), STEPS).theta
    return Prediction(theta.numpy(), None, None)
