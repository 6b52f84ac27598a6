"""Who is shown, what counts as scar, and what a picture is made of."""

import math

import numpy as np
import pandas as pd
import pytest
import synthetic_store as synthetic

from study.reporting import efficiency, overlays, scar, tables
from study.reporting.records import ArmRecord
from study.reporting.shown import shown
from study.reporting.store import read_study


def record(gains: dict[int, float], fold: int = 1, arrays: bool = True, old: bool = False) -> ArmRecord:
    """Give an arm that leaves of each patient's errors exactly the patient's gain."""
    rows = synthetic.slice_rows(1.0, False, gains)
    rows["after"] = rows["before"] * rows["patient"].map(gains)
    make = synthetic.old_picture_arrays if old else synthetic.picture_arrays
    drawn = make(0.5, rows) if arrays else {}
    return ArmRecord("r", "joint-25", "joint", 25, 15, 5, {}, (), None, rows, drawn, {}, 1, 1.0, fold, 2)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({1: 0.9, 2: 0.5, 3: 0.7}, [("best", 2, 0.5), ("median", 3, 0.7), ("worst", 1, 0.9)]),
        ({1: 0.9, 2: 0.5, 3: 0.7, 4: 0.6}, [("best", 2, 0.5), ("median", 4, 0.6), ("worst", 1, 0.9)]),
        ({1: 0.9, 2: 0.5}, [("best", 2, 0.5), ("worst", 1, 0.9)]),
        ({1: 0.9}, [("best", 1, 0.9)]),
    ],
)
def test_best_median_and_worst(gains: dict[int, float], expected: list[tuple[str, int, float]]) -> None:
    found = shown([record(gains)])
    assert [(one.rank, one.patient) for one in found] == [(rank, patient) for rank, patient, _ in expected]
    assert [one.ratio for one in found] == pytest.approx([ratio for *_, ratio in expected])
    assert all(one.whole and len(one.slices) == 6 + one.patient % 3 for one in found)


def test_folds_are_ranked_together() -> None:
    found = shown([record({1: 0.9, 2: 0.5}), record({3: 0.4, 4: 0.95}, fold=2)])
    assert [(one.rank, one.patient, one.fold) for one in found] == [("best", 3, 2), ("median", 2, 1), ("worst", 4, 2)]


def test_whom_no_ratio_ranks_is_not_shown() -> None:
    arm = record({1: 0.9, 2: 0.5})
    assert arm.rows is not None
    arm.rows.drop(arm.rows[(arm.rows["patient"] == 2) & (arm.rows["structure"] == "rv")].index, inplace=True)  # noqa: PD002
    assert [one.patient for one in shown([arm])] == [1]
    assert shown([record({1: 0.9}, arrays=False)]) == ()


def test_an_old_study_shows_the_slice_that_it_kept() -> None:
    (one,) = shown([record({7: 0.9}, old=True)])
    assert (one.slices, one.whole) == ((2,), False)
    assert overlays.as_images(overlays.overlay(one))["png"].startswith(b"\x89PNG")


def test_scar_is_what_is_brighter_than_five_sd_above_the_darker_half() -> None:
    labels = np.ones((1, 10, 10), np.uint8)
    labels[0, :, 9] = 2  # bright blood is no scar
    values = np.array([0, 2] * 23 + [3] * 40 + [6, 6, 7, 9])  # the darker half, 45 values: 23 of 0 and 22 of 2
    lge = np.full((1, 10, 10), 200)
    lge[0, :, :9] = values.reshape(10, 9)
    mean = 44 / 45
    sd = math.sqrt((23 * mean**2 + 22 * (2 - mean) ** 2) / 44)
    assert scar.threshold(lge, labels) == pytest.approx(mean + 5 * sd)  # 6.04
    assert scar.scar(lge, labels, scar.threshold(lge, labels)).sum() == 2
    assert scar.share(lge, labels, scar.threshold(lge, labels)) == pytest.approx(2 / 90)


def test_without_enough_myocardium_there_is_no_scar() -> None:
    labels = np.zeros((2, 5, 5), np.uint8)
    assert scar.threshold(labels, labels) == math.inf
    assert math.isnan(scar.share(labels, labels, math.inf))


def test_the_checkerboard_takes_fields_by_turns() -> None:
    first, second = np.zeros((1, 12, 12)), np.ones((1, 12, 12))
    board = overlays._checkerboard(first, second)[0]
    assert board.mean() == 0.5
    assert [board[0, 0], board[0, 2], board[2, 2], board[2, 0]] == [0, 1, 0, 1]


def test_a_picture_differs_between_patients_and_is_the_same_twice(studies: str) -> None:
    arm = next(arm for arm in read_study(studies, synthetic.FULL).arms if arm.overlays)
    drawn = [overlays.as_images(overlays.overlay(one))["webp"] for one in shown([arm])[:2] for _ in range(2)]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]
    assert all(image[8:12] == b"WEBP" for image in drawn)


def test_the_curve_has_t_intervals_of_the_mean() -> None:
    frame = pd.DataFrame(
        {
            "patient": [1, 2, 3],
            "metric": "cd_mm",
            "structure": "lv",
            "before": [4.0, 5.0, 6.0],
            "after": [1.0, 2.0, 3.0],
        }
    )
    arms = {"joint-25": (record({1: 0.5}),)}
    before, after = efficiency.efficiency({"joint-25": frame}, arms, tables.REGISTRATION[:1]).to_dict("records")
    assert (before["train"], before["mean"], after["train"], after["mean"]) == (0, 5.0, 25, 2.0)
    reach = 4.302652729749464 / math.sqrt(3)  # the 97.5 % quantile of t with 2 degrees of freedom, SD 1
    assert (after["low"], after["high"]) == pytest.approx((2 - reach, 2 + reach))
    alone = efficiency.efficiency({"joint-25": frame[:1]}, arms, tables.REGISTRATION[:1]).iloc[1]
    assert alone["mean"] == 1.0 and math.isnan(alone["low"])
