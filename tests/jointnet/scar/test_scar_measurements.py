import numpy as np
import pytest
from rings import OUTER_MM, POOL_MM, SPACING_MM, lge_of, sector, ventricle

from jointnet.errors import SettingsError
from jointnet.scar import ScarSettings
from jointnet.scar.measurements import DENSITY_G_PER_ML, measure, segment_table, wall_of
from jointnet.scar.perturbation import displaced, perturbed_figures, spread_table
from jointnet.scar.segments import NAMES, levels, segments, septum_middles
from jointnet.scar.threshold import find_scar
from jointnet.structures import CLASS_INDEX

SLICES = 6
RING_ML = np.pi * (OUTER_MM**2 - POOL_MM**2) * SPACING_MM[0] * SLICES / 1000
EVERYWHERE = np.ones((SLICES, 200, 200), bool)


def figures_of(scar, labels=None):
    labels = ventricle() if labels is None else labels
    return measure(scar, np.ones(labels.shape, bool), wall_of(labels, SPACING_MM))


@pytest.mark.parametrize(
    ("width_deg", "inner_mm", "outer_mm"), [(90, 20, 30), (60, 20, 25), (360, 20, 30), (123, 22, 28)]
)
def test_volume_mass_and_percent_of_a_sector_follow_the_formula(width_deg, inner_mm, outer_mm):
    found = figures_of(sector(17, width_deg, inner_mm, outer_mm))
    expected_ml = width_deg / 360 * np.pi * (outer_mm**2 - inner_mm**2) * SPACING_MM[0] * SLICES / 1000
    assert found["myocardium_ml"] == pytest.approx(RING_ML, rel=0.005)
    assert found["scar_ml"] == pytest.approx(expected_ml, rel=0.01)
    assert found["scar_g"] == pytest.approx(found["scar_ml"] * DENSITY_G_PER_ML)
    assert found["scar_percent"] == pytest.approx(100 * expected_ml / RING_ML, abs=0.3)


def test_the_inner_half_of_the_wall_is_transmural_to_50_percent_everywhere():
    found = figures_of(sector(0, 360, POOL_MM, 25))
    np.testing.assert_allclose(found["transmurality_percent"][:16], 50, atol=2)
    np.testing.assert_allclose(found["extent_percent"][:16], 100)
    np.testing.assert_allclose(found["percent"][:16], 100 * (25**2 - 20**2) / (30**2 - 20**2), atol=1)
    assert np.isnan([found[name][16] for name in ("percent", "transmurality_percent", "extent_percent")]).all()


def test_half_of_a_segment_across_the_whole_wall_has_extent_50_and_transmurality_100():
    found = figures_of(sector(60, 30))
    for number in (1, 7):
        assert found["percent"][number - 1] == pytest.approx(50, abs=1)
        assert found["extent_percent"][number - 1] == pytest.approx(50, abs=5.1)
        assert found["transmurality_percent"][number - 1] > 97
    others = np.delete(found["percent"], [0, 6, 12, 15, 16])
    np.testing.assert_allclose(others, 0, atol=1)


@pytest.mark.parametrize(
    ("angle_deg", "basal", "mid", "apical"),
    [(90, 1, 7, 13), (150, 2, 8, 14), (210, 3, 9, 14), (270, 4, 10, 15), (330, 5, 11, 16), (30, 6, 12, 16)],
)
@pytest.mark.parametrize("turn_deg", [0, 40, 180, 275])
def test_segments_stand_at_their_angle_from_the_rv_and_turn_with_it(angle_deg, basal, mid, apical, turn_deg):
    """With the RV on the left, anterior is at the top and lateral on the right. Slices run from apex to base."""
    labels = ventricle(rv_deg=180 + turn_deg)
    found = segments(labels, SPACING_MM)
    radians = np.radians(angle_deg + turn_deg)
    row, column = round(99.5 - 50 * np.sin(radians)), round(99.5 + 50 * np.cos(radians))
    assert found[:, row, column].tolist() == [apical, apical, mid, mid, basal, basal]
    assert NAMES[basal - 1].startswith("basal") and NAMES[apical - 1].startswith("apical")


def test_the_six_segments_have_equal_areas():
    found = segments(ventricle(), SPACING_MM)
    counts = np.bincount(found[found > 0], minlength=18)[1:]
    np.testing.assert_allclose(counts[:12] / counts[:12].mean(), 1, atol=0.02)
    np.testing.assert_allclose(counts[12:16] / counts[12:16].mean(), 1, atol=0.02)
    assert counts[16] == 0


@pytest.mark.parametrize("direction_deg", [0.0, 90.0, 180.0, 213.0])
def test_the_septums_middle_is_half_way_between_the_insertions(direction_deg):
    found = septum_middles(ventricle(slices=3, rv_deg=direction_deg), SPACING_MM)
    np.testing.assert_allclose(np.angle(np.exp(1j * (found - np.radians(direction_deg)))), 0, atol=np.radians(1))


def test_an_rv_away_from_the_wall_tells_the_septum_by_its_centroid():
    labels = ventricle(slices=1, rv=False)
    labels[0, 95:105, 10:20] = CLASS_INDEX["rv"]
    found = septum_middles(labels, SPACING_MM)
    assert np.degrees(found[0]) % 360 == pytest.approx(180, abs=1)


def test_a_level_without_rv_takes_the_nearest_levels_direction():
    labels = ventricle(rv_deg=180)
    labels[:2][labels[:2] == CLASS_INDEX["rv"]] = 0
    np.testing.assert_allclose(np.degrees(septum_middles(labels, SPACING_MM)) % 360, 180, atol=1)


@pytest.mark.parametrize(
    ("slices", "expected"), [(1, [2]), (2, [1, 3]), (3, [1, 2, 3]), (4, [1, 2, 2, 3]), (7, [1, 1, 2, 2, 2, 3, 3])]
)
def test_levels_are_thirds_of_the_slices_with_pool(slices, expected):
    assert levels(ventricle(slices=slices)).tolist() == expected


def test_myocardium_before_the_pool_is_the_apex_and_behind_it_belongs_nowhere():
    labels = ventricle(slices=5)
    labels[[0, 4]] = np.where(labels[[0, 4]] == CLASS_INDEX["lv"], CLASS_INDEX["myo"], labels[[0, 4]])
    assert levels(labels).tolist() == [0, 1, 2, 3, -1]
    scar = sector(0, 180, slices=5)
    found = figures_of(scar, labels)
    assert found["percent"][16] == pytest.approx(100 * 90 * (900 - 400) / (180 * 900), abs=0.5)
    assert np.isnan(found["transmurality_percent"][16])
    held = segments(labels, SPACING_MM)
    assert set(np.unique(held[0])) == {0, 17}
    assert not held[4].any()


def test_without_rv_the_amount_is_known_and_the_segments_are_not():
    found = figures_of(sector(0, 90), ventricle(rv=False))
    assert found["scar_percent"] == pytest.approx(25, abs=0.2)
    assert np.isnan(found["percent"]).all() and np.isnan(found["extent_percent"]).all()


@pytest.mark.parametrize(("share_deg", "expected"), [(0, 0.0), (360, 100.0)])
def test_no_scar_and_all_scar(share_deg, expected):
    found = figures_of(sector(0, share_deg))
    assert found["scar_percent"] == expected
    np.testing.assert_allclose(found["percent"][:16], expected)
    np.testing.assert_allclose(found["transmurality_percent"][:16], expected)
    assert len(segment_table(found, NAMES)) == 17


def test_without_myocardium_or_without_lge_shares_are_nan_and_amounts_0():
    labels = ventricle()
    seen = np.zeros(labels.shape, bool)
    for changed in (labels, np.where(labels == CLASS_INDEX["myo"], 0, labels).astype(np.uint8)):
        found = measure(seen, seen, wall_of(changed, SPACING_MM))
        assert found["myocardium_ml"] == found["scar_ml"] == 0
        assert np.isnan(found["scar_percent"]) and np.isnan(found["percent"]).all()


def test_myocardium_that_lge_does_not_show_counts_in_no_figure():
    labels, scar, seen = ventricle(), sector(0, 90), ~sector(90, 90)
    found = measure(scar & seen, seen, wall_of(labels, SPACING_MM))
    assert found["myocardium_ml"] == pytest.approx(RING_ML * 0.75, rel=0.01)
    assert found["scar_percent"] == pytest.approx(100 / 3, abs=0.3)


def test_a_displaced_stack_moves_each_slice_by_its_own_rows_and_columns():
    lge = np.random.default_rng(0).normal(size=(2, 9, 11)).astype(np.float32)
    shifts = np.array([[[2, -3], [0, 4]], [[-1, 0], [0, 0]]])
    window = (slice(None), slice(1, 8), slice(2, 10))
    for moved, by_slice in zip(displaced(lge, shifts, window), shifts, strict=True):
        for plane, found, (down, right) in zip(lge, moved, by_slice, strict=True):
            expected = np.roll(np.pad(plane, 5, constant_values=np.nan), (down, right), (0, 1))[5:-5, 5:-5]
            np.testing.assert_array_equal(found, expected[window[1:]])


def test_no_error_of_the_registration_moves_no_figure():
    labels = ventricle()
    lge = lge_of(labels, sector(100, 90, POOL_MM, 25), noise=2.0)
    found = figures_of(find_scar(lge, labels, SPACING_MM, ScarSettings()))
    moved = perturbed_figures(lge, labels, SPACING_MM, ScarSettings(), sd_mm=0.0, count=3, seed=0)
    for name, values in found.items():
        for each in moved[name]:
            np.testing.assert_allclose(each, values, rtol=1e-5)


def test_the_spread_of_a_displaced_edge_follows_the_formula():
    """LGE is bright left of a straight edge. Displaced by d along columns, the edge adds 2 (r2 - r1) d of the ring.

    So the volume's SD over S independent slices is 2 (r2 - r1) SD thickness sqrt(S).
    """
    labels = ventricle(slices=SLICES, rv=False)
    bright = np.zeros(labels.shape, bool)
    bright[:, :, :100] = True
    lge = np.where(bright, 100.0, np.random.default_rng(0).normal(10, 1, labels.shape)).astype(np.float32)
    settings = ScarSettings(smallest_mm2=0, largest_core_mm2=0)
    sd_mm, count = 2.0, 400
    moved = perturbed_figures(lge, labels, SPACING_MM, settings, sd_mm, count, seed=1)["scar_ml"]
    rounded_sd_mm = np.sqrt(sd_mm**2 + SPACING_MM[2] ** 2 / 12)
    expected = 2 * (OUTER_MM - POOL_MM) * rounded_sd_mm * SPACING_MM[0] * np.sqrt(SLICES) / 1000
    assert moved.std() == pytest.approx(expected, rel=0.12)
    assert moved.mean() == pytest.approx(RING_ML / 2, abs=4 * expected / np.sqrt(count))


def test_a_seed_repeats_itself_and_another_differs():
    labels = ventricle(slices=2)
    lge = lge_of(labels, sector(100, 90, slices=2))
    draws = [
        perturbed_figures(lge, labels, SPACING_MM, ScarSettings(), 2.0, 30, seed)["scar_ml"].tolist()
        for seed in (5, 5, 6)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_the_spread_table_holds_mean_sd_and_range_of_every_figure():
    labels = ventricle(slices=2)
    lge = lge_of(labels, sector(100, 90, slices=2))
    moved = perturbed_figures(lge, labels, SPACING_MM, ScarSettings(), 1.0, 40, 0)
    table = spread_table(figures_of(sector(100, 90, slices=2), labels), moved).set_index("figure")
    row = table.loc["scar_percent"]
    assert row["value"] == pytest.approx(25, abs=0.2)
    assert row["mean"] == pytest.approx(np.mean(moved["scar_percent"]))
    assert row["sd"] == pytest.approx(np.std(moved["scar_percent"], ddof=1))
    assert row["low"] == pytest.approx(np.quantile(moved["scar_percent"], 0.025))
    assert table.loc["segment_17_percent"].isna().all()
    assert len(table) == 4 + 3 * 17


def test_bad_perturbations_are_named_together():
    labels = ventricle(slices=1)
    with pytest.raises(SettingsError) as caught:
        perturbed_figures(lge_of(labels, labels == 9), labels, SPACING_MM, ScarSettings(), -1.0, 0, -1)
    assert [error.split(":")[0] for error in caught.value.errors] == ["sd_mm", "count", "seed"]
