"""Where in an image anything is shown: the box of pixels outside of which there is nothing to compute."""

import torch
from torch import Tensor


def extent(shown: Tensor, margin_px: int = 0) -> tuple[slice, slice] | None:
    """Give the rows and columns of the smallest box around all that is shown; None where nothing is.

    Args:
        shown: (..., H, W), True where something is shown; the box holds that of every map.
        margin_px: by how much the box is widened on every side, inside the image.
    """
    all_maps = shown.reshape(-1, *shown.shape[-2:]).any(0)
    rows, columns = (_side(all_maps.any(axis), margin_px) for axis in (1, 0))
    return None if rows is None or columns is None else (rows, columns)


def _side(shown: Tensor, margin_px: int) -> slice | None:
    places = torch.nonzero(shown)[:, 0].tolist()
    return slice(max(0, places[0] - margin_px), min(len(shown), places[-1] + 1 + margin_px)) if places else None
