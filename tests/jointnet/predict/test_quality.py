import math

import numpy as np
import pytest
from scans import affine_about, axes, heart

from jointnet.common_grid import HALF_EXTENT_MM, SIZE_PX
from jointnet.networks.apply import Prediction
from jointnet.predict.back_projection import registration
from jointnet.predict.quality import patient_agreement, patient_warnings, quality_sheet, slice_qualities
from jointnet.preparation.grid import Stack, common_grid
from jointnet.structures import CLASS_INDEX

SHIFT = (6.0, -3.0)


def theta(*shifts_mm):
    affine = np.tile(np.eye(2, 3, dtype=np.float32), (len(shifts_mm), 1, 1))
    affine[:, :, 2] = np.array(shifts_mm) / HALF_EXTENT_MM
    return affine


def without(labels, *names):
    return np.where(np.isin(labels, [CLASS_INDEX[name] for name in names]), 0, labels).astype(np.uint8)


def predicted(cine, lge, *shifts):
    return Prediction(theta(*shifts), np.stack(cine), np.stack(lge))


def test_a_perfect_registration_agrees_afterwards_and_tells_its_displacement():
    (quality,) = slice_qualities(predicted([heart()], [heart(SHIFT)], SHIFT), 25.0)
    assert quality.displacement_mm == pytest.approx(math.hypot(*SHIFT), abs=1e-4)
    assert set(quality.dice_after) == {"lv", "myo", "rv"}
    # 6 and -3 mm are whole pixels of 0.75 mm
    assert all(value == 1 for value in quality.dice_after.values())
    assert all(value < 0.95 for value in quality.dice_before.values())
    assert quality.agreement[1] == 1
    assert quality.warnings == ()


def test_the_displacement_is_that_of_the_heart_not_of_the_field():
    turn = np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]], np.float32)
    labels = np.where(heart((30.0, 0.0)) == CLASS_INDEX["rv"], 0, heart((30.0, 0.0))).astype(np.uint8)
    (quality,) = slice_qualities(Prediction(turn, labels[None], labels[None]), 80.0)
    # a rotation by 90 degrees maps (30, 0) to (0, 30)
    np.testing.assert_allclose(quality.shift_mm, (-30.0, 30.0), atol=0.1)
    (pointed,) = slice_qualities(Prediction(turn, None, None), 80.0, (30.0, 0.0))
    np.testing.assert_allclose(pointed.shift_mm, (-30.0, 30.0), atol=0.1)
    (blind,) = slice_qualities(Prediction(theta(SHIFT), None, None), 25.0)
    np.testing.assert_allclose(blind.shift_mm, SHIFT, atol=1e-4)
    assert math.isnan(blind.agreement[0])


def test_nothing_is_said_about_a_structure_that_the_model_does_not_segment():
    no_rv = without(heart(), "rv")
    prediction = predicted([no_rv], [no_rv], (0.0, 0.0))._replace(structures=("lv", "myo"))
    (quality,) = slice_qualities(prediction, 25.0)
    assert quality.warnings == ()
    assert set(quality.dice_after) == {"lv", "myo"}
    nothing = predicted([no_rv * 0], [no_rv * 0], (0.0, 0.0))._replace(structures=("lv", "myo"))
    assert slice_qualities(nothing, 25.0)[0].warnings == ("no structure found in either scan",)


@pytest.mark.parametrize(
    "cine, lge, expected",
    [
        (heart(), without(heart(), "rv"), ("RV not found in LGE",)),
        (without(heart(), "lv", "rv"), heart(), ("LV and RV not found in cine",)),
        (without(heart(), "rv"), without(heart(), "rv"), ("RV not found in either scan",)),
        (
            without(heart(), "rv"),
            without(heart(), "lv", "rv"),
            ("LV not found in LGE", "RV not found in either scan"),
        ),
        (np.zeros((SIZE_PX, SIZE_PX), np.uint8), heart(), ("LV and myocardium and RV not found in cine",)),
        (np.zeros((SIZE_PX, SIZE_PX), np.uint8),) * 2 + (("no structure found in either scan",),),
        (heart(), heart(), ()),
    ],
)
def test_a_structure_that_is_missing_is_named(cine, lge, expected):
    (quality,) = slice_qualities(predicted([cine], [lge], (0.0, 0.0)), 25.0)
    assert quality.warnings == expected


def test_a_slice_that_got_worse_or_departs_or_is_at_the_limit_is_named():
    shifts = [(0.0, 0.0), (0.0, 0.0), (0.0, 24.0)]
    *_, last = slice_qualities(predicted([heart()] * 3, [heart()] * 3, *shifts), 25.0)
    assert "displacement differs by 24.0 mm from the median of the slices" in last.warnings
    assert "displacement is near the model's limit of 25 mm" in last.warnings
    assert any(warning.startswith("predicted Dice of LV falls from 1.00 to 0.") for warning in last.warnings)


def pair_of(cine_slices, lge_slices):
    stacks = [
        Stack(affine_about(axes(), (2, 2, 5), shape), shape) for shape in ((60, 60, cine_slices), (60, 60, lge_slices))
    ]
    grid = common_grid(*stacks)
    return registration(*stacks, grid, theta(*[SHIFT] * grid.slices))


def test_the_patient_s_warnings_name_slices_of_cine():
    pair = pair_of(5, 3)
    labels = [heart(), heart(), without(heart(), "rv")]
    qualities = slice_qualities(predicted(labels, [heart(SHIFT)] * 3, SHIFT, SHIFT, SHIFT), 25.0)
    assert patient_warnings(pair, qualities) == [
        "outside the region that both scans cover, so 0: cine slices 0, 4",
        "slice 3: RV not found in cine",
    ]
    assert patient_agreement(qualities)[1] > 0.95
    assert all(
        math.isnan(value) for value in patient_agreement(slice_qualities(Prediction(theta(SHIFT), None, None), 25.0))
    )


@pytest.mark.parametrize("slices", [1, 7, 31])
@pytest.mark.parametrize("segmented", [True, False, "empty"])
def test_a_sheet_is_drawn_of_any_number_of_slices(slices, segmented):
    pair = pair_of(slices, slices)
    labels = np.stack([heart()] * slices) if segmented is True else np.zeros((slices, SIZE_PX, SIZE_PX), np.uint8)
    prediction = Prediction(pair_theta(slices), *([labels, labels] if segmented else [None, None]))
    qualities = slice_qualities(prediction, 25.0)
    warnings = [f"slice {number}: $x^ is not mathematics" for number in range(20)]
    images = np.random.default_rng(0).uniform(size=(slices, 2, SIZE_PX, SIZE_PX)).astype(np.float16)
    arguments = (pair, images, images[:, 1], prediction, qualities, warnings)
    sheet = quality_sheet(*arguments)
    assert sheet.startswith(b"\x89PNG")
    assert len(sheet) > 20_000
    if slices == 1:
        assert quality_sheet(*arguments) == sheet


def pair_theta(slices):
    return theta(*[SHIFT] * slices)
