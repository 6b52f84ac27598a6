"""Bounding boxes of image content, which limit computations to a part of the image."""

import torch
from torch import Tensor


def extent(shown: Tensor, margin_px: int = 0) -> tuple[slice, slice] | None:
    """Return the rows and columns of the bounding box of all True pixels, or None if there are none.

    Args:
        shown: masks (..., H, W); one bounding box is computed for all of them.
        margin_px: margin added on every side, clipped to the image.
    """
    all_maps = shown.reshape(-1, *shown.shape[-2:]).any(0)
    height = len(all_maps)
    filled = torch.cat([all_maps.any(1), all_maps.any(0)]).tolist()  # one read: each read from a GPU waits for it
    rows, columns = (_side(each, margin_px) for each in (filled[:height], filled[height:]))
    return None if rows is None or columns is None else (rows, columns)


def _side(filled: list[bool], margin_px: int) -> slice | None:
    places = [place for place, shown in enumerate(filled) if shown]
    return slice(max(0, places[0] - margin_px), min(len(filled), places[-1] + 1 + margin_px)) if places else None
