"""Group normalisation: torch's own values, and torch's own gradients of a double-precision pass."""

import pytest
import torch
from torch import nn

from jointnet.networks.group_norm import LARGE_PX, GroupNorm

SHAPES = [(3, 8, 32, 40), (1, 4, 64, 16), (2, 6, 33, 32), (2, 4, 8, 8)]
"""The last one is too small for a backward pass of ours."""


def both(shape, groups, dtype=torch.float64, order=torch.channels_last, gradient_order=torch.channels_last):
    """Give value and gradients (input, weight, bias) of ours and of torch's in double precision."""
    generator = torch.Generator().manual_seed(0)
    values = 3 + 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    dy = torch.randn(shape, generator=generator, dtype=torch.float64)
    ours, theirs = GroupNorm(groups, shape[1]), nn.GroupNorm(groups, shape[1]).double()
    nn.init.normal_(ours.weight, generator=generator)
    nn.init.normal_(ours.bias, generator=generator)
    theirs.load_state_dict(ours.state_dict())
    if dtype == torch.float64:
        ours = ours.double()
    found = []
    for module, kind in ((ours, dtype), (theirs, torch.float64)):
        x = values.to(kind).to(memory_format=order).requires_grad_()
        y = module(x)
        y.backward(dy.to(kind).to(memory_format=gradient_order))
        found.append([y.detach(), x.grad, module.weight.grad, module.bias.grad])
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("gradient_order", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("groups", [1, 2])
def test_values_and_gradients_are_torchs(shape, order, gradient_order, groups):
    for own, expected in zip(*both(shape, groups, order=order, gradient_order=gradient_order), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_lower_precision_stays_as_near_as_it_can(dtype, tolerance):
    for own, expected in zip(*both(SHAPES[0], 4, dtype), strict=True):
        assert ((own.double() - expected).norm() / expected.norm()) < tolerance


def test_a_constant_image_has_finite_gradients():
    x = torch.full((2, 4, 32, 32), 5.0).to(memory_format=torch.channels_last).requires_grad_()
    GroupNorm(2, 4)(x).square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_the_large_maps_here_are_those_of_the_fast_pass():
    fast = [shape for shape in SHAPES if shape[2] * shape[3] >= LARGE_PX]
    assert fast == SHAPES[:3]
    x = torch.randn(SHAPES[0]).to(memory_format=torch.channels_last)
    assert type(GroupNorm(2, 8)(x).grad_fn).__name__ == "_NormaliseBackward"
    assert type(GroupNorm(2, 8)(x.contiguous()).grad_fn).__name__ == "NativeGroupNormBackward0"
