import math

import pytest
import torch
import torch.nn.functional as F
from scans import invert, tiny_settings

from jointnet.alignment import gauss_newton, guide_maps
from jointnet.alignment.gauss_newton import directions, monomials, normal_equations
from jointnet.alignment.guide_maps import segmentation_maps
from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.geometry import about, bounding_box, centres, identity, pixel_centres, theta_from_parameters
from jointnet.networks import registration
from jointnet.networks.affine_head import transform_limits
from jointnet.networks.output import Output
from jointnet.networks.registration import REFINEMENT, patient_mean_parameters, register

LIMITS = transform_limits(tiny_settings().model)
PLACE = torch.tensor([[9.0, -6.0]]) / HALF_EXTENT_MM


def maps_of(theta, coarse=56, fine=448):
    """Return soft maps (1, 3, 56, 56), area fractions, of a heart transformed by theta: map(x) = heart(theta x).

    The heart has an LV pool in an elliptic ring of myocardium around `PLACE`, and an RV pool that shows rotation.
    """
    centres = pixel_centres(fine)
    x, y = torch.meshgrid(centres, centres, indexing="xy")
    points = torch.stack([x, y], -1) @ theta[0, :, :2].T + theta[0, :, 2]
    u, v = ((points - PLACE[0]) * HALF_EXTENT_MM).unbind(-1)
    lv = (u / 22) ** 2 + (v / 19) ** 2 < 1
    myo = ((u / 32) ** 2 + (v / 29) ** 2 < 1) & ~lv
    rv = (((u + 42) / 18) ** 2 + ((v - 10) / 24) ** 2 < 1) & ~myo & ~lv
    return F.avg_pool2d(torch.stack([myo, lv, rv]).float()[None], fine // coarse)


def align(cine, lge, limits, steps, same_patient=False, descriptors=None):
    """Return theta (B, 2, 3) from the guided head's fit and, if asked for, the stages that follow it."""
    with torch.autocast("cpu", enabled=False):
        maps = segmentation_maps(cine, lge)
    fit = gauss_newton.align(maps, limits, steps)
    stages = {"pooling": "patient" if same_patient else "independent"}
    stages["refinement"] = "none" if descriptors is None else "descriptors"
    settings = tiny_settings(
        model__guide_steps=max(steps, 1),
        registration__descriptor_weight=1.0,
        **{f"registration__{name}": value for name, value in stages.items()},
    )
    with pytest.MonkeyPatch.context() as patch:
        described = iter(descriptors or ())
        patch.setattr(registration, "mind_descriptors", lambda *_: next(described))
        patch.setattr(registration, "transform_limits", lambda _: limits)
        images = torch.zeros(len(cine), 2, *cine.shape[2:])
        return register(Output(fit.theta, fit=fit), images, settings, images[:, 0] == 0)


def transform(angle_deg=0.0, scale_x=1.0, scale_y=1.0, shear=0.0, columns_mm=0.0, rows_mm=0.0):
    return torch.tensor(
        [
            [
                math.radians(angle_deg),
                math.log(scale_x),
                math.log(scale_y),
                shear,
                columns_mm / HALF_EXTENT_MM,
                rows_mm / HALF_EXTENT_MM,
            ]
        ]
    )


def error_mm(found, truth, cine):
    """Return the largest distance in mm between the positions of the heart's pixels under two affines."""
    centres = pixel_centres(cine.shape[-1])
    points = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1)[cine[0].sum(0) > 0.5]
    apart = points @ (found - truth)[0, :, :2].T + (found - truth)[0, :, 2]
    return float(apart.norm(dim=-1).max()) * HALF_EXTENT_MM


TRANSFORMS = [
    {},
    {"columns_mm": 6.0},
    {"columns_mm": -3.0, "rows_mm": 9.0},
    {"angle_deg": 5.0},
    {"angle_deg": -8.0},
    {"scale_x": 1.1, "scale_y": 1.1},
    {"scale_x": 0.92, "scale_y": 1.05},
    {"angle_deg": 6.0, "scale_x": 1.06, "scale_y": 0.96, "columns_mm": 5.0, "rows_mm": -7.0},
]


@pytest.mark.parametrize("wanted", TRANSFORMS)
def test_a_known_motion_is_recovered(wanted):
    """The transform follows clear segmentations that match. The prior has no effect if no residual remains."""
    truth = about(theta_from_parameters(transform(**wanted)), PLACE)
    cine, lge = maps_of(identity(1)), maps_of(invert(truth))
    assert error_mm(align(cine, lge, LIMITS, steps=12), truth, cine) < 0.3
    if wanted:
        assert error_mm(identity(1), truth, cine) > 1.5


def test_segmentations_that_do_not_fit_each_other_are_followed_less_far():
    """The rotation is underestimated if random pixels of LGE's maps are removed."""
    truth = about(theta_from_parameters(transform(angle_deg=10.0)), PLACE)
    cine, clear = maps_of(identity(1)), maps_of(invert(truth))
    worn = clear * (torch.rand(1, 1, 56, 56, generator=torch.Generator().manual_seed(0)) > 0.4)
    turns = [
        abs(float(torch.atan2(t[0, 1, 0], t[0, 0, 0]))) for t in (align(cine, m, LIMITS, 12) for m in (clear, worn))
    ]
    assert turns[0] == pytest.approx(math.radians(10), rel=0.05)
    assert turns[1] < turns[0]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps_are_a_start_already(steps):
    truth = about(theta_from_parameters(transform(columns_mm=8.0, rows_mm=-5.0)), PLACE)
    cine, lge = maps_of(identity(1)), maps_of(invert(truth))
    assert error_mm(align(cine, lge, LIMITS, steps), truth, cine) < 0.6


def test_without_steps_there_is_no_turn_and_no_scale():
    truth = about(theta_from_parameters(transform(angle_deg=10, columns_mm=8.0)), PLACE)
    found = align(maps_of(identity(1)), maps_of(invert(truth)), LIMITS, 0)
    torch.testing.assert_close(found[:, :, :2], torch.eye(2)[None])
    assert float(found[0, 0, 2]) > 0.5 * 8 / HALF_EXTENT_MM


def test_a_structure_that_only_one_image_shows_does_not_pull():
    truth = about(theta_from_parameters(transform(columns_mm=6.0, rows_mm=-3.0)), PLACE)
    cine, lge = maps_of(identity(1)), maps_of(invert(truth))
    whole = cine.clone()
    for maps in ((cine, lge), (lge, cine)):
        lacking = maps[1].clone()
        lacking[:, 2] = 0
        pair = (maps[0], lacking) if maps[0] is cine else (lacking, maps[0])
        assert error_mm(align(*pair, LIMITS, 10), truth, whole) < 0.6


@pytest.mark.parametrize(("cine_empty", "lge_empty"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("steps", [0, 1, 8])
def test_an_empty_segmentation_gives_the_identity(cine_empty, lge_empty, steps):
    full = maps_of(about(theta_from_parameters(transform(angle_deg=8, columns_mm=8.0)), PLACE))
    cine, lge = (full * 0 if empty else full for empty in (cine_empty, lge_empty))
    torch.testing.assert_close(align(cine, lge, LIMITS, steps), identity(1), atol=1e-4, rtol=0)


def test_a_few_stray_pixels_move_nothing_far():
    cine, lge = torch.zeros(1, 3, 56, 56), torch.zeros(1, 3, 56, 56)
    cine[0, 1, 10, 10], lge[0, 1, 45, 45] = 1, 1
    moved_mm = float(align(cine, lge, LIMITS, 8)[0, :, 2].norm()) * HALF_EXTENT_MM
    assert moved_mm < 0.25 * math.hypot(35 * 3, 35 * 3)


def test_the_motion_stays_within_its_limits():
    truth = about(theta_from_parameters(transform(angle_deg=40, scale_x=1.5, scale_y=1.5, columns_mm=30)), PLACE)
    cine, lge = maps_of(identity(1)), maps_of(invert(truth))
    limits = torch.tensor([0.05, 0.03, 0.03, 0.02, 0.04, 0.04])
    found = align(cine, lge, limits, 8)
    assert abs(math.atan2(found[0, 1, 0], found[0, 0, 0])) <= 0.05 + 1e-6
    determinant = float(torch.linalg.det(found[0, :, :2]))
    assert abs(math.log(determinant)) <= 0.06 + 1e-6


def test_a_batch_is_its_pairs_one_by_one():
    truths = [
        about(theta_from_parameters(transform(angle_deg=a, columns_mm=c)), PLACE) for a, c in ((3, 5), (-6, 0), (0, -9))
    ]
    lge = torch.cat([*(maps_of(invert(truth)) for truth in truths), torch.zeros(1, 3, 56, 56)])
    cine = maps_of(identity(1)).expand(4, -1, -1, -1)
    together = align(cine, lge, LIMITS, 6)
    for index in range(4):
        alone = align(cine[index : index + 1], lge[index : index + 1], LIMITS, 6)
        torch.testing.assert_close(alone[0], together[index], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 6])
@pytest.mark.parametrize("which", ["cine", "lge"])
def test_gradients_are_finite_and_not_zero(steps, which):
    truth = about(theta_from_parameters(transform(angle_deg=4, columns_mm=6)), PLACE)
    maps = {"cine": maps_of(identity(1)), "lge": maps_of(invert(truth))}
    maps[which].requires_grad_()
    align(maps["cine"], maps["lge"], LIMITS, steps)[0, 0, 2].backward()
    assert torch.isfinite(maps[which].grad).all()
    assert float(maps[which].grad.abs().max()) > 0


@pytest.mark.parametrize("steps", [0, 10])
@pytest.mark.parametrize(("entry", "towards"), [((0, 2), (0, 1)), ((1, 2), (1, 0))])
def test_the_gradient_points_where_a_finite_step_goes(steps, entry, towards):
    """Compare along a change of LGE's maps that moves its heart. Finite differences at edges limit the accuracy."""
    truth = about(theta_from_parameters(transform(columns_mm=5, rows_mm=-4)), PLACE)
    cine, lge = maps_of(identity(1)), maps_of(invert(truth)).requires_grad_()
    rolled = torch.roll(lge.detach(), towards, (2, 3))
    direction = rolled - lge.detach()
    value = align(cine, lge, LIMITS, steps)[0][entry]
    value.backward()
    predicted = float((lge.grad * direction).sum())
    step = 0.05
    found = align(cine, lge.detach() + step * direction, LIMITS, steps)[0][entry]
    measured = float(found - value.detach()) / step
    assert measured > 0
    assert predicted == pytest.approx(measured, rel=0.5)


def test_empty_maps_give_finite_gradients():
    cine, lge = (torch.zeros(2, 3, 28, 28, requires_grad=True) for _ in range(2))
    align(cine, lge, LIMITS, 4).sum().backward()
    assert torch.isfinite(cine.grad).all()
    assert torch.isfinite(lge.grad).all()


def volume_maps(transforms):
    """Return the maps of slices, each with its own transform."""
    thetas = [about(theta_from_parameters(one), PLACE) for one in transforms]
    return torch.cat([maps_of(identity(1))] * len(transforms)), torch.cat([maps_of(invert(theta)) for theta in thetas])


def test_a_slice_that_shows_nothing_takes_its_patients_motion():
    wanted = transform(columns_mm=6.0, rows_mm=-4.0)
    cine, lge = volume_maps([wanted] * 5)
    cine[2], lge[2] = 0, 0
    found = align(cine, lge, LIMITS, 8, same_patient=True)
    truth = about(theta_from_parameters(wanted), PLACE)[0, :, 2]
    assert float((found[2, :, 2] - truth).norm()) * HALF_EXTENT_MM < 0.5
    torch.testing.assert_close(align(cine, lge, LIMITS, 8)[2:3], identity(1), atol=1e-4, rtol=0)


def test_one_slice_far_off_does_not_move_its_patient():
    good, bad = transform(columns_mm=2.0), transform(columns_mm=20.0)
    precision = torch.full((7, 6), 1e6)
    found = patient_mean_parameters(torch.cat([good] * 6 + [bad]), precision)
    assert float(found[4]) * HALF_EXTENT_MM == pytest.approx(2.0, abs=0.3)
    torch.testing.assert_close(
        patient_mean_parameters(torch.cat([good] * 7), precision)[4], good[0, 4], rtol=0.02, atol=0
    )


def test_the_order_of_a_patients_slices_does_not_matter():
    cine, lge = volume_maps([transform(columns_mm=value) for value in (1.0, 4.0, 2.5)])
    order = [2, 0, 1]
    found = align(cine, lge, LIMITS, 6, same_patient=True)
    torch.testing.assert_close(align(cine[order], lge[order], LIMITS, 6, same_patient=True), found[order])


def test_descriptors_correct_segmentations_that_lie_elsewhere():
    """LGE's segmentation is 3 mm away from the heart in its descriptors. Strongly weighted descriptors dominate."""
    truth, wrong = (theta_from_parameters(transform(columns_mm=shift)) for shift in (5.0, 8.0))
    cine, lge = maps_of(identity(1)), maps_of(invert(wrong))
    seen = (20 * maps_of(identity(1)), 20 * maps_of(invert(truth)))
    by_segmentations, refined = align(cine, lge, LIMITS, 6), align(cine, lge, LIMITS, 6, descriptors=seen)
    assert error_mm(by_segmentations, wrong, cine) < 0.6
    assert error_mm(refined, truth, cine) < 0.6


@pytest.mark.parametrize("same_patient", [False, True])
def test_descriptors_count_around_the_heart_only(same_patient):
    cine, lge = maps_of(identity(1)), maps_of(invert(theta_from_parameters(transform(columns_mm=4.0))))
    flat = torch.ones(1, 4, *cine.shape[2:])
    far = flat.clone()
    far[..., :6, :] = torch.rand(1, 4, 6, cine.shape[-1], generator=torch.Generator().manual_seed(0))
    how = {"same_patient": same_patient}
    torch.testing.assert_close(
        align(cine, lge, LIMITS, 4, descriptors=(far, flat), **how),
        align(cine, lge, LIMITS, 4, descriptors=(flat, flat), **how),
    )


@pytest.mark.parametrize("same_patient", [False, True])
def test_the_box_where_descriptors_count_gives_what_the_whole_image_gives(same_patient, monkeypatch):
    cine, lge = maps_of(identity(1)), maps_of(invert(theta_from_parameters(transform(columns_mm=4.0))))
    noise = torch.rand(2, 1, 4, *cine.shape[2:], generator=torch.Generator().manual_seed(0))
    boxed = align(cine, lge, LIMITS, 4, same_patient, descriptors=(noise[0], noise[1]))
    boxes = []
    monkeypatch.setattr(
        guide_maps, "bounding_box", lambda mask: boxes.append(bounding_box(mask)) or (slice(0, 56), slice(0, 56))
    )
    torch.testing.assert_close(align(cine, lge, LIMITS, 4, same_patient, descriptors=(noise[0], noise[1])), boxed)
    ((rows, columns),) = boxes
    assert 20 < rows.stop - rows.start < 40
    assert 20 < columns.stop - columns.start < 50


@pytest.mark.parametrize(("descriptors", "times"), [(False, 1), (True, REFINEMENT)])
def test_a_refinement_takes_more_steps_also_where_nothing_counts(descriptors, times, monkeypatch):
    taken, fit = [], gauss_newton.fit
    for module in (gauss_newton, registration):
        monkeypatch.setattr(module, "fit", lambda *given: taken.append(given[4]) or fit(*given))
    cine, empty = maps_of(identity(1)).expand(2, -1, -1, -1), torch.zeros(2, 3, 56, 56)
    align(cine, cine, LIMITS, 4, same_patient=True, descriptors=(empty, empty) if descriptors else None)
    assert taken == [4, 4 * times]


def test_an_empty_segmentation_is_not_moved_by_descriptors():
    """Three slices match, one has an empty LGE segmentation, and the descriptors are noise."""
    cine = maps_of(identity(1)).expand(4, -1, -1, -1)
    lge = cine.clone()
    lge[3] = 0
    noise = torch.rand(2, 4, 4, *cine.shape[2:], generator=torch.Generator().manual_seed(0))
    found = align(cine, lge, LIMITS, 4, same_patient=True, descriptors=(2 * noise[0], 2 * noise[1]))
    common = align(cine[:3], lge[:3], LIMITS, 4, same_patient=True)
    torch.testing.assert_close(found[3], common[0], atol=5e-3, rtol=0)


@pytest.mark.parametrize("same_patient", [False, True])
def test_alignment_is_computed_in_32_bits_whatever_the_networks_compute_in(same_patient):
    cine, lge = maps_of(identity(1)), maps_of(invert(theta_from_parameters(transform(columns_mm=4.0, angle_deg=3.0))))
    plain = align(cine, lge, LIMITS, 4, same_patient)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(align(cine, lge, LIMITS, 4, same_patient), plain, atol=0, rtol=0)


SIZE = 12
POWERS = monomials(SIZE, torch.device("cpu"))
PARAMETERS = torch.tensor(
    [[0.0, 0, 0, 0, 0, 0], [math.radians(12), 0.1, -0.08, 0.05, 0.1, -0.2], [-0.3, -0.1, 0.1, -0.1, 0, 0.05]]
)
CENTRES = torch.tensor([[0.0, 0.0], [0.2, -0.1], [-0.4, 0.3]])


def drawn():
    """Return a random residual and gradient (3, 2, 12, 12) for three slices of two maps."""
    return torch.randn(3, 3, 2, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def jacobian(along_columns, along_rows, parameters, centre):
    """Return J (6, K H W) of one slice by automatic differentiation of the positions theta_p x about the centre."""
    points = centres(SIZE).double().reshape(-1, 2)

    def places(p):
        theta = about(theta_from_parameters(p[None]), centre[None])[0]
        return points @ theta[:, :2].T + theta[:, 2]

    moved = torch.autograd.functional.jacobian(places, parameters)
    pixels = torch.stack([along_columns.flatten(1), along_rows.flatten(1)], -1)
    return torch.einsum("kxa,xaj->jkx", pixels, moved).flatten(1)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_moments_give_the_jacobian_s_products(weighted):
    residual, along_columns, along_rows = drawn()
    weight = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters, middles = PARAMETERS.double(), CENTRES.double()
    second, first = normal_equations(
        residual.float(), along_columns.float(), along_rows.float(), POWERS, weight.float() if weighted else None
    )
    turned = directions(PARAMETERS, CENTRES)
    for index in range(3):
        exact = jacobian(along_columns[index], along_rows[index], parameters[index], middles[index])
        each = weight[index].flatten().repeat(2) if weighted else torch.ones(2 * SIZE**2, dtype=torch.float64)
        products = (turned @ second @ turned.mT)[index], (turned @ first[..., None])[index, :, 0]
        torch.testing.assert_close(products[0].double(), (exact * each) @ exact.T, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(
            products[1].double(), (exact * each) @ residual[index].flatten(), atol=1e-3, rtol=1e-4
        )


def test_maps_without_a_slope_say_nothing():
    flat = torch.zeros(3, 2, SIZE, SIZE)
    second, first = normal_equations(torch.ones_like(flat), flat, flat, POWERS)
    assert float(second.abs().max()) == float(first.abs().max()) == 0


def test_a_part_of_the_image_says_what_the_whole_says_with_no_weight_elsewhere():
    maps = [each.float() for each in drawn()]
    rows, columns = slice(2, 9), slice(5, 12)
    weight = torch.zeros(3, SIZE, SIZE)
    weight[:, rows, columns] = 1
    part = normal_equations(*(each[..., rows, columns] for each in maps), POWERS[:, rows, columns])
    torch.testing.assert_close(part, normal_equations(*maps, POWERS, weight), atol=1e-4, rtol=1e-5)


def test_a_batch_is_its_slices_one_by_one():
    residual, along_columns, along_rows = (each.float() for each in drawn())
    together = normal_equations(residual, along_columns, along_rows, POWERS)
    for index in range(3):
        one = slice(index, index + 1)
        alone = normal_equations(residual[one], along_columns[one], along_rows[one], POWERS)
        torch.testing.assert_close(alone, tuple(part[one] for part in together), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(directions(PARAMETERS[one], CENTRES[one]), directions(PARAMETERS, CENTRES)[one])


def test_what_a_prediction_asked_for_first_can_be_trained_through():
    """This size is used here only, first in inference mode, as by a validation before training."""
    maps = torch.ones(1, 1, 13, 13)
    with torch.inference_mode():
        normal_equations(maps, maps, maps, monomials(13, maps.device))
    residual = maps.clone().requires_grad_()
    normal_equations(residual, maps, maps, monomials(13, maps.device))[1].sum().backward()
    assert torch.isfinite(residual.grad).all()
