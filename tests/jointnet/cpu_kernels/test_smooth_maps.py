import pytest
import torch
import torch.nn.functional as F

from jointnet.cpu_kernels.smooth_maps import smooth_map
from jointnet.geometry import centres


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("count", "size_px"), [(4, 112), (9, 224), (6, 20), (5, 5)])
def test_it_is_torch_s_interpolation(mode, count, size_px):
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
