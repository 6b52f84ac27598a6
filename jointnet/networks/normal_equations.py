"""The normal equations of an affine registration, computed from moments of the warped maps' gradients.

With g the gradient of a warped map at x and u = x - c, the map changes with the transform parameters p by

    dQ(theta_p x) / dp_j = sum_ai  M_jai  g_a(x) m_i(u),      m = (1, u_column, u_row),

where M depends on p alone. So J J^T and J r only need the moments sum_x g_a g_b m_i m_k and sum_x g_a r m_i, which are
18 and 6 numbers per slice. J itself, with six values per pixel and map, is never computed.
"""

from functools import lru_cache

import torch
from torch import Tensor

from jointnet.geometry import TRANSFORM_PARAMETERS, centres, theta_from_parameters

GRADIENT_PAIR = ((0, 1), (1, 2))
"""Index of g_a g_b in (column column, column row, row row)."""
MONOMIAL = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
"""Index of m_i m_k in (1, column, row, column^2, column row, row^2)."""


def normal_equations(
    residual: Tensor, along_columns: Tensor, along_rows: Tensor, powers: Tensor, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the moments of J J^T (B, 6, 6) and J r (B, 6), summed over maps and pixels, about the image centre.

    Args:
        residual: r (B, K, H, W), on a square image or a part of it.
        along_columns: derivative of the warped maps along columns, of the same shape.
        along_rows: the same along rows.
        powers: `monomials` of these pixels (6, H, W).
        weight: weight of each pixel's squared residual (B, H, W); 1 if None.
    """
    pairs = ((along_columns, along_columns), (along_columns, along_rows), (along_rows, along_rows))
    second = torch.stack([(first * other).sum(1) for first, other in pairs], 1)
    first = torch.stack([(gradient * residual).sum(1) for gradient in (along_columns, along_rows)], 1)
    if weight is not None:
        second, first = second * weight[:, None], first * weight[:, None]
    flat = powers.flatten(1)
    sums = second.flatten(2) @ flat.T
    pair, power = _places(residual.device)
    return sums[:, pair, power], (first.flatten(2) @ flat[:3].T).flatten(1)


def directions(parameters: Tensor, centre: Tensor) -> Tensor:
    """Return M (B, 6, 6) of transform parameters (B, 6) about `centre` (B, 2), for moments about the image centre.

    With the moments S and s of `normal_equations`, J J^T is M S M^T, and J r is M s.
    """
    (a, b), (c, d) = (row.unbind(-1) for row in theta_from_parameters(parameters)[..., :2].unbind(-2))
    angle, log_y = parameters[:, 0], parameters[:, 2]
    along, across = angle.cos() * log_y.exp(), angle.sin() * log_y.exp()
    zero, one = torch.zeros_like(a), torch.ones_like(a)
    rows = (
        (zero, -c, -d, zero, a, b),  # rotation
        (zero, a, zero, zero, c, zero),  # log-scale of columns
        (zero, zero, b, zero, zero, d),  # log-scale of rows
        (zero, zero, along, zero, zero, across),  # shear
        (one, zero, zero, zero, zero, zero),
        (zero, zero, zero, one, zero, zero),
    )
    about_centre = torch.stack([torch.stack(row, -1) for row in rows], 1).unflatten(2, (2, 3))
    shift = torch.eye(3, device=parameters.device).repeat(len(parameters), 1, 1)
    shift[:, 1:, 0] = -centre
    return (about_centre @ shift[:, None]).reshape(-1, TRANSFORM_PARAMETERS, TRANSFORM_PARAMETERS)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def monomials(size_px: int, device: torch.device) -> Tensor:
    """Return (1, column, row, column^2, column row, row^2) of every pixel centre, shape (6, size_px, size_px).

    The result is cached and must not be modified.
    """
    column, row = centres(size_px, device).unbind(2)
    return torch.stack([torch.ones_like(row), column, row, column * column, column * row, row * row])


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def _places(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices into the sums (3, 6) of the entries (6, 6) of J J^T."""
    pair = torch.tensor(GRADIENT_PAIR, device=device).repeat_interleave(3, 0).repeat_interleave(3, 1)
    return pair, torch.tensor(MONOMIAL, device=device).repeat(2, 2)
