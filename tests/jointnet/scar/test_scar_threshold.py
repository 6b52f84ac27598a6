import numpy as np
import pytest
from rings import BRIGHT, DARK, SPACING_MM, lge_of, polar, sector, ventricle
from scipy.stats import norm

from jointnet.errors import DataError, SettingsError
from jointnet.scar.threshold import (
    MAXIMUM_PERCENTILE,
    ScarSettings,
    find_scar,
    remote_statistics,
    with_cores,
    without_islands,
)
from jointnet.structures import CLASS_INDEX

PLAIN = {"smallest_mm2": 0.0, "largest_core_mm2": 0.0}
METHODS = [ScarSettings("n-sd", **PLAIN), ScarSettings("fwhm", **PLAIN)]


@pytest.mark.parametrize("n_sd", [1.0, 2.0, 3.0])
def test_normal_noise_exceeds_n_sd_as_often_as_the_normal_distribution_says(n_sd):
    labels = ventricle(slices=12)
    lge = lge_of(labels, np.zeros(labels.shape, bool), noise=3.0)
    muscle = labels == CLASS_INDEX["myo"]
    scar = find_scar(lge, labels, SPACING_MM, ScarSettings("n-sd", n_sd, **PLAIN), remote=muscle)
    assert scar.sum() / muscle.sum() == pytest.approx(norm.sf(n_sd), rel=0.1)
    assert not scar[~muscle].any()


@pytest.mark.parametrize("settings", METHODS)
@pytest.mark.parametrize("start_deg", [0, 100, 330])
def test_a_bright_sector_is_found_wherever_it_lies(settings, start_deg):
    labels = ventricle()
    truth = sector(start_deg, 120)
    found = find_scar(lge_of(labels, truth), labels, SPACING_MM, settings)
    np.testing.assert_array_equal(found, truth)


def test_remote_myocardium_is_the_darkest_sector_of_each_slice():
    labels = ventricle(slices=4)
    lge = np.random.default_rng(0).normal(50, 3, labels.shape).astype(np.float32)
    dark = sector(30, 60, slices=4)
    lge[dark] -= 30
    lge[2] += 4
    mean, sd = remote_statistics(lge, labels, SPACING_MM)
    np.testing.assert_allclose(mean, [20, 20, 24, 20], atol=0.5)
    np.testing.assert_allclose(sd, 3, atol=0.3)
    given_mean, given_sd = remote_statistics(lge, labels, SPACING_MM, sector(100, 50, slices=4))
    np.testing.assert_allclose(given_mean, [50, 50, 54, 50], atol=0.5)
    np.testing.assert_allclose(given_sd, 3, atol=0.3)


@pytest.mark.parametrize("settings", METHODS)
def test_a_slice_that_is_all_scar_is_found_by_the_other_slices(settings):
    labels = ventricle(slices=5)
    truth = sector(0, 90, slices=5)
    truth[0] = labels[0] == CLASS_INDEX["myo"]
    np.testing.assert_array_equal(find_scar(lge_of(labels, truth), labels, SPACING_MM, settings), truth)


def test_a_slice_without_remote_myocardium_takes_the_other_slices_median():
    labels = ventricle(slices=3)
    lge = lge_of(labels, np.zeros(labels.shape, bool), noise=2.0)
    lge[1] = np.nan
    lge[2] += 4
    mean, sd = remote_statistics(lge, labels, SPACING_MM)
    np.testing.assert_allclose(mean, [DARK, DARK + 2, DARK + 4], atol=0.4)
    assert mean[1] == pytest.approx((mean[0] + mean[2]) / 2)
    assert sd[1] == pytest.approx((sd[0] + sd[2]) / 2)


def test_half_maximum_cuts_a_linear_profile_where_it_is_half():
    """The intensity in one sector falls linearly from 100 at the pool to 0 at the outer border, over 10 mm."""
    labels = ventricle(slices=2)
    radius, _ = polar()
    lge = np.zeros(labels.shape, np.float32)
    ramp = sector(0, 120, slices=2)
    lge[ramp] = np.broadcast_to(100 * (30 - radius) / 10, labels.shape)[ramp]
    found = find_scar(lge, labels, SPACING_MM, ScarSettings("fwhm", **PLAIN))
    maximum = np.percentile(lge[ramp & (lge > 0)], MAXIMUM_PERCENTILE)
    np.testing.assert_array_equal(found, ramp & (lge > maximum / 2))
    # the share of the ring's area within x of its inner border is (40 x + x^2) / 500; the brightest 5 % end at x = 0.62
    border_mm = 30 - (100 * (1 - 0.0616)) / 2 / 10
    reached = np.broadcast_to(radius, labels.shape)[found].max()
    assert reached == pytest.approx(border_mm, abs=0.4)


def test_half_maximum_takes_only_what_is_connected_to_the_enhanced_region():
    labels = ventricle(slices=1)
    bright, grey = sector(0, 60, slices=1), sector(180, 40, slices=1)
    lge = lge_of(labels, bright, noise=1.0)
    lge[grey] = 60.0
    remote = sector(90, 60, slices=1)
    lge[remote] = np.random.default_rng(1).normal(DARK, 12.0, int(remote.sum()))
    found = find_scar(lge, labels, SPACING_MM, ScarSettings("fwhm", 6.0, **PLAIN), remote=remote)
    assert found[bright].all()
    assert not found[grey].any()


def test_small_parts_are_removed_by_their_area_within_a_slice():
    mask = np.zeros((2, 20, 20), bool)
    mask[0, 2:4, 2:4] = True
    mask[0, 4, 4] = True
    mask[:, 10, 10] = True
    kept = without_islands(mask, (5.0, 2.0, 1.0), 10.0)
    assert kept.sum() == 5
    assert kept[0, 4, 4]
    assert without_islands(mask, (5.0, 2.0, 1.0), 10.5).sum() == 0
    np.testing.assert_array_equal(without_islands(mask, (5.0, 2.0, 1.0), 0.0), mask)


def test_a_dark_core_closed_in_by_scar_and_pool_is_filled_up_to_its_area():
    labels = ventricle(slices=1)
    core = sector(20, 20, outer_mm=25, slices=1)
    shell = sector(0, 60, slices=1) & ~core
    area_mm2 = core.sum() * 0.25
    np.testing.assert_array_equal(with_cores(shell, labels, SPACING_MM, area_mm2 + 0.01), shell | core)
    np.testing.assert_array_equal(with_cores(shell, labels, SPACING_MM, area_mm2 - 0.2), shell)
    open_core = sector(20, 20, inner_mm=25, slices=1)
    beside = sector(0, 60, slices=1) & ~open_core
    np.testing.assert_array_equal(with_cores(beside, labels, SPACING_MM, 1e6), beside)


@pytest.mark.parametrize("settings", METHODS)
def test_a_batch_gives_what_its_stacks_give_alone(settings):
    labels = ventricle(slices=3)
    stacks = np.stack([lge_of(labels, sector(30 * place, 90, slices=3), 5.0, place) for place in range(3)])
    stacks[1, 0] = np.nan
    together = find_scar(stacks, labels, SPACING_MM, settings)
    for stack, found in zip(stacks, together, strict=True):
        np.testing.assert_array_equal(found, find_scar(stack, labels, SPACING_MM, settings))


@pytest.mark.parametrize("settings", METHODS)
def test_brightness_and_contrast_change_nothing(settings):
    labels = ventricle()
    lge = lge_of(labels, sector(0, 100), noise=8.0)
    expected = find_scar(lge, labels, SPACING_MM, settings)
    np.testing.assert_array_equal(find_scar(lge * 4, labels, SPACING_MM, settings), expected)


EMPTY = np.zeros((6, 200, 200), bool)


@pytest.mark.parametrize("settings", METHODS)
@pytest.mark.parametrize(
    ("name", "scar", "expected"),
    [
        ("no scar", EMPTY, 0),
        ("constant image", None, 0),
        ("LGE that shows nothing", np.nan, 0),
        ("all scar, so that no remote myocardium is left", sector(0, 360), 0),
    ],
)
def test_degenerate_hearts(settings, name, scar, expected):
    labels = ventricle()
    if isinstance(scar, np.ndarray):
        lge = lge_of(labels, scar, noise=0.0)
    else:
        lge = np.full(labels.shape, BRIGHT if scar is None else scar, np.float32)
    assert find_scar(lge, labels, SPACING_MM, settings).sum() == expected, name


def test_a_heart_that_is_all_scar_but_for_a_given_remote_region_is_found():
    labels = ventricle()
    remote = sector(0, 30)
    lge = lge_of(labels, (labels == CLASS_INDEX["myo"]) & ~remote)
    found = find_scar(lge, labels, SPACING_MM, ScarSettings(), remote=remote)
    np.testing.assert_array_equal(found, (labels == CLASS_INDEX["myo"]) & ~remote)


def test_one_slice_and_unseen_pixels():
    labels, truth = ventricle(slices=1), sector(0, 90, slices=1)
    lge = lge_of(labels, truth)
    hidden = sector(45, 90, slices=1)
    lge[hidden] = np.nan
    np.testing.assert_array_equal(find_scar(lge, labels, SPACING_MM, ScarSettings()), truth & ~hidden)


def test_errors_are_named_together():
    labels = ventricle(slices=2)
    with pytest.raises(DataError) as caught:
        find_scar(np.zeros((3, 200, 200), np.float32), np.zeros_like(labels), SPACING_MM, ScarSettings())
    assert [error.split(":")[0] for error in caught.value.errors] == ["lge", "labels"]
    lge = lge_of(labels, sector(0, 50, slices=2))
    for remote, rule in ((EMPTY, "must have the labels' grid"), (labels == CLASS_INDEX["lv"], "must hold myocardium")):
        with pytest.raises(DataError, match=rule):
            find_scar(lge, labels, SPACING_MM, ScarSettings(), remote=remote)
    with pytest.raises(SettingsError) as refused:
        ScarSettings("otsu", -1.0, float("nan"), float("inf"))
    assert [error.split(":")[0] for error in refused.value.errors] == [
        "method",
        "n_sd",
        "smallest_mm2",
        "largest_core_mm2",
    ]
