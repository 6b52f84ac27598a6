"""Registration by SimpleITK, without annotation or training: a translation of each slice by mutual information.

SimpleITK is an optional package: `pip install -e '.[benchmark]'`.
"""

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from jointnet.common_grid import HALF_EXTENT_MM, PIXEL_MM
from jointnet.evaluate.rows import EvaluatedPatient
from jointnet.networks.apply import Prediction

RIM_PX = 24
"""Width of the common field's rim that is ignored. An edge of the field is no anatomy and would bias the result."""
BINS = 32


def is_installed() -> bool:
    """Return whether SimpleITK is installed."""
    return find_spec("SimpleITK") is not None


def mutual_information(patient: EvaluatedPatient) -> Prediction:
    """Register each slice: a translation that maximises Mattes mutual information, on two levels.

    A slice in which the optimisation fails, such as one without overlap, is not moved. One thread makes the result
    independent of the machine's number of cores.
    """
    images = np.asarray(patient.images(), dtype=np.float32)
    thetas = [_theta(cine, lge, field) for (cine, lge), field in zip(images, patient.field(), strict=True)]
    return Prediction(np.stack(thetas), None, None)


def _theta(cine: NDArray[np.float32], lge: NDArray[np.float32], field: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the affine (2, 3) of one slice with its common field (H, W)."""
    import SimpleITK as sitk  # noqa: N813  the usual import name

    fixed, moving = sitk.GetImageFromArray(cine), sitk.GetImageFromArray(lge)
    for image in (fixed, moving):
        image.SetSpacing((PIXEL_MM, PIXEL_MM))
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    shown = sitk.BinaryErode(sitk.GetImageFromArray(field.astype(np.uint8)), (RIM_PX,) * 2)
    shown.CopyInformation(fixed)
    method.SetMetricFixedMask(shown)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.05, 100)
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2, 1])
    method.SetInitialTransform(sitk.TranslationTransform(2))
    theta = np.eye(2, 3, dtype=np.float32)
    try:
        shift_mm = method.Execute(fixed, moving).GetParameters()
    except RuntimeError:  # SimpleITK's only error
        return theta
    theta[:, 2] = np.array(shift_mm[-2:]) / HALF_EXTENT_MM
    return theta
