"""Choice of the displayed patients, scar detection, and content of the pictures."""

import math

import numpy as np
import pandas as pd
import pytest
import synthetic_store as synthetic
from matplotlib.backends.backend_agg import FigureCanvasAgg

from study.report import mean_tables
from study.report.analysis import analyse
from study.report.figures import photo_bytes
from study.report.sections.annotations import draw_curve, mean_errors
from study.report.sections.patients import (
    _checkerboard,
    chosen_patients,
    draw_patient,
    scar_fraction,
    scar_mask,
)
from study.report.store.reader import read_study
from study.report.store.records import ArmRecord


def record(gains: dict[int, float], fold: int = 1, arrays: bool = True, old: bool = False) -> ArmRecord:
    """Return an arm in which each patient's `after` is `before` times the patient's gain."""
    rows = synthetic.slice_rows(1.0, False, gains)
    rows["after"] = rows["before"] * rows["patient"].map({str(patient): gain for patient, gain in gains.items()})
    make = synthetic.old_picture_arrays if old else synthetic.picture_arrays
    drawn = make(0.5, rows) if arrays else {}
    return ArmRecord("r", "joint-25", "joint", 25, 15, 5, {}, (), None, rows, drawn, {}, 1, 1.0, fold, 2)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ({1: 0.9, 2: 0.5, 3: 0.7}, [("best", "2", 0.5), ("median", "3", 0.7), ("worst", "1", 0.9)]),
        ({1: 0.9, 2: 0.5, 3: 0.7, 4: 0.6}, [("best", "2", 0.5), ("median", "4", 0.6), ("worst", "1", 0.9)]),
        ({1: 0.9, 2: 0.5}, [("best", "2", 0.5), ("worst", "1", 0.9)]),
        ({1: 0.9}, [("best", "1", 0.9)]),
    ],
)
def test_best_median_and_worst(gains: dict[int, float], expected: list[tuple[str, str, float]]) -> None:
    found = chosen_patients([record(gains)])
    assert [(one.rank, one.patient) for one in found] == [(rank, patient) for rank, patient, _ in expected]
    assert [one.ratio for one in found] == pytest.approx([ratio for *_, ratio in expected])
    assert all(one.whole and len(one.slices) == 6 + int(one.patient) % 3 for one in found)


def test_folds_are_ranked_together() -> None:
    found = chosen_patients([record({1: 0.9, 2: 0.5}), record({3: 0.4, 4: 0.95}, fold=2)])
    assert [(one.rank, one.patient, one.fold) for one in found] == [
        ("best", "3", 2),
        ("median", "2", 1),
        ("worst", "4", 2),
    ]


def test_whom_no_ratio_ranks_is_not_shown() -> None:
    arm = record({1: 0.9, 2: 0.5})
    assert arm.rows is not None
    arm.rows.loc[arm.rows["patient"] == "2", "before"] = 0.0
    assert [one.patient for one in chosen_patients([arm])] == ["1"]
    assert chosen_patients([record({1: 0.9}, arrays=False)]) == ()


def test_an_old_study_shows_the_slice_that_it_kept() -> None:
    (one,) = chosen_patients([record({7: 0.9}, old=True)])
    assert (one.slices, one.whole) == ((2,), False)
    assert photo_bytes(draw_patient(one))["png"].startswith(b"\x89PNG")


def test_scar_is_drawn_where_the_myocardium_is_bright() -> None:
    arrays = record({1: 0.5}).overlays
    labels = arrays["lge_labels_before"]
    lge = np.where(labels == 1, 30.0, 150.0) + np.random.default_rng(0).normal(0, 2, labels.shape)
    columns = np.broadcast_to(np.arange(labels.shape[2]), labels.shape)
    infarct = (labels == 1) & (columns > columns[labels == 1].max() - 8)
    lge[infarct] += 60  # 30 SD
    found = scar_mask(lge, labels)
    assert (found & infarct).sum() > 0.95 * infarct.sum() and (found & ~infarct).sum() < 0.02 * (labels == 1).sum()
    assert scar_fraction(found, labels) == pytest.approx(infarct.sum() / (labels == 1).sum(), rel=0.05)


def test_without_myocardium_there_is_no_scar() -> None:
    labels = np.zeros((2, 9, 9), np.uint8)
    assert not scar_mask(labels, labels).any()
    assert math.isnan(scar_fraction(scar_mask(labels, labels), labels))


def test_the_checkerboard_takes_fields_by_turns() -> None:
    first, second = np.zeros((1, 12, 12)), np.ones((1, 12, 12))
    board = _checkerboard(first, second)[0]
    assert board.mean() == 0.5
    assert [board[0, 0], board[0, 2], board[2, 2], board[2, 0]] == [0, 1, 0, 1]


def test_a_picture_differs_between_patients_and_is_the_same_twice(studies: str) -> None:
    arm = next(arm for arm in read_study(studies, synthetic.FULL).arms if arm.overlays)
    drawn = [photo_bytes(draw_patient(one))["webp"] for one in chosen_patients([arm])[:2] for _ in range(2)]
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
    before, after = mean_errors({"joint-25": frame}, arms, mean_tables.REGISTRATION[:1]).to_dict("records")
    assert (before["train"], before["mean"], after["train"], after["mean"]) == (0, 5.0, 25, 2.0)
    assert (before["annotated"], after["annotated"], after["validation"], after["method"]) == (0, 40, 15, "joint")
    reach = 4.302652729749464 / math.sqrt(3)  # the 97.5 % quantile of t with 2 degrees of freedom, SD 1
    assert (after["low"], after["high"]) == pytest.approx((2 - reach, 2 + reach))
    alone = mean_errors({"joint-25": frame[:1]}, arms, mean_tables.REGISTRATION[:1]).iloc[1]
    assert alone["mean"] == 1.0 and math.isnan(alone["low"])


def test_the_curves_legend_covers_no_data(studies: str) -> None:
    analysis = analyse(read_study(studies, synthetic.FULL))
    figure = draw_curve(
        mean_errors(analysis.patients, analysis.arms, mean_tables.REGISTRATION),
        analysis.tested,
        mean_tables.REGISTRATION,
    )
    FigureCanvasAgg(figure).draw()
    assert [axes.get_legend() for axes in figure.axes] == [None] * 5
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Before", "Stand-alone", "Joint"]
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)
