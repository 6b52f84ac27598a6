"""Instance normalisation, compared with torch's values and with its gradients in double precision."""

import pytest
import torch
from torch import nn

from jointnet.compute.instance_norm import LARGE_PX, InstanceNorm

LARGE = [(3, 8, 32, 40), (1, 4, 64, 16), (2, 6, 33, 32)]
SMALL = [(2, 4, 8, 8), (3, 6, 7, 7), (2, 4, 1, 1), (2, 4, 1, 3), (2, 1, 8, 8), (1, 100, 2, 2)]
SHAPES = [*LARGE, *SMALL]


def maps_of(shape, order=torch.channels_last):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(memory_format=order)


def both(shape, dtype=torch.float64, order=torch.channels_last, gradient_order=torch.channels_last):
    """Return value and gradients (input, weight, bias) of ours and of torch's in double precision."""
    generator = torch.Generator().manual_seed(0)
    values = 3 + 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    dy = torch.randn(shape, generator=generator, dtype=torch.float64)
    ours, theirs = InstanceNorm(shape[1]), nn.GroupNorm(shape[1], shape[1]).double()
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
def test_values_and_gradients_are_torchs(shape, order, gradient_order):
    for own, expected in zip(*both(shape, order=order, gradient_order=gradient_order), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [LARGE[0], SMALL[0]])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_lower_precision_stays_as_near_as_it_can(shape, dtype, tolerance):
    for own, expected in zip(*both(shape, dtype), strict=True):
        assert ((own.double() - expected).norm() / expected.norm()) < tolerance


@pytest.mark.parametrize("shape", SHAPES)
def test_without_gradients_the_values_are_the_same(shape):
    x, norm = maps_of(shape), InstanceNorm(shape[1])
    with torch.no_grad():
        alone = norm(x)
    torch.testing.assert_close(alone, norm(x).detach())


@pytest.mark.parametrize("side", [8, 32])
def test_a_batch_is_what_its_images_are(side):
    x, norm = maps_of((3, 4, side, side)), InstanceNorm(4)
    torch.testing.assert_close(norm(x), torch.cat([norm(each) for each in x.split(1)]))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_result_may_be_changed_in_place(shape):
    x = maps_of(shape).requires_grad_()
    torch.relu_(InstanceNorm(shape[1])(x)).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("side", [8, 32])
def test_a_constant_image_becomes_the_bias_and_has_finite_gradients(side):
    x = torch.full((2, 4, side, side), 5.0).to(memory_format=torch.channels_last).requires_grad_()
    y = InstanceNorm(4)(x)
    torch.testing.assert_close(y, torch.zeros_like(y), atol=1e-3, rtol=0)
    y.square().sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("shape", [LARGE[0], SMALL[0]])
def test_which_pass_is_taken(shape):
    assert all(height * width >= LARGE_PX for _, _, height, width in LARGE)
    assert all(height * width < LARGE_PX for _, _, height, width in SMALL)
    norm = InstanceNorm(shape[1])
    assert type(norm(maps_of(shape)).grad_fn).__name__ == "_NormaliseBackward"
    in_order = maps_of(shape, torch.contiguous_format)
    assert type(norm(in_order).grad_fn).__name__ == "NativeGroupNormBackward0"


def test_another_device_normalises_a_map_of_one_pixel_in_a_batch_of_one_too():
    assert InstanceNorm(4).to("meta")(torch.zeros(1, 4, 1, 1, device="meta")).shape == (1, 4, 1, 1)
