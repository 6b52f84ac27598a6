"""Scar detection by standard deviations above remote myocardium (n-SD) or by full width at half maximum (FWHM).

*n-SD* (Kim et al., Circulation 1999; 100:1992-2002; 5 SD: Bondarenko et al., J Cardiovasc Magn Reson 2005;
7:481-485): scar is brighter than mean + n SD of remote myocardium. The threshold is computed per slice, because slices
differ in brightness. Unless a mask of remote myocardium is given, it is the sector of `WINDOW_DEG` with the lowest mean
in each slice, among sectors that start every `STEP_DEG`. A slice whose darkest sector is more than `TOO_BRIGHT_SD`
above the median slice's is considered to be all scar, as is common at the apex; it takes the median of the other
slices. The choice of remote myocardium changes the n-SD result by half of its value (Heiberg et al., J Cardiovasc Magn
Reson 2022; 24:53). A heart that is all scar has no remote myocardium.

*FWHM* (Amado et al., J Am Coll Cardiol 2004; 44:2383-2389): scar is brighter than half of the maximum of the
hyper-enhanced region, and connected to that region. The region is the n-SD scar. For robustness its maximum is the
`MAXIMUM_PERCENTILE` of its pixels in the whole heart.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from jointnet.errors import DataError
from jointnet.scar import ScarSettings
from jointnet.scar.segments import Array, Labels, Spacing, angles
from jointnet.structures import CLASS_INDEX

Mask = NDArray[np.bool_]
Stack = NDArray[np.float32]

STEP_DEG = 15
WINDOW_DEG = 60
LEAST_PIXELS = 20
"""Smallest number of pixels, visible in LGE, of a sector of remote myocardium."""
TOO_BRIGHT_SD = 2.0
MAXIMUM_PERCENTILE = 95.0


def find_scar(
    lge: Stack, labels: Labels, spacing_mm: Spacing, settings: ScarSettings, remote: Mask | None = None
) -> Mask:
    """Return the scar mask.

    Args:
        lge: LGE (..., S, H, W), NaN outside its field of view.
        labels: label map (S, H, W), class indices.
        spacing_mm: distances between slices, rows and columns.
        settings: settings of the detection.
        remote: mask of remote myocardium (S, H, W); chosen automatically if None.

    Returns:
        The mask (..., S, H, W), within the myocardium that LGE shows. It is empty if no remote myocardium was found.

    Raises:
        DataError: if shapes differ, there is no myocardium, or the remote mask contains none of it.
    """
    _check(lge, labels, remote)
    muscle = labels == CLASS_INDEX["myo"]
    mean, sd = remote_statistics(lge, labels, spacing_mm, remote)
    enhanced = muscle & (lge > (mean + settings.n_sd * sd)[..., None, None])
    scar = without_islands(enhanced, spacing_mm, settings.smallest_mm2)
    if settings.method == "fwhm":
        scar = _above_half_maximum(lge, muscle, scar)
        scar = without_islands(scar, spacing_mm, settings.smallest_mm2)
    return with_cores(scar, labels, spacing_mm, settings.largest_core_mm2) & np.isfinite(lge)


def remote_statistics(
    lge: Stack, labels: Labels, spacing_mm: Spacing, remote: Mask | None = None
) -> tuple[Array, Array]:
    """Return mean and SD of remote myocardium per slice, each of shape (..., S).

    A slice without remote myocardium takes the median of the other slices. All values are NaN if no slice has any. If a
    mask is given, no slice is rejected as too bright.
    """
    batch, slices = lge.shape[:-3], len(labels)
    bins = 360 // STEP_DEG
    muscle = labels == CLASS_INDEX["myo"]
    if remote is None:
        sector = (np.degrees(angles(labels, spacing_mm)[muscle]) // STEP_DEG).astype(int) % bins
    else:
        muscle = muscle & remote
        bins, sector = 1, np.zeros(int(muscle.sum()), int)
    group = np.nonzero(muscle)[0] * bins + sector
    order = np.argsort(group, kind="stable")
    groups, starts = np.unique(group[order], return_index=True)
    values = lge[..., muscle][..., order].astype(np.float64)
    seen = np.isfinite(values)
    values = np.where(seen, values, 0)
    sums = np.zeros((3, *batch, slices * bins))
    for total, summand in zip(sums, (seen.astype(np.float64), values, values**2), strict=True):
        if len(groups):
            total[..., groups] = np.add.reduceat(summand, starts, axis=-1)
    sums = sums.reshape(3, *batch, slices, bins)
    width = 1 if remote is not None else WINDOW_DEG // STEP_DEG
    count, total, squares = sum(np.roll(sums, -shift, axis=-1) for shift in range(width))  # type: ignore[misc]
    enough = count >= (1 if remote is not None else LEAST_PIXELS)
    means = np.where(enough, total / np.maximum(count, 1), np.inf)
    chosen = np.argmin(means, axis=-1)[..., None]
    mean = np.take_along_axis(means, chosen, -1)[..., 0]
    spread = np.where(enough, squares / np.maximum(count, 1), 0) - np.where(enough, means, 0) ** 2
    sd = np.sqrt(np.maximum(np.take_along_axis(spread, chosen, -1)[..., 0], 0))
    valid = np.isfinite(mean)
    if remote is None:
        typical_mean, typical_sd = (_filled(values, valid, everywhere=True) for values in (mean, sd))
        valid &= ~(mean > typical_mean + TOO_BRIGHT_SD * typical_sd)
    return _filled(mean, valid), _filled(sd, valid)


def without_islands(mask: Mask, spacing_mm: Spacing, smallest_mm2: float) -> Mask:
    """Remove connected components (8-connected, within a slice) below `smallest_mm2` from masks (..., S, H, W)."""
    if smallest_mm2 <= 0 or not mask.any():
        return mask
    parts = _parts(mask, corners=True)
    area_mm2 = np.bincount(parts.ravel()) * spacing_mm[1] * spacing_mm[2]
    keep = area_mm2 >= smallest_mm2 - 1e-9
    keep[0] = False
    return np.asarray(keep[parts])


def with_cores(scar: Mask, labels: Labels, spacing_mm: Spacing, largest_mm2: float) -> Mask:
    """Fill holes of at most `largest_mm2` in the myocardium that are enclosed by scar, or by scar and pool."""
    if largest_mm2 <= 0 or not scar.any():
        return scar
    muscle, pool = labels == CLASS_INDEX["myo"], labels == CLASS_INDEX["lv"]
    open_parts = _parts(~(scar | pool), corners=False)
    area_mm2 = np.bincount(open_parts.ravel()) * spacing_mm[1] * spacing_mm[2]
    outside = np.bincount(open_parts.ravel(), np.broadcast_to(~muscle, scar.shape).ravel().astype(float))
    touches = np.zeros(len(area_mm2), bool)
    near_scar = ndimage.binary_dilation(scar, _structure(scar.ndim, corners=False))
    touches[np.unique(open_parts[near_scar & ~scar])] = True
    fill = touches & (outside == 0) & (area_mm2 <= largest_mm2 + 1e-9)
    fill[0] = False
    return np.asarray(scar | fill[open_parts])


def _above_half_maximum(lge: Stack, muscle: Mask, enhanced: Mask) -> Mask:
    """Return the myocardium above half of the enhanced region's maximum that is connected to that region."""
    batch = lge.shape[:-3]
    half = np.full(batch, np.inf)
    for place in np.ndindex(*batch):
        if enhanced[place].any():
            half[place] = np.percentile(lge[place][enhanced[place]], MAXIMUM_PERCENTILE) / 2
    bright = muscle & (lge > half[..., None, None, None])
    parts = _parts(bright, corners=True)
    keep = np.zeros(int(parts.max()) + 1, bool)
    keep[parts[enhanced & bright]] = True
    keep[0] = False
    return np.asarray(keep[parts])


def _structure(dimensions: int, corners: bool) -> Mask:
    """Return the structuring element of a pixel's neighbours within its slice: 8 with corners, 4 without."""
    structure = np.zeros((3,) * dimensions, bool)
    structure[(1,) * (dimensions - 2)] = ndimage.generate_binary_structure(2, 2 if corners else 1)
    return structure


def _parts(mask: Mask, corners: bool) -> NDArray[np.int32]:
    """Label the connected components of masks (..., S, H, W) within slices, from 1."""
    return np.asarray(ndimage.label(mask, _structure(mask.ndim, corners))[0])


def _filled(values: Array, valid: Mask, everywhere: bool = False) -> Array:
    """Replace the invalid values along the last axis (all values if `everywhere`) by the median of the valid ones."""
    result = np.where(valid, values, np.nan)
    for place in np.ndindex(*values.shape[:-1]):
        if valid[place].any():
            result[place][~valid[place] | everywhere] = np.median(values[place][valid[place]])
    return result


def _check(lge: Stack, labels: Labels, remote: Mask | None) -> None:
    errors = []
    if labels.ndim != 3 or lge.shape[-3:] != labels.shape:
        errors.append(f"lge: must have the labels' grid, {labels.shape}, got {lge.shape}")
    if not (labels == CLASS_INDEX["myo"]).any():
        errors.append("labels: must hold myocardium, got none")
    elif remote is not None and remote.shape != labels.shape:
        errors.append(f"remote: must have the labels' grid, {labels.shape}, got {remote.shape}")
    elif remote is not None and not (remote & (labels == CLASS_INDEX["myo"])).any():
        errors.append("remote: must hold myocardium, got none")
    if errors:
        raise DataError(errors)
