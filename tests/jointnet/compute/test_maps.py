import pytest
import torch
import torch.nn.functional as F

from jointnet.compute.maps import block_means, box_maxima, box_means, likeliest, smooth_map
from jointnet.geometry import centres


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("height", "width", "block"), [(8, 8, 1), (8, 12, 2), (12, 9, 3), (16, 16, 4), (7, 10, 4)])
def test_block_means_are_torch_s_to_the_last_bit(height, width, block, layout):
    maps = noise(2, 3, height, width).contiguous(memory_format=layout)
    assert torch.equal(block_means(maps, block), F.avg_pool2d(maps, block))


@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize(("height", "width"), [(9, 14), (3, 3), (1, 5)])
def test_boxes_are_torch_s(height, width, side):
    maps = noise(2, 3, height, width)
    torch.testing.assert_close(box_means(maps, side), F.avg_pool2d(maps, side, 1, side // 2))
    assert torch.equal(box_maxima(maps, side), F.max_pool2d(maps, side, 1, side // 2))


def test_a_box_by_hand():
    """One corner pixel has value 9. Its 3 x 3 box has 8 zeros besides, five of them outside the image."""
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 0] = 9
    assert box_means(maps, 3)[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    assert box_maxima(maps, 3)[0, 0].tolist() == [[9, 9, 0, 0], [9, 9, 0, 0], [0] * 4, [0] * 4]
    assert box_maxima(-1 - maps, 3)[0, 0, 0, 0] == -1


@pytest.mark.parametrize(("pool", "side"), [(block_means, 1), (block_means, 2), (block_means, 3), (box_means, 3)])
def test_gradients_are_right_also_where_blocks_leave_a_rest(pool, side):
    assert torch.autograd.gradcheck(pool, (noise(1, 2, 4, 7).double().requires_grad_(), side))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_likeliest_is_torch_s_argmax_and_the_first_of_equals(layout):
    scores = noise(2, 4, 9, 7).round().contiguous(memory_format=layout)
    assert torch.equal(likeliest(scores).long(), scores.argmax(1))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("count", "size_px"), [(4, 112), (9, 224), (6, 20), (5, 5)])
def test_smooth_map_is_torch_s_interpolation(mode, count, size_px):
    values = torch.randn(3, 2, count, count, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(values, size=(size_px, size_px), mode=mode, align_corners=False)
    torch.testing.assert_close(smooth_map(values, size_px, mode), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("count", "size_px"), [(2, 9), (28, 112), (28, 224), (28, 96), (7, 7)])
def test_extended_goes_on_as_a_straight_line_to_the_very_edge(count, size_px):
    """a x + b y + c at the coarse positions gives a x + b y + c at the fine ones. Bilinear is constant at the edge."""

    def plane(side):
        x, y = centres(side).unbind(-1)
        return (0.7 * x - 1.3 * y + 0.2)[None, None]

    torch.testing.assert_close(smooth_map(plane(count), size_px, "extended"), plane(size_px), atol=1e-5, rtol=0)
    if size_px > count:
        assert float((smooth_map(plane(count), size_px) - plane(size_px)).abs().max()) > 0.01


def test_within_the_outermost_values_extended_is_bilinear():
    values = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    inner = slice(10, -10)
    both = [smooth_map(values, 120, mode)[..., inner, inner] for mode in ("bilinear", "extended")]
    torch.testing.assert_close(*both)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "extended"])
def test_what_a_prediction_asked_for_first_can_be_trained_through(mode):
    """The sizes 31 to 37 are used here only, so the cached values were computed in inference mode."""
    with torch.inference_mode():
        smooth_map(torch.ones(1, 1, 31, 31), 37, mode)
    values = torch.ones(1, 1, 31, 31, requires_grad=True)
    smooth_map(values, 37, mode).sum().backward()
    assert float(values.grad.sum()) == pytest.approx(37**2, rel=1e-5)
