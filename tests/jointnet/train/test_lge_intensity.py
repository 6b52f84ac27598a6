import pytest
import torch
import torch.nn.functional as F

from jointnet.settings import AugmentationSettings
from jointnet.structures import CLASS_INDEX
from jointnet.train.lge_intensity import (
    BRIGHTNESS_LIMITS,
    SCAR_BRIGHTNESS,
    SCAR_PX,
    TEXTURE,
    LgeIntensityAugmentation,
    augment_lge_intensity,
    draw_lge_intensity,
)

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


def test_a_batch_is_its_samples_one_by_one():
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
