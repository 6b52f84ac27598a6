import numpy as np
import pytest
from scans import CENTRE_MM, affine_about, axes, mirrored, scan, transposed
from scipy.ndimage import map_coordinates

from jointnet.common_grid import PIXEL_MM, SIZE_PX, SLICE_MM
from jointnet.preparation.grid import COLUMN_DIRECTION, ROW_DIRECTION, Stack, common_grid, sample

SHAPE = (60, 50, 4)


def stack(directions, spacing, shape, centre=CENTRE_MM):
    return Stack(affine_about(directions, spacing, shape, centre), shape)


def cine(shape=SHAPE, thickness=10.0, **view):
    return stack(axes(**view), (2.0, 2.5, thickness), shape)


def of(this):
    return Stack(this.affine, this.image.shape)


def test_world_and_voxels_are_inverse_and_spacing_is_read_off_the_affine():
    here = cine(rotation_deg=23, tilt_deg=11)
    np.testing.assert_allclose(here.spacing_mm, [2.0, 2.5, 10.0])
    voxels = np.random.default_rng(0).uniform(-5, 60, (7, 3))
    np.testing.assert_allclose(here.voxels(here.world(voxels)), voxels, atol=1e-9)
    np.testing.assert_allclose(here.world((np.array(SHAPE) - 1) / 2), CENTRE_MM, atol=1e-9)


def test_corners_lie_half_a_voxel_beyond_the_outermost_centres():
    corners = Stack(np.diag([2.0, 3.0, 4.0, 1.0]), (10, 10, 10)).corners()
    np.testing.assert_allclose(corners.min(0), [-1, -1.5, -2])
    np.testing.assert_allclose(corners.max(0), [19, 28.5, 38])
    assert len(np.unique(corners, axis=0)) == 8


@pytest.mark.parametrize("view", [{}, {"rotation_deg": 20}, {"rotation_deg": -15, "tilt_deg": 12}])
def test_the_grid_has_the_cine_s_orientation_and_the_stated_spacing(view):
    grid = common_grid(cine(**view), cine(rotation_deg=3))
    directions = axes(**view)
    np.testing.assert_allclose(np.stack([grid.column, grid.row, grid.normal]), directions, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(grid.affine[:3, :3], axis=0), [PIXEL_MM, PIXEL_MM, SLICE_MM])
    assert grid.column @ COLUMN_DIRECTION > 0 < grid.row @ ROW_DIRECTION


def test_the_affine_and_the_points_say_the_same():
    grid = common_grid(cine(), cine())
    points = grid.points(2)
    assert points.shape == (SIZE_PX, SIZE_PX, 3)
    for row, column in ((0, 0), (5, 200), (223, 17)):
        np.testing.assert_allclose(points[row, column], (grid.affine @ [row, column, 2, 1])[:3], atol=1e-9)


def test_the_grid_is_centred_on_the_part_that_both_reach():
    column, row, normal = axes()
    moved = stack(axes(), (2.0, 2.5, 5.0), (60, 50, 8), CENTRE_MM + 12 * column - 8 * row + 10 * normal)
    grid = common_grid(cine(), moved)
    middle = grid.affine @ [(SIZE_PX - 1) / 2, (SIZE_PX - 1) / 2, (grid.slices - 1) / 2, 1]
    np.testing.assert_allclose(middle[:3], CENTRE_MM + 6 * column - 4 * row + 5 * normal, atol=1e-9)


@pytest.mark.parametrize(
    ("cine_slices", "thickness", "lge_slices", "offset_mm", "expected"),
    [
        (4, 10.0, 8, 0.0, 8),  # 40 mm in both
        (4, 10.0, 8, 12.0, 5),  # 28 mm in common
        (4, 10.0, 8, -15.0, 5),  # 25 mm, exactly five slices
        (4, 10.0, 3, 0.0, 3),  # LGE inside of cine
        (3, 13.0, 18, 0.0, 7),  # 39 mm of cine inside of LGE
        (1, 8.0, 8, 0.0, 1),
        (4, 10.0, 8, 34.0, 1),  # 6 mm
        (4, 10.0, 8, 35.0, 1),  # 5 mm
        (4, 10.0, 8, 36.0, None),  # 4 mm: less than a slice
        (4, 10.0, 8, 45.0, None),
        (4, 10.0, 8, -400.0, None),
    ],
)
def test_slices_are_those_that_fit_into_the_overlap(cine_slices, thickness, lge_slices, offset_mm, expected):
    first = cine((60, 50, cine_slices), thickness)
    second = stack(axes(), (1.5, 1.5, 5.0), (80, 80, lge_slices), CENTRE_MM + offset_mm * axes()[2])
    grid = common_grid(first, second)
    assert (grid and grid.slices) == expected
    if grid is not None:
        half = (grid.slices - 1) / 2 * SLICE_MM
        middle = (
            max(-cine_slices * thickness / 2, offset_mm - lge_slices * 2.5)
            + min(cine_slices * thickness / 2, offset_mm + lge_slices * 2.5)
        ) / 2
        heights = [(grid.points(index)[0, 0] - CENTRE_MM) @ axes()[2] for index in range(grid.slices)]
        np.testing.assert_allclose(heights, middle - half + SLICE_MM * np.arange(grid.slices), atol=1e-9)


@pytest.mark.parametrize("direction", [0, 1])
def test_scans_beside_each_other_have_no_grid(direction):
    beside = stack(axes(), (2.0, 2.5, 10.0), SHAPE, CENTRE_MM + 130 * axes()[direction])
    assert common_grid(cine(), beside) is None


@pytest.mark.parametrize(
    "store",
    [
        lambda this: mirrored(this, 0),
        lambda this: mirrored(this, 1),
        lambda this: mirrored(this, 2),
        transposed,
        lambda this: mirrored(mirrored(transposed(this), 0), 2),
    ],
    ids=["mirrored i", "mirrored j", "reversed k", "transposed", "all"],
)
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("rotation_deg", [0.0, 30.0, -40.0])
def test_how_a_scan_is_stored_does_not_move_the_grid(store, which, rotation_deg):
    shapes = [SHAPE, (70, 66, 7)]
    scans = [
        scan(affine_about(axes(rotation_deg, 4.0), (2.0, 2.0, 9.0), shapes[0]), shapes[0]),
        scan(affine_about(axes(), (1.7, 1.7, 5.0), shapes[1], CENTRE_MM + np.array([3, 1, 4])), shapes[1]),
    ]
    before = common_grid(*map(of, scans))
    scans[which] = store(scans[which])
    after = common_grid(*map(of, scans))
    assert before.slices == after.slices
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-9)


def test_sample_takes_the_nearest_slice_and_interpolates_in_the_plane():
    here = stack(axes(), (2.0, 2.5, 10.0), SHAPE)
    i, j, k = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    ramp = (3.0 * i - 2.0 * j + 1000.0 * k).astype(np.float32)
    grid = common_grid(here, here)
    (sampled, slices), inside = sample([(ramp, 1), (k.astype(np.uint8), 0)], here, grid)
    assert grid.slices == 8
    assert sampled.shape == inside.shape == (8, SIZE_PX, SIZE_PX)
    for index in range(8):
        voxels = here.voxels(grid.points(index))
        expected = 3 * voxels[..., 0] - 2 * voxels[..., 1] + 1000 * (index // 2)
        deep = (voxels[..., 0] > 0) & (voxels[..., 0] < 59) & (voxels[..., 1] > 0) & (voxels[..., 1] < 49)
        assert deep.mean() > 0.4
        np.testing.assert_allclose(sampled[index][deep], expected[deep], atol=1e-2)
        assert set(slices[index][inside[index]]) == {index // 2}


@pytest.mark.parametrize("rotation_deg", [0.0, 90.0, 33.0])
@pytest.mark.parametrize("tilt_deg", [0.0, 8.0, -20.0])
@pytest.mark.parametrize("sheared", [False, True])
@pytest.mark.parametrize("shape", [(64, 52, 7), (120, 130, 12), (50, 1, 4)], ids=["crop", "wide", "one column"])
def test_sample_is_scipy_s_interpolation_at_the_same_voxels(rotation_deg, tilt_deg, sheared, shape):
    """Compute voxels from the affines, round k by the rule, and interpolate with SciPy, clamped at the edges.

    Halfway between two voxels, rounding errors decide between their labels.
    """
    cine = stack(axes(), (1.4, 1.4, 10.0), (128, 128, 8))
    directions = axes(rotation_deg, tilt_deg)
    affine = affine_about(directions, (1.3, 1.7, 8.0), shape, CENTRE_MM + np.array([2.3, -1.7, 3.1]))
    if sheared:
        affine = affine @ np.array([[1, 0.07, 0.2, 0], [0, 1, 0.3, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    here = Stack(affine, shape)
    grid = common_grid(cine, here)
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=shape).astype(np.float32), rng.integers(0, 4, shape, np.uint8)
    (sampled, codes), inside = sample([(image, 1), (label, 0)], here, grid)
    along = np.sign(affine[:3, 2] @ grid.normal)
    for index in range(grid.slices):
        voxels = np.moveaxis(here.voxels(grid.points(index)), -1, 0)
        within = np.logical_and.reduce([(v >= -0.5) & (v <= n - 0.5) for v, n in zip(voxels, shape, strict=True)])
        np.testing.assert_array_equal(inside[index], within)
        voxels[2] = np.rint(voxels[2] - 1e-3 * along).clip(0, shape[2] - 1)
        for got, volume, order in ((sampled, image.astype(float), 1), (codes, label, 0)):
            expected = np.where(within, map_coordinates(volume, voxels, order=order, mode="nearest"), 0)
            tie = (abs(voxels[:2] % 1 - 0.5) < 1e-9).any(0) & (order == 0)
            assert tie.mean() < 0.05
            np.testing.assert_allclose(got[index][~tie], expected[~tie], atol=1e-6 * order, rtol=0)
    assert inside.any()


def test_sample_is_zero_outside_of_the_scan_and_says_where_that_is():
    here = stack(axes(), (2.0, 2.0, 10.0), (40, 30, 2))
    grid = common_grid(here, here)
    (sampled,), inside = sample([(np.ones((40, 30, 2), np.float32), 1)], here, grid)
    columns = (np.arange(SIZE_PX) - 111.5) * PIXEL_MM
    expected = (abs(columns)[None, :] <= 40) & (abs(columns)[:, None] <= 30)
    for index in range(grid.slices):
        np.testing.assert_array_equal(inside[index], expected)
        np.testing.assert_allclose(sampled[index], expected, atol=1e-6)


@pytest.mark.parametrize(("thickness", "slices", "other_slices"), [(10.0, 4, 7), (5.0, 9, 8), (10.0, 5, 9)])
@pytest.mark.parametrize("store", ["plain", "reversed"])
@pytest.mark.parametrize("centre", [CENTRE_MM, CENTRE_MM + 0.1, CENTRE_MM * np.pi])
def test_ties_between_two_slices_are_settled_for_whole_slices_and_by_the_world(
    thickness, slices, other_slices, store, centre
):
    """If the other stack ends half a grid slice earlier, grid slices lie halfway between two scan slices."""
    shape = (40, 40, slices)
    this = stack(axes(), (2.0, 2.0, thickness), shape, centre)
    grid = common_grid(this, stack(axes(), (2.0, 2.0, 5.0), (40, 40, other_slices), centre))
    assert grid.slices == other_slices
    numbers = np.broadcast_to(np.arange(slices, dtype=np.uint8), shape).copy()
    if store == "reversed":
        flip = np.diag([1.0, 1, -1, 1])
        flip[2, 3] = slices - 1
        this, numbers = Stack(this.affine @ flip, shape), numbers[..., ::-1].copy()
    (sampled,), inside = sample([(numbers, 0)], this, grid)
    shown = [set(sampled[index][inside[index]].tolist()) for index in range(grid.slices)]
    assert all(len(values) == 1 for values in shown), f"a slice of the grid mixes slices of the scan: {shown}"
    steps = np.diff([min(values) for values in shown])
    assert set(steps.tolist()) <= ({0, 1} if thickness > 5 else {1}), f"slices repeat or are skipped: {shown}"
