"""The stages after the network: pooling over the slices of a patient, and refinement by descriptors."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scans import heart, invert, tiny_settings

from jointnet.alignment.guide_maps import descriptor_maps
from jointnet.common_grid import HALF_EXTENT_MM, PIXEL_MM, SIZE_PX
from jointnet.geometry import about, identity, theta_from_parameters, warp
from jointnet.networks import build_model
from jointnet.networks.apply import predict
from jointnet.networks.output import Output
from jointnet.networks.registration import PREDICTION_SD, SLICE_SD, _search, register
from jointnet.structures import CLASS_INDEX

SLICES = 4
WHOLE = torch.ones(SLICES, 56, 56, dtype=torch.bool)
MOVED = torch.tensor([math.radians(4), 0.03, -0.02, 0.01, 7 / HALF_EXTENT_MM, -9 / HALF_EXTENT_MM])


def textures(count=SLICES, seed=0):
    """Return smooth random images (count, 1, 224, 224), another one for each slice."""
    noise = torch.rand(count, 1, 22, 22, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=SIZE_PX, mode="bicubic").clamp(0, 1)


def scan_pair(theta, seed=0):
    """Return images (S, 2, 224, 224) of which LGE shows cine's texture, dark for bright, moved by theta (S, 2, 3)."""
    cine = textures(len(theta), seed)
    return torch.cat([cine, 0.9 - 0.7 * warp(cine, invert(theta))], 1).numpy().astype(np.float16)


def thetas(parameters):
    return theta_from_parameters(parameters)


def error_mm(found, wanted, radius_mm=40.0):
    """Return the largest distance in mm between two transforms (S, 2, 3) of points on a circle about the centre."""
    angles = torch.linspace(0, 2 * math.pi, 24)
    reach = radius_mm / HALF_EXTENT_MM
    points = torch.stack([reach * angles.cos(), reach * angles.sin(), torch.ones(24)])
    return float(((torch.as_tensor(found) - wanted) @ points).norm(dim=1).max()) * HALF_EXTENT_MM


def descriptors_model(**dotted):
    return build_model(tiny_settings(model__name="descriptors", training__downsampling=2, **dotted))


@pytest.mark.parametrize("pooling", ["patient", "independent"])
def test_images_alone_give_a_transform_that_all_slices_have(pooling):
    wanted = thetas(MOVED.expand(SLICES, 6))
    found = predict(descriptors_model(registration__pooling=pooling), scan_pair(wanted)).theta
    assert error_mm(found, wanted) < (0.6 if pooling == "patient" else 1.2)
    assert error_mm(identity(SLICES), wanted) > 10


def test_slices_of_a_patient_may_differ_by_breath_holds():
    parameters = MOVED.repeat(SLICES, 1)
    parameters[:, 5] += torch.tensor([0.0, 2, -2, 1]) / HALF_EXTENT_MM
    wanted = thetas(parameters)
    assert error_mm(predict(descriptors_model(), scan_pair(wanted)).theta, wanted) < 1.2


def test_a_slice_that_shows_something_else_takes_its_patients_transform():
    wanted = thetas(MOVED.expand(SLICES, 6))
    images = scan_pair(wanted)
    images[2, 1] = scan_pair(wanted, seed=9)[2, 1]
    alone = predict(descriptors_model(registration__pooling="independent"), images).theta
    pooled = predict(descriptors_model(), images).theta
    assert error_mm(pooled[2], wanted[2]) < 0.5 * error_mm(alone[2], wanted[2])
    assert error_mm(pooled[[0, 1, 3]], wanted[[0, 1, 3]]) < 1.2


def test_descriptors_count_in_the_middle_of_what_both_scans_show_or_about_the_given_point():
    """The left and the right half of LGE are moved by different amounts. A scan shows the left half, then both."""
    left, right = (theta_from_parameters(MOVED * sign).expand(SLICES, 2, 3) for sign in (1.0, -1.0))
    images = scan_pair(left)
    images[:, 1, :, SIZE_PX // 2 :] = scan_pair(right)[:, 1, :, SIZE_PX // 2 :]
    field = np.zeros((SLICES, SIZE_PX, SIZE_PX), bool)
    field[:, :, : SIZE_PX // 2] = True
    model, quarter_mm = descriptors_model(), HALF_EXTENT_MM / 2
    by_field = predict(model, images, field=field).theta
    by_point = predict(model, images, heart_mm=(quarter_mm * 1.2, 0.0)).theta
    at = torch.tensor([[-0.5, 0.0]]), torch.tensor([[0.6, 0.0]])
    for found, wanted, centre in ((by_field, left, at[0]), (by_point, right, at[1])):
        assert error_mm(about(torch.as_tensor(found), -centre), about(wanted, -centre), 30.0) < 2.5


@pytest.mark.parametrize("slices", [1, 2])
@pytest.mark.parametrize("pooling", ["patient", "independent"])
def test_few_slices_are_registered_too(slices, pooling):
    wanted = thetas(MOVED.expand(slices, 6))
    found = predict(descriptors_model(registration__pooling=pooling), scan_pair(wanted)).theta
    assert error_mm(found, wanted) < 2


@pytest.mark.parametrize("name", ["descriptors", "standalone", "joint"])
@pytest.mark.parametrize("pooling", ["patient", "independent"])
@pytest.mark.parametrize("empty", ["field", "images"])
def test_where_nothing_is_shown_the_prediction_stays(name, pooling, empty):
    """Networks predict the identity before training."""
    settings = tiny_settings(model__name=name, model__head="fully_connected", registration__pooling=pooling)
    images = scan_pair(thetas(MOVED.expand(SLICES, 6)))
    field = np.zeros((SLICES, SIZE_PX, SIZE_PX), bool) if empty == "field" else None
    found = predict(build_model(settings), images * (empty == "field"), field=field).theta
    np.testing.assert_allclose(found, identity(SLICES), atol=1e-5)


def test_the_order_of_slices_does_not_matter():
    wanted = thetas(MOVED + 0.01 * torch.randn(SLICES, 6, generator=torch.Generator().manual_seed(0)))
    images, order = scan_pair(wanted), [2, 0, 3, 1]
    found = predict(descriptors_model(), images).theta
    np.testing.assert_allclose(predict(descriptors_model(), images[order]).theta, found[order], atol=1e-4)


def test_independent_slices_have_no_influence_on_each_other():
    images = scan_pair(thetas(MOVED * torch.arange(SLICES)[:, None] / 3))
    model = descriptors_model(registration__pooling="independent")
    together = predict(model, images).theta
    for index in range(SLICES):
        np.testing.assert_allclose(predict(model, images[[index]]).theta[0], together[index], atol=1e-4)


def pooled(parameters):
    settings = tiny_settings(model__name="standalone", registration__refinement="none")
    shown = torch.ones(len(parameters), 56, 56, dtype=torch.bool)
    return register(Output(thetas(parameters)), torch.zeros(len(parameters), 2, 56, 56), settings, shown)


def test_a_fully_connected_head_s_slices_are_pulled_to_their_mean_by_the_ratio_of_variances():
    """The mean is weakly drawn to the identity and robust, which hardly matters for small differences."""
    spread = 0.1 * torch.tensor(SLICE_SD) * torch.tensor([-1.0, 1.0])[:, None]
    found = pooled(spread)
    share = SLICE_SD[4] ** 2 / (SLICE_SD[4] ** 2 + PREDICTION_SD[4] ** 2)
    assert share == pytest.approx(0.31, abs=0.01)
    torch.testing.assert_close(found, thetas(share * spread), atol=1e-6, rtol=0)


def test_pooling_alone_leaves_slices_that_agree_nearly_as_they_are():
    wanted = 0.1 * MOVED.repeat(SLICES, 1)
    assert error_mm(pooled(wanted), thetas(wanted)) < 0.2


def test_one_wrong_slice_hardly_moves_the_others():
    parameters = torch.zeros(7, 6)
    parameters[3, 4] = 20 / HALF_EXTENT_MM
    moved_mm = pooled(parameters)[:, 0, 2] * HALF_EXTENT_MM
    assert float(moved_mm[[0, 1, 2, 4, 5, 6]].max()) < 1
    assert float(moved_mm[3]) < 8


def test_refinement_corrects_a_fully_connected_head_from_its_prediction_on():
    wanted = thetas(MOVED.expand(SLICES, 6))
    near = thetas(MOVED.expand(SLICES, 6) + torch.tensor([0.02, 0, 0, 0, 3 / HALF_EXTENT_MM, -2 / HALF_EXTENT_MM]))
    images = torch.from_numpy(scan_pair(wanted)).float()
    settings = tiny_settings(model__name="standalone", training__downsampling=1)
    found = register(Output(near), images, settings, WHOLE)
    assert error_mm(found, wanted) < 0.6 < 3 < error_mm(near, wanted)


def test_refinement_adds_the_segmentations_of_a_joint_model_with_a_fully_connected_head():
    """The images are flat. Only the segmentations, in which LGE lies 3 mm apart from the prediction, say where."""
    labels = torch.from_numpy(np.stack([heart(), heart((6.0, 0.0))])).long()
    logits = 20 * F.one_hot(labels, len(CLASS_INDEX) + 1).permute(0, 3, 1, 2).float()
    near, images = identity(SLICES), torch.full((SLICES, 2, 224, 224), 0.5)
    near[:, 0, 2] = 3 / HALF_EXTENT_MM
    output = Output(near, *(each.expand(SLICES, -1, -1, -1) for each in logits[:, None]))
    settings = tiny_settings(model__head="fully_connected", training__downsampling=1)
    found = register(output, images, settings, WHOLE)
    wanted = identity(SLICES)
    wanted[:, 0, 2] = 6 / HALF_EXTENT_MM
    assert error_mm(found, wanted) < 0.5


@pytest.mark.parametrize("segmented", [True, False])
def test_what_cine_shows_outside_the_common_field_counts_nothing(segmented):
    """The field ends within the disc and the heart. What descriptors near its rim see beyond it is left out."""
    labels = torch.from_numpy(heart()).long()
    logits = 20 * F.one_hot(labels, len(CLASS_INDEX) + 1).permute(2, 0, 1).float().expand(SLICES, -1, -1, -1)
    output = Output(identity(SLICES), logits, logits) if segmented else Output(identity(SLICES))
    images = torch.from_numpy(scan_pair(thetas(MOVED.expand(SLICES, 6) / 4))).float()
    field = torch.ones(SLICES, SIZE_PX, SIZE_PX, dtype=torch.bool)
    field[:, :, : SIZE_PX // 2 - 12] = False
    other = images.clone()
    other[:, :1] = torch.where(field[:, None], images[:, :1], 1.5 * textures(seed=7))
    settings = tiny_settings(
        model__name="joint" if segmented else "standalone", model__head="fully_connected", training__downsampling=1
    )
    found = register(output, images, settings, field)
    torch.testing.assert_close(register(output, other, settings, field), found)
    everywhere = register(output, other, settings, torch.ones_like(field))
    assert error_mm(found, everywhere) > 0.1


@pytest.mark.parametrize("side_mm", [78, 90, 132])
def test_what_lge_shows_at_the_rim_of_the_common_field_counts_nothing(side_mm):
    """Otherwise the rim, which is at the same place in both images, pulls the transform towards the identity."""
    parameters = torch.tensor([0, 0, 0, 0, 12 / HALF_EXTENT_MM, 0])
    wanted = thetas(parameters.expand(SLICES, 6))
    edge = (SIZE_PX - round(side_mm / PIXEL_MM)) // 2
    field = np.zeros((SLICES, SIZE_PX, SIZE_PX), bool)
    field[:, edge:-edge, edge:-edge] = True
    images = scan_pair(wanted)
    found = predict(descriptors_model(), images * field[:, None], field=field).theta
    np.testing.assert_allclose(found[:, 0, 2] * HALF_EXTENT_MM, 12, atol=0.3)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("first_column", [0, 22])
def test_the_search_finds_what_trying_every_translation_finds(first_column, together):
    generator = torch.Generator().manual_seed(0)
    cine, lge = torch.rand(2, SLICES, 4, 56, 56, generator=generator)
    shift = (3, -2)  # rows, columns
    lge = 0.7 * torch.roll(cine, shift, (2, 3)) + 0.3 * lge
    counts = torch.zeros(SLICES, 56, 56)
    counts[:, 16:40, 14:42] = torch.rand(SLICES, 24, 28, generator=generator)
    shown = torch.zeros(SLICES, 56, 56)
    shown[:, :, first_column:] = 1
    maps = descriptor_maps(cine, lge, counts, shown, 2.0)
    found = _search(maps, torch.ones(6), together)
    assert found.shape == (1 if together else SLICES, 6)
    torch.testing.assert_close(found[:, 4:], torch.tensor([shift[1], shift[0]]) * (2 / 56.0) + 0 * found[:, 4:])
    residuals = {}
    for shift_back in itertools.product(range(-5, 6), range(-5, 6)):
        back = tuple(-each for each in shift_back)
        weight = counts**2 * torch.roll(shown, back, (1, 2))
        squares = (cine - torch.roll(lge, back, (2, 3))) ** 2
        residuals[shift_back] = (squares.sum(1) * weight).sum() / weight.sum()
    assert min(residuals, key=residuals.get) == shift


def test_the_search_considers_no_translation_with_little_overlap():
    """LGE's left half would agree perfectly where hardly any pixel of both images counts."""
    cine, lge = torch.ones(1, 4, 56, 56), torch.zeros(1, 4, 56, 56)
    counts, shown = torch.zeros(1, 56, 56), torch.zeros(1, 56, 56)
    counts[:, 20:36, 20:36], shown[:, 20:36, 20:36] = 1, 1
    lge[..., :28] = 1
    found = _search(descriptor_maps(cine, lge, counts, shown, 1.0), torch.ones(6), True)[0, 4:]
    columns, rows = (28 * found).round().abs().tolist()
    assert (16 - columns) * (16 - rows) >= 16**2 / 2


def test_a_searched_translation_stays_within_the_limits():
    cine = torch.rand(1, 4, 56, 56, generator=torch.Generator().manual_seed(0))
    maps = descriptor_maps(cine, torch.roll(cine, 4, 3), torch.ones(1, 56, 56), torch.ones(1, 56, 56), 1.0)
    limits = torch.full((6,), 0.1)
    assert float(_search(maps, limits, True)[0, 4]) == pytest.approx(0.1)


@pytest.mark.parametrize("head", ["guided", "fully_connected"])
def test_a_joint_model_that_segments_nothing_is_refined_as_one_without_segmentations(head):
    """Before training it segments nothing and predicts the identity."""
    images = scan_pair(thetas(MOVED.expand(SLICES, 6) / 4))
    joint = build_model(tiny_settings(model__name="joint", model__head=head, training__downsampling=1))
    other = "descriptors" if head == "guided" else "standalone"
    wanted = predict(
        build_model(tiny_settings(model__name=other, training__downsampling=1)), images, field=WHOLE.numpy()
    )
    found = predict(joint, images, field=WHOLE.numpy())
    np.testing.assert_allclose(found.theta, wanted.theta, atol=1e-5)
    assert np.abs(found.theta - np.eye(2, 3)).max() > 0.01
