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
    height = len(all_maps)
    filled = torch.cat([all_maps.any(1), all_maps.any(0)]).tolist()  # read at once: a GPU is waited for at every read
    rows, columns = (_side(each, margin_px) for each in (filled[:height], filled[height:]))
    return None if rows is None or columns is None else (rows, columns)


def _side(filled: list[bool], margin_px: int) -> slice | None:
    places = [place for place, shown in enumerate(filled) if shown]
    return slice(max(0, places[0] - margin_px), min(len(filled), places[-1] + 1 + margin_px)) if places else None
