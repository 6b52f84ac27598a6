import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scans import CENTRE_MM, affine_about, axes

from jointnet.common_grid import HALF_EXTENT_MM, PIXEL_MM, SIZE_PX, SLICE_MM
from jointnet.predict.back_projection import (
    Match,
    cine_labels_on_lge,
    displacement_mm,
    labels_on_cine,
    lge_on_cine,
    lge_voxels,
    match_slices,
    registration,
    world_transforms,
)
from jointnet.preparation.grid import Stack, common_grid

FLIPS = ("as is", "mirrored", "reversed", "transposed")


def stack(spacing_mm, shape, rotation_deg=0.0, tilt_deg=0.0, centre_mm=CENTRE_MM, flip="as is"):
    """Return a geometry. `flip` changes the storage order of the voxels, not their positions."""
    affine = affine_about(axes(rotation_deg, tilt_deg), spacing_mm, shape, centre_mm)
    if flip == "transposed":
        return Stack(affine[:, [1, 0, 2, 3]], (shape[1], shape[0], shape[2]))
    if flip != "as is":
        axis = {"mirrored": 0, "reversed": 2}[flip]
        affine[:3, 3] += (shape[axis] - 1) * affine[:3, axis]
        affine[:3, axis] *= -1
    return Stack(affine, shape)


def theta_of(slices, matrix=None, shift_mm=(0.0, 0.0)):
    """Return normalised theta of an affine about the field's centre; `shift_mm` is in mm."""
    theta = np.tile(np.eye(2, 3, dtype=np.float32), (slices, 1, 1))
    if matrix is not None:
        theta[:, :, :2] = matrix
    theta[:, :, 2] = np.asarray(shift_mm) / HALF_EXTENT_MM
    return theta


def apply(affine, point):
    return (affine @ [*point, 1.0])[:3]


TURN = np.array([[0.0, -1.0], [1.0, 0.0]])
SKEW = np.array([[1.1, 0.15], [-0.2, 0.9]])


@pytest.mark.parametrize("flip", FLIPS)
def test_a_translation_moves_a_known_point_along_columns_and_rows(flip):
    cine, lge = stack((2, 3, 10), (40, 40, 4), flip=flip), stack((2, 2, 5), (40, 44, 8))
    grid = common_grid(cine, lge)
    (first, *_) = world_transforms(grid, theta_of(grid.slices, shift_mm=(5.0, -3.0)))
    column, row, _ = axes()
    np.testing.assert_allclose(apply(first, CENTRE_MM), CENTRE_MM + 5 * column - 3 * row, atol=1e-4)
    np.testing.assert_allclose(apply(first, [0, 0, 0]), 5 * column - 3 * row, atol=1e-4)


def test_a_quarter_turn_takes_columns_to_rows_and_leaves_the_normal():
    cine = stack((2, 2, 10), (40, 40, 4))
    grid = common_grid(cine, cine)
    (first, *_) = world_transforms(grid, theta_of(grid.slices, TURN))
    column, row, normal = axes()
    np.testing.assert_allclose(apply(first, CENTRE_MM), CENTRE_MM, atol=1e-4)
    np.testing.assert_allclose(apply(first, CENTRE_MM + 7 * column), CENTRE_MM + 7 * row, atol=1e-4)
    np.testing.assert_allclose(apply(first, CENTRE_MM + 7 * row), CENTRE_MM - 7 * column, atol=1e-4)
    np.testing.assert_allclose(apply(first, CENTRE_MM + 9 * normal), CENTRE_MM + 9 * normal, atol=1e-4)


def test_the_world_s_affine_is_what_affine_grid_does():
    cine, lge = stack((2, 3, 10), (40, 40, 4), 11), stack((2, 2, 5), (40, 44, 8), 25, 3)
    grid = common_grid(cine, lge)
    theta = theta_of(grid.slices, SKEW, (4.0, 6.0))
    at = F.affine_grid(torch.from_numpy(theta[:1]).double(), [1, 1, SIZE_PX, SIZE_PX], align_corners=False)[0].numpy()
    columns, rows = (((at[..., axis] + 1) * SIZE_PX - 1) / 2 for axis in (0, 1))
    last = grid.slices - 1
    expected = (
        grid.origin_mm
        + PIXEL_MM * (columns[..., None] * grid.column + rows[..., None] * grid.row)
        + last * SLICE_MM * grid.normal
    )
    affine = world_transforms(grid, theta)[0]
    np.testing.assert_allclose(grid.points(last) @ affine[:3, :3].T + affine[:3, 3], expected, atol=1e-4)


@pytest.mark.parametrize(
    "cine, lge, expected",
    [
        # the same slices of 5 mm: each is mapped to itself
        ((5, 3), (5, 3), [Match(0, 0, 0.0), Match(1, 1, 0.0), Match(2, 2, 0.0)]),
        # cine 10 mm: two LGE slices lie at +-2.5 mm, the first is used
        ((10, 2), (5, 4), [Match(0, 0, -2.5), Match(2, 2, -2.5)]),
        # cine covers more: three slices of 10 mm, LGE covers 10 mm around the middle slice
        ((10, 3), (5, 2), [None, Match(0, 0, -2.5), None]),
        # cine is denser than the grid: two cine slices per LGE slice
        ((2.5, 4), (5, 2), [Match(0, 0, 1.25), Match(0, 0, -1.25), Match(1, 1, 1.25), Match(1, 1, -1.25)]),
        ((8, 1), (8, 1), [Match(0, 0, 0.0)]),
    ],
)
def test_slices_are_matched_as_by_hand(cine, lge, expected):
    cine, lge = stack((2, 2, cine[0]), (40, 40, cine[1])), stack((2, 2, lge[0]), (40, 40, lge[1]))
    found = match_slices(common_grid(cine, lge), cine, lge)
    assert [match and (match.grid_slice, match.other_slice) for match in found] == [
        match and (match.grid_slice, match.other_slice) for match in expected
    ]
    for match, known in zip(found, expected, strict=True):
        if known is not None:
            assert match.offset_mm == pytest.approx(known.offset_mm, abs=1e-6)


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("rotation", [0.0, 20.0])
def test_registered_intensities_are_lge_s_at_the_moved_places(flip, rotation):
    """LGE's intensity is linear in the plane, so interpolation is exact and the expected values have a closed form."""
    cine = stack((2.0, 3.0, 10.0), (40, 40, 4), flip=flip)
    lge = stack((1.5, 1.2, 5.0), (120, 130, 10), rotation)
    grid = common_grid(cine, lge)
    pair = registration(cine, lge, grid, theta_of(grid.slices, SKEW, (4.0, -6.0)))
    column, row, _ = axes()
    slope = 2.0 * column - 0.7 * row

    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in lge.shape), indexing="ij"), -1)
    volume = ((lge.world(voxels.astype(float)) - CENTRE_MM) @ slope).astype(np.float32)
    where, taken = lge_voxels(pair)
    result = lge_on_cine(volume, where, taken)

    places = cine.world(np.stack(np.meshgrid(*(np.arange(n) for n in cine.shape), indexing="ij"), -1).astype(float))
    flat = np.stack([(places - CENTRE_MM) @ column, (places - CENTRE_MM) @ row], -1)
    moved = flat @ SKEW.T + [4.0, -6.0]
    expected = moved @ [2.0, -0.7]
    assert taken.mean() > 0.6
    np.testing.assert_allclose(result[taken], expected[taken], atol=0.02)
    assert not result[~taken].any()
    # and the displacement field leads to the same positions
    away = displacement_mm(pair, where)
    led = places + away
    np.testing.assert_allclose(((led - CENTRE_MM) @ slope), expected, atol=1e-3)


def discs(grid, at_mm, radius_mm=9.0):
    """Return labels on the common grid: a disc at (column, row) from the field's centre."""
    along = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * PIXEL_MM
    disc = (along[None] - at_mm[0]) ** 2 + (along[:, None] - at_mm[1]) ** 2 < radius_mm**2
    return np.tile(disc.astype(np.uint8), (grid.slices, 1, 1))


def centroid_mm(labels, of, number):
    """Return the centroid (column, row) of a slice's labelled voxels, in mm from the scene's centre."""
    i, j = np.nonzero(labels[:, :, number])
    points = of.world(np.stack([i, j, np.full(len(i), number)], -1).astype(float)) - CENTRE_MM
    return np.array([points @ axes()[0], points @ axes()[1]]).mean(1)


@pytest.mark.parametrize("flip", FLIPS)
def test_lge_s_labels_land_where_the_inverse_takes_them_and_cine_s_stay(flip):
    cine, lge = stack((1.0, 1.3, 10.0), (130, 120, 2), flip=flip), stack((1.2, 1.2, 5.0), (120, 130, 4), 30)
    grid = common_grid(cine, lge)
    pair = registration(cine, lge, grid, theta_of(grid.slices, SKEW, (4.0, -6.0)))
    at = np.array([12.0, 7.0])
    expected = np.linalg.solve(SKEW, at - [4.0, -6.0])
    moved = labels_on_cine(discs(grid, at), pair, moved=True)
    kept = labels_on_cine(discs(grid, at), pair, moved=False)
    assert moved.shape == cine.shape
    for number in range(cine.shape[2]):
        np.testing.assert_allclose(centroid_mm(moved, cine, number), expected, atol=0.15)
        np.testing.assert_allclose(centroid_mm(kept, cine, number), at, atol=0.15)


def test_cine_s_labels_on_lge_land_where_the_transform_takes_them():
    cine, lge = stack((1.0, 1.3, 10.0), (130, 120, 2)), stack((1.2, 0.9, 5.0), (120, 160, 4), 30)
    grid = common_grid(cine, lge)
    pair = registration(cine, lge, grid, theta_of(grid.slices, SKEW, (4.0, -6.0)))
    at = np.array([-11.0, 5.0])
    labels = labels_on_cine(discs(grid, at), pair, moved=False)
    back = cine_labels_on_lge(labels * np.array([1, 2], np.uint8), pair)
    assert back.shape == lge.shape
    for number in range(lge.shape[2]):
        np.testing.assert_allclose(centroid_mm(back, lge, number), SKEW @ at + [4.0, -6.0], atol=0.15)
        assert set(np.unique(back[:, :, number])) == {0, 1 + number // 2}, "the cine slice that lies there"


def test_what_lies_outside_the_other_scan_is_zero():
    cine, lge = stack((2, 2, 10), (40, 40, 5)), stack((2, 2, 5), (40, 40, 2))
    grid = common_grid(cine, lge)
    pair = registration(cine, lge, grid, theta_of(grid.slices))
    where, taken = lge_voxels(pair)
    assert np.isnan(where[:, :, [0, 1, 3, 4]]).all()
    assert taken.any((0, 1)).tolist() == [False, False, True, False, False]
    assert lge_on_cine(np.ones(lge.shape, np.float32), where, taken).any((0, 1)).tolist() == taken.any((0, 1)).tolist()
    assert not displacement_mm(pair, where)[:, :, [0, 1, 3, 4]].any()
    everything = np.ones((grid.slices, SIZE_PX, SIZE_PX), np.uint8)
    assert labels_on_cine(everything, pair, False).all((0, 1)).tolist() == [False, False, True, False, False]
    back = cine_labels_on_lge(np.ones(cine.shape, np.uint8), pair)
    assert back.any((0, 1)).all(), "all of LGE lies in cine"


def test_the_other_way_round_slices_outside_cine_are_zero():
    cine, lge = stack((2, 2, 10), (40, 40, 1)), stack((2, 2, 5), (40, 40, 6))
    grid = common_grid(cine, lge)
    pair = registration(cine, lge, grid, theta_of(grid.slices))
    back = cine_labels_on_lge(np.ones(cine.shape, np.uint8), pair)
    assert back.any((0, 1)).tolist() == [False, False, True, True, False, False]
