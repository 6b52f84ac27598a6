import math
import time
import tracemalloc

import numpy as np
import pytest
import surface_distance
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from monai.metrics import compute_average_surface_distance, compute_dice
from scans import disc, heart
from scipy.ndimage import binary_erosion, distance_transform_edt

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.evaluate import metrics
from jointnet.evaluate.metrics import (
    LOST_MM,
    dice,
    overlap_metrics,
)
from jointnet.structures import CENTRED, CLASS_INDEX

SPACINGS = [(1.0, 1.0), (0.75, 0.75), (2.0, 0.5), (0.8, 3.0)]
masks = arrays.arrays(bool, (9, 11), elements=st.booleans())
few = settings(max_examples=60, deadline=None)
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:monai"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:surface_distance"),
]


def mask(*points, shape=(12, 14)):
    result = np.zeros(shape, bool)
    for point in points:
        result[point] = True
    return result


def square(low, high, size=16):
    result = np.zeros((size, size), bool)
    result[low:high, low:high] = True
    return result


def of_lv(metric, first, second, spacing):
    """Return a metric of two masks, which are taken as labels of the LV pool."""
    lv = np.uint8(CLASS_INDEX["lv"])
    return overlap_metrics(first * lv, second * lv, spacing)[metric, "lv"]


def centre_distance_mm(first, second, spacing):
    return of_lv("cd_mm", first, second, spacing)


def average_surface_distance_mm(first, second, spacing):
    return of_lv("asd_mm", first, second, spacing)


def surface_points_mm(this, spacing):
    (pixels,) = metrics._surface_pixels(np.pad(this, 1)[None])
    return (pixels.T - 1) * np.asarray(spacing, float)


def reference_distances(first, second, spacing):
    """Return directed distances from scipy's erosion and distance transform."""
    edges = [this & ~binary_erosion(this) for this in (first, second)]
    fields = [distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return fields[1][edges[0]], fields[0][edges[1]]


def reference_asd(first, second, spacing):
    return float(np.concatenate(reference_distances(first, second, spacing)).mean())


def brute_asd(first, second, spacing):
    points = [np.argwhere(this & ~binary_erosion(this)) * np.array(spacing) for this in (first, second)]
    distances = np.sqrt(((points[0][:, None] - points[1][None]) ** 2).sum(-1))
    return (distances.min(0).sum() + distances.min(1).sum()) / sum(distances.shape)


# Computed by hand


@pytest.mark.parametrize(
    ("first", "second", "spacing", "cd", "asd"),
    [
        ([(3, 4)], [(3, 4)], (1, 1), 0, 0),
        ([(3, 4)], [(6, 8)], (1, 1), 5, 5),
        ([(3, 4)], [(6, 8)], (2, 0.5), math.hypot(6, 2), math.hypot(6, 2)),
        ([(0, 0)], [(11, 13)], (1, 1), math.hypot(11, 13), math.hypot(11, 13)),
        # two pixels against one: distances 0 and 1 one way, 0 the other way
        ([(3, 4), (3, 5)], [(3, 4)], (1, 1), 0.5, 1 / 3),
        ([(3, 4), (3, 5)], [(3, 4)], (1, 3), 1.5, 1.0),
        ([(3, 4), (4, 4)], [(3, 4)], (2, 1), 1.0, 2 / 3),
        # two against two, shifted by one: all pixels are on the surface
        ([(3, 4), (3, 5)], [(4, 4), (4, 5)], (1, 1), 1, 1),
        ([(3, 4), (3, 5)], [(3, 6), (3, 7)], (1, 1), 2, 1.5),
        ([(3, 4), (7, 4)], [(5, 4)], (1, 1), 0, 2),
        # diagonal neighbours
        ([(0, 0), (0, 1)], [(0, 0), (1, 0)], (1, 1), math.hypot(0.5, 0.5), 0.5),
    ],
)
def test_masks_of_one_and_two_pixels(first, second, spacing, cd, asd):
    first, second = mask(*first), mask(*second)
    assert centre_distance_mm(first, second, spacing) == pytest.approx(cd)
    assert average_surface_distance_mm(first, second, spacing) == pytest.approx(asd)


def test_a_3_by_3_square_around_its_own_middle():
    """Eight surface pixels, four at distance 1 and four at sqrt 2; distance 1 from the middle to the square."""
    expected = (4 * 1 + 4 * math.sqrt(2) + 1) / 9
    assert average_surface_distance_mm(square(5, 8), mask((6, 6), shape=(16, 16)), (1, 1)) == pytest.approx(expected)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_concentric_squares(spacing):
    """A 6 x 6 square in a 10 x 10 square, two pixels apart.

    The inner surface has 20 pixels, each at the distance of the nearest outer side. The outer surface has 36 pixels.
    Those opposite an inner side are at the distance of the sides. A corner pixel and its neighbours on either side
    are at offsets (2, 2) and (2, 1) from the inner corner.
    """
    rows, columns = spacing
    straight = {"rows": 2 * rows, "columns": 2 * columns}

    def inner_pixel(i, j):
        to_rows, to_columns = (2 + min(i, 5 - i)) * rows, (2 + min(j, 5 - j)) * columns
        return min(to_rows, to_columns)

    inner = sum(inner_pixel(i, j) for i in range(6) for j in range(6) if i in (0, 5) or j in (0, 5))
    outer = 2 * 6 * straight["rows"] + 2 * 6 * straight["columns"]
    outer += 4 * (math.hypot(2 * rows, 2 * columns) + math.hypot(2 * rows, columns) + math.hypot(rows, 2 * columns))
    expected = (inner + outer) / (20 + 36)
    got = average_surface_distance_mm(square(3, 13), square(5, 11), spacing)
    assert got == pytest.approx(expected)
    assert centre_distance_mm(square(3, 13), square(5, 11), spacing) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("inner_mm", "outer_mm"), [(15, 20), (10, 30), (24, 25.5)])
def test_concentric_discs_are_their_radii_apart(inner_mm, outer_mm):
    spacing = (PIXEL_MM, PIXEL_MM)
    inner, outer = disc((0, 0), inner_mm), disc((0, 0), outer_mm)
    assert centre_distance_mm(inner, outer, spacing) == pytest.approx(0, abs=1e-9)
    # the centre of a surface pixel lies at most a pixel diagonal inside its circle, for both circles
    got = average_surface_distance_mm(inner, outer, spacing)
    assert got == pytest.approx(outer_mm - inner_mm, abs=PIXEL_MM / 2)
    assert got == pytest.approx(reference_asd(inner, outer, spacing), abs=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (1, 0), (0, -7), (12, 5), (-30, 41)])
def test_a_shifted_disc_is_exactly_its_shift_away(rows, columns, spacing):
    first = disc((0, 0), 18)
    second = np.roll(first, (rows, columns), (0, 1))
    assert centre_distance_mm(first, second, spacing) == pytest.approx(
        math.hypot(rows * spacing[0], columns * spacing[1]), abs=1e-9
    )
    assert average_surface_distance_mm(first, second, spacing) == pytest.approx(brute_asd(first, second, spacing))
    overlap = 2 * (first & second).sum() / (2 * first.sum())
    assert dice(first, second) == pytest.approx(overlap)


def test_equal_masks_have_no_distance_and_full_overlap():
    both = disc((3, 4), 20)
    assert centre_distance_mm(both, both.copy(), (1, 1)) == 0
    assert average_surface_distance_mm(both, both.copy(), (1, 1)) == 0
    assert dice(both, both.copy()) == 1


# Empty masks


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [(mask(), mask(), math.nan), (mask((1, 1)), mask(), 0.0), (mask(), mask((1, 1)), 0.0)],
    ids=["both", "second", "first"],
)
def test_empty_masks(first, second, overlap):
    assert math.isnan(centre_distance_mm(first, second, (1, 1)))
    assert math.isnan(average_surface_distance_mm(first, second, (1, 1)))
    assert dice(first, second) == pytest.approx(overlap, nan_ok=True)


def test_apart_masks_do_not_overlap():
    assert dice(mask((1, 1)), mask((2, 2))) == 0
    assert surface_points_mm(mask(), (1, 1)).shape == (0, 2)


# Surfaces and references


@pytest.mark.parametrize(
    "this",
    [
        np.ones((5, 7), bool),
        square(0, 4),
        square(12, 16),
        mask((0, 0)),
        mask((11, 13)),
        disc((-80, 0), 20),
        ~disc((0, 0), 30),
        disc((0, 0), 30) & ~disc((0, 0), 20),
    ],
    ids=["all", "corner", "other corner", "first", "last", "cut disc", "hole", "ring"],
)
def test_a_surface_is_the_mask_minus_its_erosion_also_at_the_border(this):
    expected = np.argwhere(this & ~binary_erosion(this, border_value=0)) * np.array([2.0, 0.5])
    np.testing.assert_allclose(surface_points_mm(this, (2.0, 0.5)), expected)


@few
@given(masks, masks, st.sampled_from(SPACINGS))
def test_any_masks_agree_with_scipy(first, second, spacing):
    got = average_surface_distance_mm(first, second, spacing)
    if not (first.any() and second.any()):
        assert math.isnan(got)
        return
    assert got == pytest.approx(reference_asd(first, second, spacing), abs=1e-9)
    centres = [np.argwhere(this).mean(0) * spacing for this in (first, second)]
    assert centre_distance_mm(first, second, spacing) == pytest.approx(
        float(np.linalg.norm(centres[0] - centres[1])), abs=1e-9
    )


@few
@given(masks, masks, st.sampled_from(SPACINGS))
def test_the_order_of_the_masks_does_not_matter(first, second, spacing):
    for metric in (centre_distance_mm, average_surface_distance_mm):
        assert metric(first, second, spacing) == pytest.approx(metric(second, first, spacing), nan_ok=True)
    assert dice(first, second) == pytest.approx(dice(second, first), nan_ok=True)


PAIRS = {
    "shifted": (disc((0, 0), 20), disc((6, -3), 20)),
    "concentric": (disc((0, 0), 20), disc((0, 0), 12)),
    "ring": (disc((0, 0), 30) & ~disc((0, 0), 20), disc((4, 2), 31) & ~disc((4, 2), 22)),
    "apart": (disc((-50, -50), 10), disc((50, 40), 15)),
    "pixel": (disc((0, 0), 0.6), disc((9, 9), 5)),
}
AT_THE_BORDER = {
    "cut by an edge": (disc((-80, 0), 20), disc((-75, 5), 20)),
    "cut by a corner": (disc((80, 80), 20), disc((70, 80), 20)),
    "the whole field": (np.ones((SIZE_PX, SIZE_PX), bool), disc((0, 0), 30)),
}


def one_hot(this):
    return torch.from_numpy(np.stack([~this, this])[None].astype(np.float32))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", [*PAIRS, *AT_THE_BORDER])
def test_asd_is_monai_s(name, spacing):
    """MONAI also pools the distances of both directions, and has the same surface pixels, also at the image border."""
    first, second = (PAIRS | AT_THE_BORDER)[name]
    monai = compute_average_surface_distance(one_hot(first), one_hot(second), symmetric=True, spacing=list(spacing))
    assert average_surface_distance_mm(first, second, spacing) == pytest.approx(float(monai), abs=1e-3)


def test_monai_gives_nan_or_infinity_where_a_mask_is_empty_and_we_nan():
    empty, full = mask(), mask((3, 3))
    for first, second in ((empty, full), (full, empty), (empty, empty)):
        monai = compute_average_surface_distance(one_hot(first), one_hot(second), symmetric=True, spacing=[1.0, 1.0])
        assert not math.isfinite(float(monai))
        assert math.isnan(average_surface_distance_mm(first, second, (1, 1)))


@pytest.mark.parametrize("name", PAIRS)
def test_dice_is_monai_s(name):
    first, second = PAIRS[name]
    monai = compute_dice(one_hot(first), one_hot(second), include_background=False)
    assert dice(first, second) == pytest.approx(float(monai), abs=1e-6)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.75, 0.75), (1.0, 0.5)])
@pytest.mark.parametrize(("name", "pixels"), [("shifted", 0.5), ("concentric", 0.5), ("ring", 0.5), ("apart", 1.5)])
def test_asd_is_deepmind_s_within_half_a_pixel(name, pixels, spacing):
    """DeepMind's surface elements lie between the pixels, weighted by length; ours are the outermost pixels.

    An element lies at most half a pixel diagonal outside ours, so distances differ by at most a diagonal, 1.41 pixels.
    If one surface runs along the other, both are displaced outwards by the same amount. Their distance is unchanged
    but for rounding by half a pixel. Separate discs come closer to each other, by the full displacement.
    """
    first, second = PAIRS[name]
    distances = surface_distance.compute_surface_distances(first, second, spacing)
    there, back = surface_distance.compute_average_surface_distance(distances)
    lengths = [distances[key].sum() for key in ("surfel_areas_gt", "surfel_areas_pred")]
    pooled = (there * lengths[0] + back * lengths[1]) / sum(lengths)
    assert average_surface_distance_mm(first, second, spacing) == pytest.approx(pooled, abs=max(spacing) * pixels)


DEGENERATE = {
    "one pixel, itself": (mask((3, 4)), mask((3, 4))),
    "one pixel, elsewhere": (mask((3, 4)), mask((9, 12))),
    "first and last pixel": (mask((0, 0)), mask((11, 13))),
    "a row in a column": (mask(*((5, j) for j in range(14))), mask(*((i, 7) for i in range(12)))),
    "all in all": (np.ones((12, 14), bool), np.ones((12, 14), bool)),
    "a pixel in all": (np.ones((12, 14), bool), mask((6, 6))),
    "an edge in the opposite edge": (mask(*((0, j) for j in range(14))), mask(*((11, j) for j in range(14)))),
    "a hole of one pixel": (square(2, 9) & ~mask((5, 5), shape=(16, 16)), square(2, 9)),
    "a chessboard in its complement": tuple(np.indices((12, 14)).sum(0) % 2 == odd for odd in (0, 1)),
    "pieces in pieces": (mask((1, 1), (1, 12), (10, 6)), mask((2, 2), (10, 12))),
}


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_masks_agree_with_monai_and_scipy(name, spacing):
    first, second = DEGENERATE[name]
    got = average_surface_distance_mm(first, second, spacing)
    monai = compute_average_surface_distance(one_hot(first), one_hot(second), symmetric=True, spacing=list(spacing))
    assert got == pytest.approx(float(monai), abs=1e-3)
    assert got == pytest.approx(brute_asd(first, second, spacing), abs=1e-9)
    centres = [np.argwhere(this).mean(0) * spacing for this in (first, second)]
    expected = float(np.linalg.norm(centres[0] - centres[1]))
    assert centre_distance_mm(first, second, spacing) == pytest.approx(expected, abs=1e-9)
    assert dice(first, second) == pytest.approx(surface_distance.compute_dice_coefficient(first, second))


@pytest.mark.parametrize("spacing", [(0.75, 0.75), (0.8, 3.0)])
@pytest.mark.parametrize(("table", "block"), [(0, 1 << 16), (1 << 30, 1 << 16), (1 << 30, 1), (1 << 30, 1 << 30)])
def test_whatever_way_the_nearest_are_found_they_are_the_nearest(monkeypatch, table, block, spacing):
    """Compare a tree, a full distance table, and a table of a few pixels at a time."""
    monkeypatch.setattr(metrics, "LARGEST_TABLE", table)
    monkeypatch.setattr(metrics, "BLOCK", block)
    rng = np.random.default_rng(0)
    ragged = [rng.random((40, 50)) < share for share in (0.5, 0.1)]
    for first, second in (ragged, PAIRS["ring"], PAIRS["apart"]):
        got = average_surface_distance_mm(first, second, spacing)
        assert got == pytest.approx(reference_asd(first, second, spacing), abs=1e-9)


def test_noise_over_the_whole_field_takes_little_memory():
    """The surfaces have 25,000 pixels each. A table of all distances would take gigabytes."""
    first, second = np.random.default_rng(0).random((2, SIZE_PX, SIZE_PX)) < 0.5
    tracemalloc.start()
    got = average_surface_distance_mm(first, second, (0.75, 0.75))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got == pytest.approx(reference_asd(first, second, (0.75, 0.75)), abs=1e-9)
    assert peak < 50e6


# All metrics together


def test_overlap_metrics_takes_each_structure_by_its_code():
    fixed, moving = heart(), heart((6.0, 4.5))
    values = overlap_metrics(fixed, moving)
    assert set(values) == {
        ("cd_mm", "lv"),
        ("cd_mm", "rv"),
        *((metric, structure) for metric in ("asd_mm", "dice") for structure in ("lv", "myo", "rv")),
    }
    assert values["cd_mm", "lv"] == pytest.approx(7.5)
    spacing = (PIXEL_MM, PIXEL_MM)
    for structure, code in CLASS_INDEX.items():
        first, second = fixed == code, moving == code
        assert values["asd_mm", structure] == pytest.approx(reference_asd(first, second, spacing))
        assert values["dice", structure] == pytest.approx(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("seed", range(6))
def test_overlap_metrics_of_any_labels_are_monai_s(seed):
    """Label maps of overlapping discs anywhere in the field, also cut off by its edges; one map is not square."""
    rng = np.random.default_rng(seed)
    fixed, moving = (np.zeros((SIZE_PX, SIZE_PX), np.uint8) for _ in range(2))
    for labels in (fixed, moving):
        for code in rng.permutation(list(CLASS_INDEX.values())):
            labels[disc(rng.uniform(-60, 60, 2), rng.uniform(5, 40))] = code
    if seed % 2:
        fixed, moving = fixed[:150], moving[:150]
    values = overlap_metrics(fixed, moving, (0.75, 0.75))
    for structure, code in CLASS_INDEX.items():
        first, second = fixed == code, moving == code
        if not (first.any() and second.any()):
            assert math.isnan(values["asd_mm", structure])
            continue
        monai = compute_average_surface_distance(one_hot(first), one_hot(second), symmetric=True, spacing=0.75)
        assert values["asd_mm", structure] == pytest.approx(float(monai), abs=1e-3)
        overlap = compute_dice(one_hot(first), one_hot(second), include_background=False)
        assert values["dice", structure] == pytest.approx(float(overlap), abs=1e-6)
        if structure in CENTRED:
            centres = [np.argwhere(this).mean(0) * 0.75 for this in (first, second)]
            expected = float(np.linalg.norm(centres[0] - centres[1]))
            assert values["cd_mm", structure] == pytest.approx(expected, abs=1e-9)


def test_dice_by_structure_is_the_dice_of_each_mask():
    first, second = heart(), heart((6.0, 4.5))
    second[second == CLASS_INDEX["rv"]] = 0
    second[:4, :4] = CLASS_INDEX["myo"]
    expected = {name: dice(first == code, second == code) for name, code in CLASS_INDEX.items()}
    assert metrics.dice_by_structure(first, second) == expected
    assert expected["rv"] == 0
    assert 0 < expected["lv"] < 1
    nothing = metrics.dice_by_structure(np.zeros_like(first), np.zeros_like(first))
    assert all(math.isnan(value) for value in nothing.values())


def test_overlap_metrics_of_empty_maps_are_nan():
    empty = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    assert all(math.isnan(value) for value in overlap_metrics(empty, empty).values())


def test_overlap_metrics_of_a_missing_structure_are_nan_and_the_others_stay():
    moving = heart()
    moving[moving == CLASS_INDEX["rv"]] = 0
    values = overlap_metrics(heart(), moving, (2.0, 1.0))
    assert math.isnan(values["cd_mm", "rv"])
    assert math.isnan(values["asd_mm", "rv"])
    assert values["dice", "rv"] == 0
    assert (values["cd_mm", "lv"], values["asd_mm", "lv"], values["dice", "lv"]) == (0, 0, 1)


def test_nothing_in_view_is_farther_than_a_lost_structure():
    first, second = mask((0, 0), shape=(SIZE_PX, SIZE_PX)), mask((SIZE_PX - 1, SIZE_PX - 1), shape=(SIZE_PX, SIZE_PX))
    farthest = centre_distance_mm(first, second, (PIXEL_MM, PIXEL_MM))
    assert farthest < LOST_MM < farthest + 2 * PIXEL_MM


def test_a_slice_pair_takes_milliseconds():
    """It takes about half a millisecond. The limit allows for a busy machine."""
    fixed, moving = heart(), heart((6.0, 4.5))
    overlap_metrics(fixed, moving)
    started = time.process_time()
    for _ in range(50):
        overlap_metrics(fixed, moving)
    each_ms = (time.process_time() - started) / 50 * 1000
    print(f"metrics of a slice pair: {each_ms:.2f} ms")
    assert each_ms < 10
