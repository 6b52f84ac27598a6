import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scans import disc, invert

from jointnet.common_grid import HALF_EXTENT_MM, PIXEL_MM, SIZE_PX, SLICE_MM
from jointnet.geometry import (
    TRANSFORM_PARAMETERS,
    about,
    bounding_box,
    centres,
    compose,
    identity,
    moved_centres,
    parameters_from_theta,
    pixel_centres,
    theta_from_parameters,
    warp,
    warp_labels,
)

transforms = st.tuples(
    st.floats(-1, 1),
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(-0.5, 0.5),
    st.floats(-0.6, 0.6),
    st.floats(-0.6, 0.6),
).map(lambda values: theta_from_parameters(torch.tensor(values, dtype=torch.float64)))
points = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(lambda values: torch.tensor(values, dtype=torch.float64))
few = settings(max_examples=40, deadline=None)


def at(theta, point):
    return theta[..., :2] @ point + theta[..., 2]


@given(transforms)
@few
def test_parameters_give_the_transform_from_which_they_come(theta):
    torch.testing.assert_close(theta_from_parameters(parameters_from_theta(theta)), theta)


def test_parameters_are_found_again_in_a_batch():
    parameters = torch.tensor([[0.0] * 6, [0.3, 0.1, -0.2, 0.05, 0.4, -0.1]], dtype=torch.float64)
    torch.testing.assert_close(parameters_from_theta(theta_from_parameters(parameters)), parameters)


def linear(theta):
    return theta[:, :2].numpy()


def test_constants_describe_one_square_field_of_view():
    assert (PIXEL_MM, SIZE_PX, SLICE_MM) == (0.75, 224, 5.0)
    assert pytest.approx(84.0) == HALF_EXTENT_MM
    assert TRANSFORM_PARAMETERS == 6


@pytest.mark.parametrize("size", [1, 2, 7, 56, 224])
def test_pixel_centres_are_those_of_torch_affine_grid(size):
    grid = F.affine_grid(identity(1), [1, 1, size, size], align_corners=False)
    torch.testing.assert_close(grid[0, 0, :, 0], pixel_centres(size), atol=2e-7, rtol=0)
    torch.testing.assert_close(grid[0, :, 0, 1], pixel_centres(size), atol=2e-7, rtol=0)


@pytest.mark.parametrize("size", [1, 2, 7, 224])
def test_pixels_come_back_from_normalised_coordinates(size):
    indices = torch.arange(size, dtype=torch.float32)
    torch.testing.assert_close(((pixel_centres(size) + 1) * size - 1) / 2, indices, atol=1e-4, rtol=0)


def test_the_ends_of_normalised_coordinates_are_the_outer_edges_of_the_pixels():
    centres_of_ten = pixel_centres(10)
    half = (centres_of_ten[1] - centres_of_ten[0]) / 2
    edges = torch.stack(
        [centres_of_ten[0] - half, (centres_of_ten[4] + centres_of_ten[5]) / 2, centres_of_ten[9] + half]
    )
    torch.testing.assert_close(edges, torch.tensor([-1.0, 0.0, 1.0]))


@pytest.mark.parametrize(
    ("parameters", "theta"),
    [
        ([0, 0, 0, 0, 0, 0], [[1, 0, 0], [0, 1, 0]]),
        ([math.pi / 2, 0, 0, 0, 0, 0], [[0, -1, 0], [1, 0, 0]]),
        ([math.pi / 6, 0, 0, 0, 0, 0], [[math.sqrt(3) / 2, -0.5, 0], [0.5, math.sqrt(3) / 2, 0]]),
        ([0, math.log(2), 0, 0, 0, 0], [[2, 0, 0], [0, 1, 0]]),
        ([0, 0, math.log(3), 0, 0, 0], [[1, 0, 0], [0, 3, 0]]),
        ([0, 0, 0, 0.25, 0, 0], [[1, 0.25, 0], [0, 1, 0]]),
        ([0, 0, 0, 0, 0.3, -0.7], [[1, 0, 0.3], [0, 1, -0.7]]),
    ],
)
def test_theta_from_one_kind_of_motion(parameters, theta):
    torch.testing.assert_close(
        theta_from_parameters(torch.tensor(parameters, dtype=torch.float64)), torch.tensor(theta, dtype=torch.float64)
    )


@few
@given(st.floats(-3, 3), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-1, 1))
def test_theta_is_rotation_after_shear_after_scale(angle, log_x, log_y, shear):
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag(np.exp([log_x, log_y]))
    parameters = torch.tensor([angle, log_x, log_y, shear, 0.1, 0.2], dtype=torch.float64)
    np.testing.assert_allclose(linear(theta_from_parameters(parameters)), expected, atol=1e-12)


def test_theta_from_motion_keeps_leading_axes():
    parameters = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    theta = theta_from_parameters(parameters)
    assert theta.shape == (3, 4, 2, 3)
    torch.testing.assert_close(theta[2, 1], theta_from_parameters(parameters[2, 1]))


@few
@given(transforms, transforms, points)
def test_compose_applies_the_inner_affine_first(outer, inner, point):
    torch.testing.assert_close(at(compose(outer, inner), point), at(outer, at(inner, point)), atol=1e-10, rtol=0)


@few
@given(transforms, points)
def test_invert_undoes_on_either_side(theta, point):
    torch.testing.assert_close(at(invert(theta), at(theta, point)), point, atol=1e-10, rtol=0)
    torch.testing.assert_close(at(theta, at(invert(theta), point)), point, atol=1e-10, rtol=0)


@few
@given(transforms, points, points)
def test_about_moves_the_origin_of_the_motion(theta, centre, point):
    linear_part, shift = theta[:, :2], theta[:, 2]
    expected = linear_part @ (point - centre) + centre + shift
    torch.testing.assert_close(at(about(theta, centre), point), expected, atol=1e-10, rtol=0)


def test_about_the_origin_changes_nothing_and_about_keeps_its_centre():
    theta = theta_from_parameters(torch.tensor([[0.4, 0.1, -0.2, 0.1, 0.0, 0.0]]))
    torch.testing.assert_close(about(theta, torch.zeros(1, 2)), theta)
    centre = torch.tensor([[0.3, -0.6]])
    torch.testing.assert_close(at(about(theta, centre)[0], centre[0]), centre[0])


def test_identity_moves_nothing():
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(warp(image, identity(2)), image, atol=1e-5, rtol=0)
    labels = np.random.default_rng(0).integers(0, 4, (2, 224, 224), dtype=np.uint8)
    np.testing.assert_array_equal(warp_labels(labels, identity(2).numpy()), labels)


@pytest.mark.parametrize(
    ("theta", "seen_at"),
    [
        ([[1, 0, 2 / 16 * 3], [0, 1, 0]], (5, 7 - 3)),  # columns: lge is sampled 3 pixels to the right
        ([[1, 0, 0], [0, 1, -2 / 16 * 2]], (5 + 2, 7)),  # rows: lge is sampled 2 pixels above
        ([[0, -1, 0], [1, 0, 0]], (15 - 7, 5)),  # a rotation by 90 degrees, see the docstring
        ([[-1, 0, 0], [0, -1, 0]], (10, 8)),
        ([[0, 1, 0], [1, 0, 0]], (7, 5)),
    ],
)
def test_a_dot_goes_where_algebra_says(theta, seen_at):
    """moved(x) = lge(theta x), so a dot at y appears at x = theta^-1 y.

    A rotation by 90 degrees maps (c, r) to (-r, c). The dot at column 7, row 5 has c = -0.5 and r = -2.5 pixels from
    the centre. It appears where (-r', c') = (c, r): r' = 0.5, c' = -2.5, which is row 8 and column 5.
    """
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 5, 7] = 1
    for mode in ("bilinear", "nearest"):
        moved = warp(image, torch.tensor([theta], dtype=torch.float32), mode=mode)[0, 0]
        assert divmod(int(moved.argmax()), 16) == seen_at
        assert float(moved.sum()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("columns_mm", "rows_mm"), [(0.75, 0), (0, -3), (6, 4.5), (-15, 30)])
def test_a_translation_in_mm_moves_a_mask_by_exactly_that(columns_mm, rows_mm):
    mask = disc((4.0, -7.0), 15.0)
    theta = identity(1).numpy()
    theta[0, :, 2] = np.array([columns_mm, rows_mm]) / HALF_EXTENT_MM
    moved = warp_labels(mask[None].astype(np.uint8), theta)[0]
    before, after = (np.argwhere(this).mean(0) * PIXEL_MM for this in (mask, moved))
    np.testing.assert_allclose(before - after, [rows_mm, columns_mm], atol=1e-9)


def test_theta_means_the_same_at_every_resolution():
    coarse = F.avg_pool2d(torch.from_numpy(disc((0, 0), 30.0)).float()[None, None], 4)
    theta = theta_from_parameters(torch.tensor([[0.0, 0, 0, 0, 12 / HALF_EXTENT_MM, 0]]))
    moved = warp(coarse, theta)[0, 0]
    columns = (moved.sum(0) * pixel_centres(56)).sum() / moved.sum()
    assert float(columns) * HALF_EXTENT_MM == pytest.approx(-12, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_an_image_keeps_its_type(dtype):
    image = torch.arange(16, dtype=dtype).reshape(1, 1, 4, 4)
    torch.testing.assert_close(warp(image, identity(1)), image, atol=1e-4, rtol=0)


def test_outside_is_zero():
    theta = theta_from_parameters(torch.tensor([[0.0, 0, 0, 0, 1.0, 0]]))
    moved = warp(torch.ones(1, 1, 8, 8), theta)[0, 0]
    torch.testing.assert_close(moved, (torch.arange(8) < 4).float().expand(8, 8), atol=1e-5, rtol=0)


def test_warp_labels_of_many_slices_equals_a_loop():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, (5, 224, 224), dtype=np.uint8)
    theta = theta_from_parameters(torch.from_numpy(rng.normal(0, 0.2, (5, 6)))).numpy()
    together = warp_labels(labels, theta)
    assert together.dtype == np.uint8
    for index in range(5):
        np.testing.assert_array_equal(
            together[index], warp_labels(labels[index : index + 1], theta[index : index + 1])[0]
        )


@pytest.mark.parametrize("size_px", [1, 7, 112])
def test_moved_centres_and_their_gradients_are_those_of_torch_s_affine_grid(size_px):
    numbers = torch.Generator().manual_seed(0)
    theta = torch.randn(3, 2, 3, generator=numbers, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, size_px, size_px, 2, generator=numbers, dtype=torch.double)
    found, wanted = moved_centres(theta, size_px), F.affine_grid(theta, [3, 1, size_px, size_px], align_corners=False)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)  # our pixel centres are computed in 32 bits
    gradients = [torch.autograd.grad((weight * places).sum(), theta)[0] for places in (found, wanted)]
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(moved_centres(identity(1), size_px)[0], centres(size_px))


@pytest.mark.parametrize(
    ("places", "margin_px", "rows", "columns"),
    [
        ([(0, 2, 3)], 0, (2, 3), (3, 4)),
        ([(0, 2, 3)], 1, (1, 4), (2, 5)),
        ([(0, 2, 3), (1, 4, 1)], 0, (2, 5), (1, 4)),
        ([(0, 0, 0)], 2, (0, 3), (0, 3)),
        ([(1, 5, 6)], 2, (3, 6), (4, 7)),
        ([(0, 0, 0), (1, 5, 6)], 0, (0, 6), (0, 7)),
    ],
)
def test_the_box_holds_all_that_any_map_shows(places, margin_px, rows, columns):
    mask = torch.zeros(2, 6, 7, dtype=torch.bool)
    for place in places:
        mask[place] = True
    for maps in (mask, mask[:, None], mask.any(0)):
        assert bounding_box(maps, margin_px) == (slice(*rows), slice(*columns))


@pytest.mark.parametrize("shape", [(2, 6, 7), (6, 7), (0, 6, 7)])
def test_an_empty_mask_has_no_bounding_box(shape):
    assert bounding_box(torch.zeros(shape, dtype=torch.bool), 1) is None
