"""The figures of a search: their data against known values, and cases with little or nothing to draw."""

import math
import warnings
from dataclasses import replace

import invented_search as invented
import numpy as np
import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient

from jointnet.train.objective import REGISTRATION_RATIO, Objective
from study.arm_differences import TRAIN
from study.report import figures
from study.report.search import effort, importance, parameter_figures, tradeoff, trial_marks
from study.report.sections.search import arm_pictures, study_pictures
from study.report.store.reader import read_study
from study.report.store.records import ArmRecord

CD = Objective("val/cd_mm/lv")


@pytest.mark.parametrize(
    ("lambdas", "place"),
    [
        ((1, 0, 0), (0.5, math.sqrt(3) / 2)),
        ((0, 1, 0), (0, 0)),
        ((0, 0, 1), (1, 0)),
        ((1, 1, 1), (0.5, math.sqrt(3) / 6)),
        ((0, 2, 2), (0.5, 0)),
        ((5, 5, 0), (0.25, math.sqrt(3) / 4)),
        ((0, 0, 0), (math.nan, math.nan)),
        ((-1, 1, 1), (math.nan, math.nan)),
        ((math.nan, 1, 1), (math.nan, math.nan)),
    ],
)
def test_weights_have_their_place_in_the_triangle(lambdas, place):
    assert parameter_figures.triangle_positions(np.array([lambdas]))[0] == pytest.approx(place, nan_ok=True)


def test_the_searched_region_has_the_bounds_of_the_ratios_as_its_sides():
    corners = parameter_figures.searched_region(invented.JOINT)
    assert corners is not None
    expected = parameter_figures.triangle_positions(np.array([(1, 0.1, 0.1), (1, 10, 0.1), (1, 10, 10), (1, 0.1, 10)]))
    assert corners == pytest.approx(expected)
    first, _, _, last = corners
    inside = parameter_figures.triangle_positions(np.array([(1, 0.1, 1.0)]))[
        0
    ]  # on the side where lambda_2 is a tenth of lambda_1
    direction, offset = last - first, inside - first
    assert direction[0] * offset[1] - direction[1] * offset[0] == pytest.approx(0, abs=1e-12)
    assert parameter_figures.searched_region(invented.STANDALONE) is None
    choices = [replace(one, choices=("1", "2")) for one in invented.JOINT]
    assert parameter_figures.searched_region(choices) is None


@pytest.mark.parametrize(
    ("ratio", "dice", "expected"),
    [
        ([], [], []),
        ([0.7], [0.8], [True]),
        ([0.7, 0.8], [0.8, 0.9], [True, True]),
        ([0.7, 0.8], [0.9, 0.8], [True, False]),
        ([0.7, 0.7], [0.8, 0.9], [False, True]),
        ([0.7, 0.7], [0.8, 0.8], [True, True]),
        ([0.6, 0.7, 0.8, 0.75], [0.7, 0.8, 0.9, 0.75], [True, True, True, False]),
        ([math.nan, 0.9], [0.99, 0.5], [False, True]),
        ([0.5, 0.9], [math.nan, 0.5], [False, True]),
    ],
)
def test_the_front_is_what_no_other_trial_beats(ratio, dice, expected):
    trials = [
        invented.trial(number, value, validation={"val/dice/lv": own})
        for number, (value, own) in enumerate(zip(ratio, dice, strict=True))
    ]
    assert tradeoff.tradeoff_table([invented.arm(*trials)])[0]["front"].tolist() == expected


def test_the_dice_is_of_segmentation_where_a_model_segments_else_of_overlap():
    overlap = {"val/dice/lv": 0.8, "val/dice/rv": 0.6, "val/cd_mm/lv": 3.0}
    both = {**overlap, "val/dice_cine/lv": 0.9, "val/dice_lge/lv": 0.7}
    for validation, expected, name in ((overlap, 0.7, "mean overlap Dice"), (both, 0.8, "mean segmentation Dice")):
        table, objective = tradeoff.tradeoff_table([invented.arm(invented.trial(0, 0.7, validation=validation))])
        assert [each.title for each in objective.all] == ["registration ratio", name]
        assert table[name].iloc[0] == pytest.approx(expected) and not objective.further[0].minimizes


def test_failed_trials_are_not_on_the_front_and_folds_have_fronts_of_their_own():
    good, bad = {"val/dice/lv": 0.9}, {"val/dice/lv": 0.5}
    first = invented.arm(invented.trial(0, 0.5, "failed", validation=good), invented.trial(1, 0.6, validation=bad))
    second = invented.arm(invented.trial(2, 0.9, "early", validation=bad), fold=2, folds=2)
    assert tradeoff.tradeoff_table([first, second])[0]["front"].tolist() == [False, True, True]


def test_the_best_so_far_counts_all_effort_and_only_what_can_be_selected():
    arm = invented.arm(
        invented.trial(0, math.nan, "failed", minutes=1),
        invented.trial(1, 0.9, "early", minutes=2),
        invented.trial(2, 0.5, "failed", minutes=3),
        invented.trial(3, 0.7, "complete", minutes=4),
        invented.trial(4, 0.8, "cut", minutes=5),
        invented.trial(5, 0.6, "running", minutes=math.nan),
    )
    curve = effort.best_so_far(arm)
    assert curve["best"].tolist() == pytest.approx([math.nan, 0.9, 0.9, 0.7, 0.7, 0.7], nan_ok=True)
    assert curve["minutes"].tolist() == [1, 3, 6, 10, 15, 15]


def test_arms_are_compared_at_the_effort_of_the_one_that_had_least():
    slow = invented.arm(*(invented.trial(k, value, minutes=10) for k, value in enumerate((0.9, 0.8))))
    quick = [invented.trial(k, value, minutes=4) for k, value in enumerate((1.0, 0.95, 0.85, 0.7))]
    found = effort.at_equal_effort([slow, invented.arm(*quick, model="standalone"), invented.arm(model="other")])
    # The common effort is 2 trials or 16 minutes. The slow arm has ended one trial within 16 minutes.
    assert [(one.best, one.best_at_trials, one.best_at_minutes) for one in found] == [(0.8, 0.8, 0.9), (0.7, 0.95, 0.7)]
    assert [(one.trials, one.minutes) for one in found] == [(2, 20), (4, 16)]
    assert effort.at_equal_effort([]) == ()


def test_equal_effort_is_told_per_number_of_training_patients():
    arms = [invented.search(12, model, train=train) for train in (25, 35) for model in ("joint", "standalone")]
    lines = effort.effort_sentences([*arms, invented.search(12, train=45)])
    starts = [f"With {train} + 15 = {train + 15} annotated patients: joint-{train} 12 trials" for train in (25, 35)]
    assert [line.split(",")[0] for line in lines] == starts
    arms[1] = replace(arms[1], given={TRAIN: "20"})  # a model that only registers learns nothing from the other 5
    assert effort.effort_sentences(arms[:2])[0].startswith("With 20-25 + 15 = 35-40 annotated patients: ")


def test_one_trial_that_went_astray_does_not_squeeze_the_objective_axis():
    heights, ends = parameter_figures.heights(
        np.array([*np.linspace(0.5, 0.7, 19), 50.0, math.nan]), REGISTRATION_RATIO
    )
    assert heights[0] == 0
    assert heights[-2] == 1
    assert np.isnan(heights[-1])
    assert ends == pytest.approx((0.5, np.quantile([*np.linspace(0.5, 0.7, 19), 50.0], 0.9)))


def mirrored(arm: ArmRecord) -> ArmRecord:
    """Return the arm with an objective of which high values are good: 1 minus the one that it had."""
    trials = tuple(replace(trial, objective=1 - trial.objective) for trial in arm.trials)
    return replace(arm, trials=trials, ranked_by=Objective("val/stretch/lv", "maximize"))


def test_where_high_values_are_good_figures_show_the_mirrored_search():
    arm = invented.search(40)
    other = mirrored(arm)
    low, high = (effort.best_so_far(one)["best"].to_numpy(dtype=float) for one in (arm, other))
    assert high == pytest.approx(1 - low, nan_ok=True)
    fronts = [tradeoff.tradeoff_table([one])[0]["front"].tolist() for one in (arm, other)]
    assert fronts[0] == fronts[1] and any(fronts[0])
    values = np.array([trial.objective for trial in arm.trials])
    below, ends = parameter_figures.heights(values, arm.ranked_by)
    above, other_ends = parameter_figures.heights(1 - values, other.ranked_by)
    assert above == pytest.approx(1 - below, nan_ok=True) and other_ends == pytest.approx((1 - ends[1], 1 - ends[0]))
    shades, mirror = (
        np.array([cmap(norm(value)) for value in own])
        for own, (cmap, norm) in (
            (values[:5], trial_marks.objective_colours(values, arm.ranked_by, figures.LIGHT)),
            (1 - values[:5], trial_marks.objective_colours(1 - values, other.ranked_by, figures.LIGHT)),
        )
    )
    assert mirror == pytest.approx(shades, abs=0.02)


def test_only_the_ratio_has_a_line_at_one_and_each_objective_has_its_name_and_unit():
    for own, title, lines in (
        (REGISTRATION_RATIO, "Validation registration ratio", 1),
        (CD, "Validation LV CD (mm)", 0),
    ):
        arm = replace(invented.search(20), ranked_by=own)
        drawn = parameter_figures.draw_slices([arm], invented.JOINT)
        assert drawn is not None and drawn.axes[0].get_ylabel() == title
        assert sum(list(line.get_ydata()) == [1, 1] for line in drawn.axes[0].lines) == lines
        assert parameter_figures.slices_alt([arm], invented.JOINT).startswith(f"{title} of 20 trials")
        assert effort.effort_alt([arm]).startswith(f"Best v{title[1:]} so far")


def test_a_dice_is_not_drawn_against_dice():
    arm = replace(invented.search(20), ranked_by=Objective("val/dice_lge/lv", "maximize"))
    assert tradeoff.draw_tradeoff([arm]) is None


DRAWN = [one.parameters for one in invented.search(20).trials]


def _same(count: int, objective: float = math.nan, ending: str = "complete", varied: bool = True):
    """Return an arm of trials with the same objective and ending, with varied or equal parameters."""
    return invented.arm(
        *(invented.trial(k, objective, ending, parameters=DRAWN[k if varied else 0]) for k in range(count))
    )


ALPHAS = invented.arm(*(invented.trial(k, 0.5 + k / 50, parameters={"alpha": k / 20}) for k in range(20)))
ASTRAY = invented.arm(*invented.search(30).trials, invented.trial(99, 1e6, parameters={"alpha": 0.1}), selected=0)
CASES = {
    "no trial": (invented.arm(), invented.JOINT, ""),
    "one trial": (invented.search(1), invented.JOINT, "slices lambdas parallel tradeoff effort"),
    "all failed": (_same(5, ending="failed"), invented.JOINT, "slices lambdas"),
    "no objective": (_same(20), invented.JOINT, "slices lambdas"),
    "an infinite objective": (_same(3, math.inf), invented.JOINT, "slices lambdas"),
    "all equal": (_same(20, 0.7, varied=False), invented.JOINT, "slices lambdas parallel effort"),
    "one parameter": (ALPHAS, (invented.ALPHA,), "importance slices parallel effort"),
    "no lambda": (invented.search(60, "standalone"), invented.STANDALONE, "importance slices parallel tradeoff effort"),
    "nothing known of the space": (invented.search(60), (), "lambdas tradeoff effort"),
    "astray": (ASTRAY, invented.JOINT, "slices lambdas parallel tradeoff effort"),
    "everything": (invented.search(60), invented.JOINT, "importance slices lambdas parallel tradeoff effort"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_there_is_is_drawn_and_nothing_else(case: str):
    arm, space, names = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = importance.importance([arm], space)
        drawn = [*arm_pictures([arm], space, found), *study_pictures([arm])]
        assert [picture.name for picture in drawn] == [
            "search-effort" if name == "effort" else f"search-{arm.arm}-{name}" for name in names.split()
        ]
        for picture in drawn:
            assert picture.alt.endswith(".")
            assert "nan" not in f"{picture.alt} {picture.note}"
            assert len(figures.figure_bytes(picture.draw(figures.LIGHT), "svg")) > 5000


def test_a_dark_page_has_a_picture_of_its_own():
    (picture,) = study_pictures([invented.search(5)])
    light, dark = (figures.figure_bytes(picture.draw(theme), "svg").decode() for theme in (figures.LIGHT, figures.DARK))
    assert figures.LIGHT.ink in light
    assert figures.LIGHT.ink not in dark
    assert figures.DARK.ink in dark


def _marks(figure, kind: str) -> int:
    """Return the number of points of one kind on a figure's first axes, identified by their face colour."""
    face = {"complete": "#c8591a", "early": "#ffffff"}[kind]
    wanted = tuple(int(face[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return sum(
        len(points.get_offsets())
        for points in figure.axes[0].collections
        if len(points.get_facecolor()) and tuple(points.get_facecolor()[0][:3]) == pytest.approx(wanted)
    )


def test_stopped_trials_are_hollow_and_complete_ones_filled():
    arm = invented.search(60)
    kinds = [trial.state for trial in arm.trials]
    for drawn in (
        parameter_figures.draw_slices([arm], invented.JOINT),
        tradeoff.draw_tradeoff([arm]),
    ):
        assert _marks(drawn, "complete") == kinds.count("complete")
        assert _marks(drawn, "early") == kinds.count("stopped")


def test_bounds_are_marked_and_axes_are_logarithmic_where_the_space_is():
    drawn = parameter_figures.draw_slices([invented.search(20)], invented.JOINT)
    assert drawn is not None
    for axes, one in zip(drawn.axes, invented.JOINT, strict=True):
        assert axes.get_xscale() == ("log" if one.log else "linear")
        upright = {line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]}
        assert {one.low, one.high} <= upright
        assert axes.get_xlim()[0] < one.low < one.high < axes.get_xlim()[1]


def test_folds_share_a_figure_and_their_selected_trials_are_named():
    arms = [invented.search(20, seed=fold, fold=fold, folds=2) for fold in (1, 2)]
    for drawn in (
        parameter_figures.draw_slices(arms, invented.JOINT),
        parameter_figures.draw_triangle(arms, invented.JOINT),
        tradeoff.draw_tradeoff(arms),
    ):
        assert drawn is not None
        assert {"fold 1", "fold 2"} <= {text.get_text() for text in drawn.axes[0].texts}
    assert "Selected in fold 2" in parameter_figures.triangle_alt(arms)


def test_the_store_gives_the_metrics_of_the_best_epoch(empty_store: str, tmp_path):
    arm = synthetic.Arm("joint", "25/15/5", (synthetic.Trial("complete", ((1, 0.9),)), synthetic.Trial("running")))
    synthetic.write_study(empty_store, "best", [arm], tmp_path)
    run = read_study(empty_store, "best").arms[0].trials[0].run_id
    MlflowClient(empty_store).log_metric(run, "best/val/dice_cine/lv", 0.875)  # the name in older stores
    MlflowClient(empty_store).log_metric(run, "val_best/dice/lv", 0.5)
    first, second = read_study(empty_store, "best").arms[0].trials
    assert first.validation == {"val/dice_cine/lv": 0.875, "val/dice/lv": 0.5}
    assert second.validation == {}
