import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scans import heart

from jointnet.geometry import identity, theta_from_parameters
from jointnet.networks import Output
from jointnet.preparation.counted_structures import cut_structures
from jointnet.settings import Settings, with_values
from jointnet.structures import CLASS_INDEX, STRUCTURES
from jointnet.train import losses
from jointnet.train.losses import (
    DICE_SMOOTHING_PX,
    LABEL_SMOOTHING,
    branch_losses,
    counted_structures,
    cross_entropy,
    registration_loss,
    soft_dice_loss,
    weighted_losses,
)

PIXELS = 8 * 8
ALL = torch.ones(1, 2, 3)
"""Every structure is labelled."""
WHOLE8, WHOLE10, WHOLE56 = (torch.ones(1, 1, side, side) for side in (8, 10, 56))
"""Fields that cover the whole image."""


def segmentation_loss(logits, target, field, alpha, labelled=ALL[:, 0]):
    return losses.segmentation_loss(logits, target, field, alpha, labelled.expand(len(logits), 3))


def one_hot(codes):
    return F.one_hot(codes.long(), 4).permute(0, 3, 1, 2).float()


def blocks(*counts):
    """Return codes (1, 8, 8): the first `counts[0]` pixels are of class 1, the next `counts[1]` of class 2, etc."""
    flat = torch.zeros(PIXELS)
    start = 0
    for code, count in enumerate(counts, start=1):
        flat[start : start + count] = code
        start += count
    return flat.reshape(1, 8, 8)


def framed(maps):
    """Return maps (B, 4, 10, 10) with a border of one background pixel, so that no structure touches the edge."""
    wide = F.pad(maps, (1, 1, 1, 1))
    wide[:, 0] = 1 - wide[:, 1:].sum(1)
    return wide


def hearts(*shifts):
    codes = torch.stack([torch.from_numpy(heart(shift)) for shift in shifts])
    return F.avg_pool2d(one_hot(codes), 4)


def settings(**values):
    return with_values(Settings(), {f"loss.{key}": value for key, value in values.items()}).loss


def soft_dice_miss(overlap, total):
    return 1 - (2 * overlap + DICE_SMOOTHING_PX) / (total + DICE_SMOOTHING_PX)


def test_uniform_scores_have_the_cross_entropy_log_4():
    target = one_hot(blocks(10, 20, 5))
    assert float(segmentation_loss(torch.zeros(1, 4, 8, 8), target, WHOLE8, 1.0)) == pytest.approx(math.log(4))


@pytest.mark.parametrize("counts", [(10, 20, 5), (64, 0, 0), (0, 0, 0)])
def test_uniform_scores_have_the_dice_of_a_quarter_everywhere(counts):
    expected = sum(soft_dice_miss(0.25 * count, 0.25 * PIXELS + count) for count in counts) / 3
    loss = segmentation_loss(torch.zeros(1, 4, 8, 8), one_hot(blocks(*counts)), WHOLE8, 0.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("counts", [(10, 20, 5), (0, 0, 0)])
def test_a_perfect_segmentation_costs_nothing(alpha, counts):
    target = one_hot(blocks(*counts))
    assert float(segmentation_loss(50 * target, target, WHOLE8, alpha)) == pytest.approx(0, abs=1e-6)


def test_a_wrong_segmentation_costs_the_margin_of_its_scores():
    target = one_hot(blocks(PIXELS, 0, 0))
    scores = torch.zeros(1, 4, 8, 8)
    scores[:, 2] = 30
    assert float(segmentation_loss(scores, target, WHOLE8, 1.0)) == pytest.approx(30, rel=1e-5)
    expected = (soft_dice_miss(0, PIXELS) + soft_dice_miss(0, PIXELS) + 0) / 3
    assert float(segmentation_loss(scores, target, WHOLE8, 0.0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_alpha_weighs_cross_entropy_against_dice(alpha):
    generator = torch.Generator().manual_seed(0)
    scores, target = torch.randn(3, 4, 8, 8, generator=generator), one_hot(blocks(10, 20, 5)).expand(3, -1, -1, -1)
    entropy, overlap = (float(segmentation_loss(scores, target, WHOLE8, a)) for a in (1.0, 0.0))
    mixed = float(segmentation_loss(scores, target, WHOLE8, alpha))
    assert mixed == pytest.approx(alpha * entropy + (1 - alpha) * overlap, rel=1e-5)
    assert entropy == pytest.approx(float(F.cross_entropy(scores, target.argmax(1))), rel=1e-5)


def test_both_terms_are_per_sample():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(3, 4, 8, 8, generator=generator)
    target = torch.cat([one_hot(blocks(count, 5, 0)) for count in (0, 9, 30)])
    for index in range(3):
        part = slice(index, index + 1)
        torch.testing.assert_close(
            cross_entropy(scores.log_softmax(1), target)[part], cross_entropy(scores[part].log_softmax(1), target[part])
        )
        torch.testing.assert_close(
            soft_dice_loss(scores.softmax(1), target)[part], soft_dice_loss(scores[part].softmax(1), target[part])
        )


def test_registered_labels_cost_no_dice_and_only_the_smoothing_s_cross_entropy():
    maps = framed(one_hot(blocks(16, 16, 16)))
    assert float(registration_loss(identity(1), maps, maps, WHOLE10, 0.0)) == pytest.approx(0, abs=1e-4)
    expected = -math.log(1 - LABEL_SMOOTHING + LABEL_SMOOTHING / 4)
    assert float(registration_loss(identity(1), maps, maps, WHOLE10, 1.0)) == pytest.approx(expected, abs=1e-4)


def test_labels_that_miss_altogether_cost_what_the_smoothing_allows():
    cine, lge = one_hot(blocks(16, 16, 16)), one_hot(blocks(0, 0, 0))
    lge[:, :, -1] = 0
    lge[:, 1, -1, :2], lge[:, 2, -1, 2:5], lge[:, 3, -1, 5:] = 1, 1, 1
    cine, lge = framed(cine), framed(lge)
    expected = sum(soft_dice_miss(0, 16 + count) for count in (2, 3, 3)) / 3
    assert float(registration_loss(identity(1), cine, lge, WHOLE10, 0.0)) == pytest.approx(expected, abs=1e-3)
    # 48 pixels of cine's structures on background of LGE, 8 and the border of background on background, 8 missed
    wrong, right = -math.log(LABEL_SMOOTHING / 4), -math.log(1 - LABEL_SMOOTHING + LABEL_SMOOTHING / 4)
    entropy = (48 * wrong + (8 + 36) * right + 8 * wrong) / (PIXELS + 36)
    assert float(registration_loss(identity(1), cine, lge, WHOLE10, 1.0)) == pytest.approx(entropy, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_registration_is_cheapest_where_the_motion_is_undone(alpha):
    cine, lge = hearts((0, 0)), hearts((9.0, -6.0))

    def loss(columns_mm, rows_mm):
        motion = torch.tensor([[0.0, 0, 0, 0, columns_mm / 84, rows_mm / 84]])
        return float(registration_loss(theta_from_parameters(motion), cine, lge, WHOLE56, alpha))

    assert loss(9, -6) == min(loss(9, -6), loss(0, 0), loss(-9, 6), loss(6, -6), loss(9, -3), loss(12, -6))


def test_a_structure_that_either_slice_lacks_is_left_out_of_dice():
    full, no_rv = framed(one_hot(blocks(16, 16, 16))), framed(one_hot(blocks(16, 16, 0)))
    for cine, lge in ((full, no_rv), (no_rv, full)):
        assert float(registration_loss(identity(1), cine, lge, WHOLE10, 0.0)) == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_structure_that_only_lge_has_does_not_pull(alpha):
    """Structures that one of the slices lacks are left out, so they do not affect the transform parameters."""
    cine = hearts((0, 0))
    lge_with, lge_without = hearts((6.0, 3.0)), hearts((6.0, 3.0))
    for maps in (cine, lge_without):
        maps[:, 0] += maps[:, 3]
        maps[:, 3] = 0
    gradients = []
    for lge in (lge_with, lge_without):
        theta = identity(1).requires_grad_()
        registration_loss(theta, cine, lge, WHOLE56, alpha).backward()
        gradients.append(theta.grad)
    assert float(gradients[1].abs().max()) > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_structure_that_only_cine_has_does_not_pull(alpha):
    cine_with, cine_without, lge = hearts((0, 0)), hearts((0, 0)), hearts((6.0, 3.0))
    for maps in (cine_without, lge):
        maps[:, 0] += maps[:, 3]
        maps[:, 3] = 0
    gradients = []
    for cine in (cine_with, cine_without):
        theta = identity(1).requires_grad_()
        registration_loss(theta, cine, lge, WHOLE56, alpha).backward()
        gradients.append(theta.grad)
    assert float(gradients[1].abs().max()) > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_slices_that_share_nothing_count_nothing(alpha):
    lv_only, myo_only, full, other = (
        framed(one_hot(blocks(*counts))) for counts in ((0, 16, 0), (16, 0, 0), (9, 16, 4), (4, 20, 9))
    )
    alone = registration_loss(identity(1), full, other, WHOLE10, alpha)
    among = registration_loss(
        identity(3), torch.cat([lv_only, full, lv_only * 0]), torch.cat([myo_only, other, full]), WHOLE10, alpha
    )
    torch.testing.assert_close(alone, among)
    assert float(alone) > 0.01
    nothing = registration_loss(identity(1), lv_only, myo_only, WHOLE10, alpha)
    assert float(nothing) == 0


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_gradients_are_finite_however_far_the_labels_are_moved(alpha):
    cine, lge = hearts((0, 0)), hearts((9.0, -6.0))
    empty = one_hot(torch.zeros(1, 56, 56))
    for first, second in ((cine, lge), (cine, empty), (empty, empty), (cine, cine)):
        for shift in (0.0, 0.3, 5.0):
            theta = theta_from_parameters(torch.tensor([[0.3, 0.2, -0.2, 0.1, shift, shift]])).requires_grad_()
            loss = registration_loss(theta, first, second, WHOLE56, alpha)
            loss.backward()
            assert math.isfinite(float(loss.detach()))
            assert torch.isfinite(theta.grad).all()


def test_gradients_of_the_segmentation_are_finite_for_extreme_scores():
    for scale in (0.0, 1.0, 1e4):
        scores = (scale * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))).requires_grad_()
        segmentation_loss(scores, one_hot(blocks(10, 20, 5)), WHOLE8, 0.5).backward()
        assert torch.isfinite(scores.grad).all()


def test_half_precision_scores_are_computed_in_full():
    target = one_hot(blocks(10, 20, 5))
    assert segmentation_loss(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), target, WHOLE8, 1.0).dtype == torch.float32


def left_out(maps, place, structure):
    """Return the maps without a structure in one sample."""
    maps = maps.clone()
    maps[place, 0] += maps[place, structure]
    maps[place, structure] = 0
    return maps


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_structure_that_the_field_cuts_in_a_slice_is_left_out_of_it(alpha):
    """The field of the first of two slices ends in the RV, 38 mm to the left of the centre."""
    cine, lge = hearts((0, 0), (3, 0)), hearts((6.0, 3.0), (0, -6.0))
    field = WHOLE56.repeat(2, 1, 1, 1)
    field[0, :, :, :15] = 0
    rv = CLASS_INDEX["rv"]
    assert counted_structures(cine, lge, field)[:, rv - 1].tolist() == [False, True]
    cut = registration_loss(identity(2), cine, lge, field, alpha)
    without = registration_loss(identity(2), left_out(cine, 0, rv), left_out(lge, 0, rv), WHOLE56, alpha)
    torch.testing.assert_close(cut, without)
    assert float(cut) != float(registration_loss(identity(2), cine, lge, WHOLE56, alpha))
    assert float(registration_loss(identity(2), cine, lge, 0 * field, alpha)) == 0


def test_structures_count_as_in_the_evaluation():
    """At full resolution, with maps of 0 and 1, the rule is that of `cut_structures`."""
    generator = np.random.default_rng(0)
    labels = np.stack([np.stack([heart(shift), heart(shift + 4)]) for shift in generator.normal(0, 9, (12, 2))])
    labels[3, 1][labels[3, 1] == CLASS_INDEX["lv"]] = 0
    field = np.zeros((12, 224, 224), bool)
    for each in field:
        top, left, bottom, right = (int(width) for width in generator.integers(0, 100, 4))
        each[top : 224 - bottom, left : 224 - right] = True
    maps = [one_hot(torch.from_numpy(labels[:, image])) for image in (0, 1)]
    found = counted_structures(*maps, torch.from_numpy(field)[:, None].float())
    for name, cut in zip(STRUCTURES, cut_structures(labels, field).T, strict=True):
        shared = (labels == CLASS_INDEX[name]).any((2, 3)).all(1)
        np.testing.assert_array_equal(found[:, CLASS_INDEX[name] - 1].numpy(), shared & ~cut)
        assert 0 < cut.sum() < 12


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_pixels_outside_of_the_field_cost_nothing_and_the_others_what_they_cost(alpha):
    generator = torch.Generator().manual_seed(2)
    scores, target = torch.randn(2, 4, 8, 8, generator=generator), one_hot(blocks(10, 20, 5)).repeat(2, 1, 1, 1)
    field = WHOLE8.repeat(2, 1, 1, 1)
    field[:, :, :, 5:] = 0
    loss = segmentation_loss(scores, target, field, alpha)
    changed = torch.where(field > 0, scores, torch.randn(2, 4, 8, 8, generator=generator))
    torch.testing.assert_close(segmentation_loss(changed, target, field, alpha), loss)
    torch.testing.assert_close(
        segmentation_loss(scores, target.roll(1, 1) * (1 - field) + target * field, field, alpha), loss
    )
    inside = segmentation_loss(scores[..., :5], target[..., :5], WHOLE8[..., :5], 1.0)
    torch.testing.assert_close(segmentation_loss(scores, target, field, 1.0), inside * 5 / 8)
    assert float(segmentation_loss(scores, target, 0 * field, alpha)) == 0


def test_branches_are_those_the_model_has():
    maps = one_hot(blocks(10, 20, 5))
    logits = torch.zeros(1, 4, 8, 8)
    assert set(branch_losses(Output(identity(1)), maps, maps, WHOLE8, ALL, settings())) == {"registration"}
    found = branch_losses(Output(identity(1), 50 * maps, logits), maps, maps, WHOLE8, ALL, settings(alpha=1.0))
    assert set(found) == {"registration", "cine", "lge"}
    assert float(found["cine"]) == pytest.approx(0, abs=1e-6)
    assert float(found["lge"]) == pytest.approx(math.log(4))


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.2, 0.3, 0.5), (2.0, 40.0, 100.0)])
def test_each_branch_is_weighed_by_its_lambda_unnormalised(weights):
    branches = {"registration": torch.tensor(3.0), "cine": torch.tensor(5.0), "lge": torch.tensor(7.0)}
    chosen = settings(lambda_1=weights[0], lambda_2=weights[1], lambda_3=weights[2])
    expected = dict(
        zip(branches, (weight * loss for weight, loss in zip(weights, (3, 5, 7), strict=True)), strict=True)
    )
    assert {name: float(loss) for name, loss in weighted_losses(branches, chosen).items()} == pytest.approx(expected)
    assert set(weighted_losses({"registration": branches["registration"]}, chosen)) == {"registration"}


def explicit_loss(logits, codes, labelled, alpha):
    """Return the marginal loss of one image (C, H, W) in float64 from sums of probabilities; None if nothing counts."""
    if not labelled.any():
        return None
    probabilities = logits.double().softmax(0)
    of_structure = {index: probabilities[index] for index in (1, 2, 3) if labelled[index - 1]}
    background = 1 - sum(of_structure.values())
    entropy = 0.0
    for code in codes.unique().tolist():
        entropy -= (background if code == 0 else of_structure[code])[codes == code].log().sum()
    overlaps = [
        1
        - (2 * found[codes == index].sum() + DICE_SMOOTHING_PX)
        / (found.sum() + (codes == index).sum() + DICE_SMOOTHING_PX)
        for index, found in of_structure.items()
    ]
    return alpha * entropy / codes.numel() + (1 - alpha) * sum(overlaps) / len(overlaps)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "labelled",
    [
        [(1, 1, 1), (1, 1, 1)],
        [(1, 1, 0), (1, 1, 1)],
        [(0, 1, 0), (1, 1, 0)],
        [(0, 0, 0), (1, 1, 1)],
        [(0, 0, 0), (1, 0, 0)],
    ],
    ids=str,
)
def test_a_structure_that_nobody_drew_counts_as_background_or_itself(alpha, labelled):
    known = torch.tensor(labelled, dtype=torch.float32)
    logits = 3 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    codes = torch.cat(
        [blocks(*(count * int(here) for count, here in zip((10, 20, 5), each, strict=True))) for each in labelled]
    )
    each = [explicit_loss(*args, alpha) for args in zip(logits, codes, known, strict=True)]
    counted = [value for value in each if value is not None]
    loss = segmentation_loss(logits, one_hot(codes), WHOLE8, alpha, known)
    assert float(loss) == pytest.approx(float(sum(counted) / len(counted)), rel=2e-5)


def test_scores_among_what_nobody_drew_have_no_gradient():
    """Where RV is not labelled, moving probability between background and RV changes nothing."""
    logits = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    logits[:, 1:3] -= 60  # nothing but background and RV
    logits.requires_grad_()
    segmentation_loss(logits, one_hot(blocks(0, 0, 0)), WHOLE8, 0.5, torch.tensor([[1.0, 1.0, 0.0]])).backward()
    assert float(logits.grad.abs().max()) < 1e-7


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_an_image_in_which_nothing_is_labelled_has_no_influence_and_no_gradient(alpha):
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3, 4, 8, 8, generator=generator).requires_grad_()
    target = one_hot(torch.cat([blocks(10, 20, 5), blocks(0, 0, 0), blocks(4, 9, 9)]))
    known = torch.tensor([[1.0] * 3, [0.0] * 3, [1.0] * 3])
    loss = segmentation_loss(logits, target, WHOLE8, alpha, known)
    loss.backward()
    torch.testing.assert_close(loss, segmentation_loss(logits[[0, 2]], target[[0, 2]], WHOLE8, alpha))
    assert float(logits.grad[1].abs().max()) == 0
    assert float(logits.grad[0].abs().max()) > 0
    alone = logits[1:2].detach().requires_grad_()
    nothing = segmentation_loss(alone, target[1:2], WHOLE8, alpha, known[1:2])
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert float(alone.grad.abs().max()) == 0


def test_with_everything_labelled_the_loss_is_to_the_bit_that_of_all_classes():
    generator = torch.Generator().manual_seed(6)
    logits, target = 4 * torch.randn(5, 4, 8, 8, generator=generator), one_hot(blocks(10, 20, 5)).repeat(5, 1, 1, 1)
    log_probabilities = logits.log_softmax(1)
    dice = soft_dice_loss(log_probabilities.exp(), target)[:, 1:].mean(1)
    expected = (0.3 * cross_entropy(log_probabilities, target) + (1 - 0.3) * dice).mean()
    assert float(segmentation_loss(logits, target, WHOLE8, 0.3)) == float(expected)
