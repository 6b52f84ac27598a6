"""Group normalisation: torch's own values, and torch's own gradients of a double-precision pass."""

import pytest
import torch
from torch import nn

from jointnet.networks.group_norm import LARGE_PX, GroupNorm

LARGE = [(3, 8, 32, 40), (1, 4, 64, 16), (2, 6, 33, 32)]
SMALL = [(2, 4, 8, 8), (3, 6, 7, 7), (2, 4, 1, 1), (2, 4, 1, 3)]
SHAPES = [*LARGE, *SMALL]


def maps_of(shape, order=torch.channels_last):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(memory_format=order)


def both(shape, groups, dtype=torch.float64, order=torch.channels_last, gradient_order=torch.channels_last):
    """Give value and gradients (input, weight, bias) of ours and of torch's in double precision."""
    generator = torch.Generator().manual_seed(0)
    values = 3 + 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    dy = torch.randn(shape, generator=generator, dtype=torch.float64)
    ours, theirs = GroupNorm(shape[1], groups), nn.GroupNorm(groups or shape[1], shape[1]).double()
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
@pytest.mark.parametrize("groups", [1, 2, None])
def test_values_and_gradients_are_torchs(shape, order, gradient_order, groups):
    for own, expected in zip(*both(shape, groups, order=order, gradient_order=gradient_order), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shape", "groups"), [(LARGE[0], 4), (LARGE[0], None), (SMALL[0], None)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_lower_precision_stays_as_near_as_it_can(shape, groups, dtype, tolerance):
    for own, expected in zip(*both(shape, groups, dtype), strict=True):
        assert ((own.double() - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("groups", [2, None])
def test_without_gradients_the_values_are_the_same(shape, groups):
    x, norm = maps_of(shape), GroupNorm(shape[1], groups)
    with torch.no_grad():
        alone = norm(x)
    torch.testing.assert_close(alone, norm(x).detach())


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("side", [8, 32])
def test_a_batch_is_what_its_images_are(groups, side):
    x, norm = maps_of((3, 4, side, side)), GroupNorm(4, groups)
    torch.testing.assert_close(norm(x), torch.cat([norm(each) for each in x.split(1)]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_result_may_be_changed_in_place(shape):
    x = maps_of(shape).requires_grad_()
    torch.relu_(GroupNorm(shape[1])(x)).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("groups", [2, None])
@pytest.mark.parametrize("side", [8, 32])
def test_a_constant_image_becomes_the_bias_and_has_finite_gradients(groups, side):
    x = torch.full((2, 4, side, side), 5.0).to(memory_format=torch.channels_last).requires_grad_()
    y = GroupNorm(4, groups)(x)
    torch.testing.assert_close(y, torch.zeros_like(y), atol=1e-3, rtol=0)
    y.square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 32, 100])
def test_any_number_of_channels_can_be_normalised(channels):
    norm = GroupNorm(channels, 4)
    assert channels % norm.num_groups == 0
    assert norm.num_groups <= 4
    assert GroupNorm(channels).num_groups == channels


@pytest.mark.parametrize(
    ("shape", "groups", "order", "own"),
    [
        (LARGE[0], 4, torch.channels_last, True),
        (LARGE[0], None, torch.channels_last, True),
        (SMALL[0], None, torch.channels_last, True),
        (SMALL[0], 2, torch.channels_last, False),
        (LARGE[0], None, torch.contiguous_format, False),
        (SMALL[0], None, torch.contiguous_format, False),
    ],
)
def test_which_pass_is_taken(shape, groups, order, own):
    assert all(height * width >= LARGE_PX for _, _, height, width in LARGE)
    assert all(height * width < LARGE_PX for _, _, height, width in SMALL)
    name = type(GroupNorm(shape[1], groups)(maps_of(shape, order)).grad_fn).__name__
    assert name == ("_NormaliseBackward" if own else "NativeGroupNormBackward0")
