import math

import pytest
import torch
import torch.nn.functional as F
from scans import heart, invert

from jointnet.batches.augmentation import (
    BRIGHTNESS_LIMITS,
    ELASTIC_PX,
    FIELD_PX,
    KNOTS,
    SCAR_BRIGHTNESS,
    SCAR_PX,
    TEXTURE,
    Augmentation,
    Batch,
    ImageAugmentation,
    LgeIntensityAugmentation,
    apply_augmentation,
    augment_intensity,
    augment_lge_intensity,
    draw_augmentation,
    draw_field_cut,
    draw_lge_intensity,
    kept_field,
)
from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.geometry import compose, identity, theta_from_parameters, warp
from jointnet.settings import AugmentationSettings, Settings, with_values
from jointnet.structures import CLASS_INDEX

NOTHING = {field: 0.0 for field in AugmentationSettings.__dataclass_fields__}


def settings(**values):
    return with_values(
        Settings(), {f"augmentation.{key}": value for key, value in {**NOTHING, **values}.items()}
    ).augmentation


ALL = torch.ones(1, 1, 3)
"""Every structure is labelled."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=3, size=56):
    codes = torch.stack([torch.from_numpy(heart((3.0 * i, -2.0 * i)))[::4, ::4] for i in range(count)]).long()
    labels = torch.nn.functional.one_hot(codes, 4).permute(0, 3, 1, 2).float()
    images = torch.rand(2, count, 1, size, size, generator=generator(5))
    return Batch(
        images[0], images[1], labels, labels.flip(0), torch.ones(count, 1, size, size), ALL.expand(count, 2, 3)
    )


def uncoloured(theta, gamma=None):
    """Return parameters that transform one image and, if given, apply a gamma."""
    count = len(theta)
    gamma = torch.ones(count) if gamma is None else gamma
    return ImageAugmentation(theta, gamma, torch.zeros(count, KNOTS), torch.zeros(count, 1, FIELD_PX, FIELD_PX))


def rigid(cine, lge):
    """Return an augmentation without elastic deformation and intensity augmentation of LGE."""
    nothing = draw_augmentation(settings(), len(cine.theta), generator())
    return Augmentation(cine, lge, nothing.elastic, None, nothing.lge_intensity)


def flat(drawn):
    cut = () if drawn.field_cut is None else (drawn.field_cut,)
    return (*drawn.cine, *drawn.lge, drawn.elastic, *cut, *drawn.lge_intensity)


def close(first, second, **tolerance):
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def test_zero_settings_change_nothing():
    drawn = draw_augmentation(settings(), 3, generator())
    torch.testing.assert_close(drawn.cine.theta, identity(3))
    torch.testing.assert_close(drawn.lge.theta, identity(3))
    torch.testing.assert_close(drawn.cine.gamma, torch.ones(3))
    torch.testing.assert_close(drawn.lge.gamma, torch.ones(3))
    close(apply_augmentation(drawn, batch()), batch(), atol=2e-5, rtol=0)


def test_common_motion_moves_both_images_as_one():
    drawn = draw_augmentation(
        settings(common_rotation_deg=20, common_translation_mm=9, common_log_scale=0.2), 6, generator()
    )
    torch.testing.assert_close(drawn.cine.theta, drawn.lge.theta)
    assert float((drawn.cine.theta - identity(6)).abs().max()) > 0.05


def test_relative_motion_moves_lge_only():
    drawn = draw_augmentation(settings(relative_rotation_deg=9, relative_translation_mm=9), 6, generator())
    torch.testing.assert_close(drawn.cine.theta, identity(6))
    assert float((drawn.lge.theta - identity(6)).abs().max()) > 0.05


def test_what_registers_an_aligned_pair_afterwards_is_the_inverse_of_the_relative_motion():
    """cine'(x) = f(C x) and lge'(x) = f(C R x), so lge'(theta x) = cine'(x) for theta = R^-1."""
    alone = settings(relative_rotation_deg=6, relative_translation_mm=5, relative_log_scale=0.1)
    motion = {"common_rotation_deg": 30, "common_translation_mm": 4, "common_log_scale": 0.1}
    both = settings(relative_rotation_deg=6, relative_translation_mm=5, relative_log_scale=0.1, **motion)
    relative = draw_augmentation(alone, 8, generator(3)).lge.theta
    drawn = draw_augmentation(both, 8, generator(3))
    truth = compose(invert(drawn.lge.theta), drawn.cine.theta)
    torch.testing.assert_close(truth, invert(relative), atol=1e-5, rtol=1e-5)
    smooth = torch.nn.functional.avg_pool2d(batch(8).cine_labels, 5, stride=1, padding=2)
    moved = apply_augmentation(
        drawn, batch(8)._replace(cine=smooth[:, 1:2], lge=smooth[:, 1:2], cine_labels=smooth, lge_labels=smooth)
    )
    undone = warp(moved.lge_labels[:, 1:], truth)
    before = float((moved.lge_labels - moved.cine_labels)[:, 1:].abs().mean())
    after = float((undone - moved.cine_labels[:, 1:]).abs().mean())
    assert after < before / 4


def test_labels_move_with_their_image():
    drawn = draw_augmentation(
        settings(common_rotation_deg=15, common_translation_mm=9, relative_translation_mm=9), 3, generator(1)
    )
    plain = batch()
    lv = plain._replace(cine=plain.cine_labels[:, 2:3], lge=plain.lge_labels[:, 2:3])
    moved = apply_augmentation(drawn, lv)
    torch.testing.assert_close(moved.cine, moved.cine_labels[:, 2:3] * moved.field)
    torch.testing.assert_close(moved.lge, moved.lge_labels[:, 2:3] * moved.field)
    assert float((moved.cine - lv.cine).abs().max()) > 0.5


def test_labels_stay_probabilities_and_what_comes_in_is_background():
    shift = theta_from_parameters(torch.tensor([[0.0, 0, 0, 0, 1.0, 0]])).expand(3, 2, 3)
    full = torch.zeros(3, 4, 56, 56)
    full[:, 2] = 1
    image = full[:, :1] + 1
    whole = Batch(image, image, full, full, torch.ones(3, 1, 56, 56), ALL.expand(3, 2, 3))
    moved = apply_augmentation(rigid(uncoloured(shift), uncoloured(shift)), whole)
    torch.testing.assert_close(moved.cine_labels.sum(1), torch.ones(3, 56, 56))
    assert float(moved.cine_labels[:, 0, :, 30:].min()) == 1
    assert float(moved.cine[:, :, :, 30:].max()) == 0
    assert float(moved.cine_labels[:, 2, :, :26].min()) == pytest.approx(1)


def test_gamma_is_a_power_of_the_image_and_leaves_labels_alone():
    plain = batch()
    gammas = torch.tensor([0.5, 1.0, 2.0])
    moved = apply_augmentation(rigid(uncoloured(identity(3), gammas), uncoloured(identity(3), gammas.flip(0))), plain)
    for index, gamma in enumerate((0.5, 1.0, 2.0)):
        torch.testing.assert_close(moved.cine[index], plain.cine[index] ** gamma, atol=1e-3, rtol=0)
        torch.testing.assert_close(moved.lge[2 - index], plain.lge[2 - index] ** gamma, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.cine_labels, plain.cine_labels, atol=2e-5, rtol=0)


def test_a_batch_is_its_samples_one_by_one():
    drawn = draw_augmentation(Settings().augmentation, 3, generator(2))
    plain = batch()
    together = apply_augmentation(drawn, plain)
    for index in range(3):
        part = slice(index, index + 1)
        one = Augmentation(
            ImageAugmentation(*(values[part] for values in drawn.cine)),
            ImageAugmentation(*(values[part] for values in drawn.lge)),
            drawn.elastic[part],
            drawn.field_cut[[index, 3 + index]],
            LgeIntensityAugmentation(*(values[part] for values in drawn.lge_intensity)),
        )
        alone = apply_augmentation(one, Batch(*(values[part] for values in plain)))
        close(alone, (values[part] for values in together))


def test_the_generator_s_seed_decides():
    close(
        flat(draw_augmentation(Settings().augmentation, 5, generator(7))),
        flat(draw_augmentation(Settings().augmentation, 5, generator(7))),
    )
    first, other = (draw_augmentation(Settings().augmentation, 5, generator(seed)) for seed in (7, 8))
    assert not torch.allclose(first.cine.theta, other.cine.theta)
    torch.manual_seed(1)
    again = draw_augmentation(Settings().augmentation, 5, generator(7))
    torch.testing.assert_close(first.lge.gamma, again.lge.gamma)


@pytest.mark.parametrize(
    ("setting", "value", "read", "expected"),
    [
        (
            "common_rotation_deg",
            12.0,
            lambda d: torch.atan2(d.cine.theta[:, 1, 0], d.cine.theta[:, 0, 0]),
            math.radians(12),
        ),
        ("common_translation_mm", 8.0, lambda d: d.cine.theta[:, :, 2].flatten() * HALF_EXTENT_MM, 8.0),
        ("common_log_scale", 0.1, lambda d: d.cine.theta[:, 0, 0].log(), 0.1),
        ("common_log_scale", 0.1, lambda d: d.cine.theta[:, 1, 1].log(), 0.1),
        ("relative_translation_mm", 3.0, lambda d: d.lge.theta[:, :, 2].flatten() * HALF_EXTENT_MM, 3.0),
        (
            "relative_rotation_deg",
            3.0,
            lambda d: torch.atan2(d.lge.theta[:, 1, 0], d.lge.theta[:, 0, 0]),
            math.radians(3),
        ),
        ("relative_log_scale", 0.03, lambda d: d.lge.theta[:, 0, 0].log(), 0.03),
        ("log_gamma", 0.25, lambda d: d.cine.gamma.log(), 0.25),
        ("log_gamma", 0.25, lambda d: d.lge.gamma.log(), 0.25),
        ("curve", 0.3, lambda d: d.lge.curve, 0.3),
        ("log_bias", 0.2, lambda d: d.cine.log_bias, 0.2),
        ("elastic_mm", 2.0, lambda d: d.elastic * HALF_EXTENT_MM, 2.0),
    ],
)
def test_the_spread_is_the_stated_standard_deviation(setting, value, read, expected):
    drawn = read(draw_augmentation(settings(**{setting: value}), 4000, generator(11)))
    assert float(drawn.std()) == pytest.approx(expected, rel=0.06)  # the standard error of the SD is 1.1 %
    assert float(drawn.mean()) == pytest.approx(0, abs=0.08 * expected)


def test_the_curve_is_linear_between_its_knots():
    """Knots lie every 0.3 from 0 to 1.5. Displacing knot k by 0.1 k maps v to v + v / 3 and keeps 0."""
    drawn = uncoloured(identity(1))._replace(curve=0.1 * torch.arange(KNOTS)[None])
    values = torch.tensor([0.0, 0.15, 0.3, 0.7, 1.2, 1.5]).view(1, 1, 1, -1).repeat(1, 1, 6, 1)
    torch.testing.assert_close(augment_intensity(values, drawn), values * 4 / 3)


def test_a_curve_may_turn_the_contrast_round():
    drawn = uncoloured(identity(1))._replace(curve=torch.tensor([[1.0, 0.4, -0.2, -0.8, -1.2, -1.5]]))
    dark, bright = augment_intensity(torch.tensor([0.1, 0.9]).view(1, 1, 1, 2).repeat(1, 1, 2, 1), drawn)[0, 0, 0]
    assert dark > bright


def test_the_bias_field_scales_the_image():
    drawn = uncoloured(identity(1))._replace(log_bias=torch.full((1, 1, FIELD_PX, FIELD_PX), math.log(1.25)))
    image = torch.rand(1, 3, 20, 20, generator=generator())
    torch.testing.assert_close(augment_intensity(image, drawn), 1.25 * image)


def test_a_curve_below_0_is_lifted_instead_of_cut():
    """Knots at 0, 0.3, ... displaced by -0.5 have a minimum of -0.5, so the lift reverts the displacement."""
    drawn = uncoloured(identity(1))._replace(curve=torch.full((1, KNOTS), -0.5))
    image = torch.rand(1, 1, 20, 20, generator=generator()) + 0.01
    torch.testing.assert_close(augment_intensity(image, drawn), image)


def test_a_constant_displacement_is_a_translation_of_both_images():
    """moved(x) = image(x + E): images and labels are sampled 3 of 56 pixels to the right."""
    plain = batch()
    bent = rigid(uncoloured(identity(3)), uncoloured(identity(3)))
    elastic = torch.zeros(3, 2, ELASTIC_PX, ELASTIC_PX)
    elastic[:, 0] = 3 * 2 / 56
    moved = apply_augmentation(bent._replace(elastic=elastic), plain)
    for name in Batch._fields[:-1]:
        found, before = getattr(moved, name), getattr(plain, name)
        torch.testing.assert_close(found[..., :52], before[..., 3:55], atol=1e-4, rtol=0)
    assert not moved.field[..., 53:].any()


def test_the_pair_bends_as_one_and_labels_with_their_images():
    plain = batch()
    lv = Batch(plain.cine_labels[:, 2:3], plain.cine_labels[:, 2:3], plain.cine_labels, plain.cine_labels, *plain[4:])
    moved = apply_augmentation(draw_augmentation(settings(elastic_mm=6.0), 3, generator(1)), lv)
    torch.testing.assert_close(moved.cine, moved.cine_labels[:, 2:3] * moved.field)
    torch.testing.assert_close(moved.lge, moved.cine)
    assert float((moved.cine - lv.cine).abs().max()) > 0.5


@pytest.mark.parametrize("values", [{"relative_translation_mm": 9}, {"common_rotation_deg": 30}, {"elastic_mm": 5}])
def test_both_images_are_0_outside_of_the_field_they_have_in_common_after_the_motion(values):
    plain = batch()
    field = torch.zeros_like(plain.field)
    field[:, :, 12:44, 10:46] = 1
    bright = plain._replace(cine=plain.cine + 0.1, lge=plain.lge + 0.1, field=field)
    drawn = draw_augmentation(settings(**values), 3, generator(1))
    moved = apply_augmentation(drawn, bright)
    torch.testing.assert_close(moved.cine > 0, moved.field > 0)
    torch.testing.assert_close(moved.lge > 0, moved.field > 0)
    assert set(moved.field.unique().tolist()) == {0, 1}
    of_each = [  # the images' own fields: what is left of a stack of the fields alone
        apply_augmentation(drawn._replace(cine=one, lge=one), bright).field for one in (drawn.cine, drawn.lge)
    ]
    torch.testing.assert_close(moved.field, of_each[0] * of_each[1])
    assert moved.field.mean() < field.mean()
    labels = apply_augmentation(drawn, plain)
    torch.testing.assert_close(moved.cine_labels, labels.cine_labels)


def field(columns=(2, 22), rows=(4, 20)):
    """Return a field (1, 1, 24, 24) of 7 mm pixels."""
    shown = torch.zeros(1, 1, 24, 24)
    shown[:, :, slice(*rows), slice(*columns)] = 1
    return shown


@pytest.mark.parametrize(
    ("cut_px", "columns", "rows"),
    [
        ((0, 0, 0, 0), (2, 22), (4, 20)),
        ((3, 0, 0, 0), (5, 22), (4, 20)),
        ((0, 2, 0, 0), (2, 22), (6, 20)),
        ((0, 0, 1, 0), (2, 21), (4, 20)),
        ((0, 0, 0, 3), (2, 22), (4, 17)),
        ((2.5, 0, 0, 0), (5, 22), (4, 20)),  # a pixel that is partly cut is cut
        ((99, 99, 99, 99), (10, 14), (9, 13)),  # CUT_MARGIN_MM is 0.64 pixels: no pixel beside the label is kept
    ],
)
def test_a_field_is_cut_from_each_side_but_not_into_the_label(cut_px, columns, rows):
    labelled = torch.zeros(1, 3, 24, 24)
    labelled[:, 1, 9:12, 10:13], labelled[:, 2, 12, 13] = 1, 0.2
    kept = kept_field(field(), labelled, 7.0 * torch.tensor([cut_px], dtype=torch.float32))
    torch.testing.assert_close(field() * kept, field(columns, rows))


@pytest.mark.parametrize(("shown", "left"), [(field(), field((5, 19), (7, 17))), (field() * 0, field() * 0)])
def test_a_field_without_labels_is_cut_as_drawn_and_an_empty_one_stays_empty(shown, left):
    kept = kept_field(shown, torch.zeros(1, 3, 24, 24), torch.full((1, 4), 21.0))
    torch.testing.assert_close(shown * kept, left)


def test_a_field_narrower_than_its_cuts_is_empty():
    assert not (field() * kept_field(field(), torch.zeros(1, 3, 24, 24), torch.full((1, 4), 90.0))).any()


def test_cuts_are_uniform_and_of_as_many_images_as_asked():
    cut = draw_field_cut(settings(field_cut_mm=27, field_cut_probability=0.3), 4000, generator(1))
    chosen = cut.amax(1) > 0
    assert float(chosen.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(cut.max()) == pytest.approx(27, abs=0.1)
    assert float(cut[chosen].mean()) == pytest.approx(13.5, abs=0.4)
    assert torch.corrcoef(cut[chosen].T).fill_diagonal_(0).abs().max() < 0.1, "each side by itself"


@pytest.mark.parametrize("off", [{"field_cut_mm": 0, "field_cut_probability": 1}, {"field_cut_mm": 9}])
def test_0_switches_cuts_off(off):
    assert draw_augmentation(settings(**off), 3, generator()).field_cut is None


def test_cine_and_lge_are_cut_by_themselves_and_share_what_is_left():
    plain = batch()
    drawn = rigid(uncoloured(identity(3)), uncoloured(identity(3)))
    cut = torch.zeros(6, 4)
    cut[0, 0], cut[3, 2] = 9.0, 12.0  # of the first slice: 3 columns of cine on the left, 4 of LGE on the right
    moved = apply_augmentation(drawn._replace(field_cut=cut), plain)
    expected = torch.ones(3, 1, 56, 56)
    expected[0, :, :, :3] = expected[0, :, :, 52:] = 0
    torch.testing.assert_close(moved.field, expected)
    torch.testing.assert_close(moved.cine, plain.cine * expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(moved.lge, plain.lge * expected, atol=2e-5, rtol=0)


def test_only_lge_is_enhanced():
    plain = batch()
    moved = apply_augmentation(
        draw_augmentation(settings(structure_offset=0.3, scar_probability=1.0), 3, generator(1)), plain
    )
    torch.testing.assert_close(moved.cine, plain.cine, atol=2e-5, rtol=0)
    assert float((moved.lge - plain.lge).abs().max()) > 0.1


SIZE = 24


def labels():
    """Return one slice: a pool of 8 x 8 pixels in a frame of myocardium 4 pixels thick, and an RV beside it."""
    codes = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
    codes[:, 4:20, 4:20] = CLASS_INDEX["myo"]
    codes[:, 8:16, 8:16] = CLASS_INDEX["lv"]
    codes[:, 4:20, 20:] = CLASS_INDEX["rv"]
    return F.one_hot(codes, 4).permute(0, 3, 1, 2).float()


def drawn(offset=(0.0, 0.0, 0.0), scar=-9.0, brightness=1.0, scarred=1.0):
    return LgeIntensityAugmentation(
        torch.tensor([offset]),
        torch.full((1, 1, SCAR_PX, SCAR_PX), scar),
        torch.tensor([brightness]),
        torch.tensor([scarred]),
    )


def image(value=0.4):
    return torch.full((1, 1, SIZE, SIZE), value)


@pytest.mark.parametrize("nothing", [drawn(), drawn(scar=9.0, scarred=0.0)])
def test_no_offset_and_no_scar_change_nothing(nothing):
    noise = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(augment_lge_intensity(noise, labels(), nothing), noise)


def test_an_offset_is_added_within_its_structure_and_softened_by_a_pixel_at_the_edge():
    """Offsets are for myocardium, LV and RV: full inside, and one or two thirds of it at a straight edge."""
    found = augment_lge_intensity(image(), labels(), drawn(offset=(0.0, 0.3, 0.0)))[0, 0]
    assert float(found[12, 12]) == pytest.approx(0.7)
    assert float(found[12, 8]) == pytest.approx(0.4 + 0.3 * 2 / 3)
    assert float(found[12, 7]) == pytest.approx(0.4 + 0.3 / 3)
    assert float(found[12, 5]) == pytest.approx(0.4)


def test_a_scar_covers_the_myocardium_only_and_has_the_pool_s_brightness_times_its_own():
    """The mean of a pool of 64 pixels at 0.8 is 0.8 * 64 / 65: one pixel is added so that empty pools have a mean."""
    truth = labels()
    before = image() + 0.4 * truth[:, 2:3]
    after = augment_lge_intensity(before, truth, drawn(scar=9.0, brightness=1.5))
    scar = TEXTURE * 0.4 + (1 - TEXTURE) * 1.5 * 0.8 * 64 / 65
    torch.testing.assert_close(after, torch.where(truth[:, 1:2] > 0, torch.full_like(after, scar), before))


def test_a_slice_without_a_pool_stays_finite():
    empty = F.one_hot(torch.full((1, SIZE, SIZE), CLASS_INDEX["myo"]), 4).permute(0, 3, 1, 2).float()
    assert torch.isfinite(augment_lge_intensity(image(), empty, drawn(scar=9.0))).all()


def test_what_was_not_shown_stays_0_and_nothing_falls_below():
    before = image()
    before[..., :12] = 0
    after = augment_lge_intensity(before, labels(), drawn(offset=(-5.0, 5.0, 5.0)))
    assert float(after[..., :12].abs().max()) == 0
    assert float(after.min()) == 0


def test_neighbouring_slices_stay_as_they_are():
    stack = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) + 0.1
    after = augment_lge_intensity(stack, labels(), drawn(offset=(0.2, 0.2, 0.2)))
    torch.testing.assert_close(after[:, ::2], stack[:, ::2], atol=0, rtol=0)
    assert float((after[:, 1] - stack[:, 1]).max()) == pytest.approx(0.2)


def test_a_batch_of_lge_is_its_samples_one_by_one():
    found = draw_lge_intensity(AugmentationSettings(), 5, torch.Generator().manual_seed(3))
    images = torch.rand(5, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    together = augment_lge_intensity(images, labels().expand(5, -1, -1, -1), found)
    for index in range(5):
        one = slice(index, index + 1)
        alone = augment_lge_intensity(images[one], labels(), LgeIntensityAugmentation(*(value[one] for value in found)))
        torch.testing.assert_close(alone, together[one])


def test_the_draws_have_their_stated_spread():
    count = 4000
    found = draw_lge_intensity(
        AugmentationSettings(structure_offset=0.2, scar_probability=0.3), count, torch.Generator().manual_seed(1)
    )
    assert float(found.offset.std()) == pytest.approx(0.2, rel=0.05)
    assert float(found.scarred.mean()) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / count) ** 0.5)
    assert float(found.brightness.mean()) == pytest.approx(SCAR_BRIGHTNESS[0], abs=0.05)
    assert (float(found.brightness.min()), float(found.brightness.max())) == pytest.approx(BRIGHTNESS_LIMITS)
    assert set(found.scarred.tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 0.0), (1.0, 1.0)])
def test_the_ends_of_the_probability_are_never_and_always(probability, expected):
    found = draw_lge_intensity(
        AugmentationSettings(scar_probability=probability), 500, torch.Generator().manual_seed(0)
    )
    assert float(found.scarred.min()) == float(found.scarred.max()) == expected
