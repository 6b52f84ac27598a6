"""Verdicts with known answers, from SciPy's t interval of the contrast and from the construction of the arms."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from known_rows import patients_of
from scipy import stats

from jointnet.errors import InputError
from jointnet.evaluate.aggregation import ENDPOINTS
from study.report.statistics.claim_arms import ClaimArm, ClaimArms
from study.report.statistics.claim_result import ClaimResult, claims_frame
from study.report.statistics.claims import (
    LV_CD,
    given_margins,
    non_inferiority,
    superiority,
)
from study.report.statistics.trainings import Trainings

NAMES = ("joint-25", "standalone-25", "standalone-35")
THREE = (
    ClaimArm("joint-25", "joint", "joint", 25, 5),
    ClaimArm("standalone-25", "standalone", "standalone", 25, 5),
    ClaimArm("standalone-35", "standalone", "standalone", 35, 5),
)
ARMS = ClaimArms(*THREE, {name: Trainings(25, 1, 0.2, 3.0) for name in NAMES})
FOLDS = [1, 1, 2, 2, 3, 3, 4, 4]
WOBBLE = np.array([-0.3, 0.2, 0.1, -0.1, 0.3, -0.2, 0.15, -0.15])
OTHER = np.array([0.1, -0.2, 0.3, -0.3, 0.05, 0.2, -0.1, -0.05])
BASE = np.array([2.0, 3.0, 4.0, 2.5, 3.5, 5.0, 1.5, 2.2])


def _arms(joint: float, small: float, large: float, noise: float = 1.0) -> dict[str, pd.DataFrame]:
    """Return three arms of four folds whose means over patients are 2.9625 plus these numbers, in every endpoint."""
    return _frames(BASE + joint + noise * WOBBLE, BASE + small + noise * OTHER, BASE + large - noise * WOBBLE)


def _frames(*values: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the three arms with these values of the patients."""
    return {name: patients_of(each, folds=FOLDS) for name, each in zip(NAMES, values, strict=True)}


def test_the_contrast_is_that_of_the_three_arms() -> None:
    arms = _arms(0.2, 1.0, 0.0)
    joint, small, large = (arms[name]["after"].to_numpy()[:8] for name in arms)
    expected = stats.ttest_1samp(joint - large - 0.5 * (small - large), 0.0)
    interval = expected.confidence_interval(0.95)
    result = non_inferiority(arms, ARMS)[0]
    assert result.contrast.test.t == pytest.approx(expected.statistic)
    assert (result.contrast.test.low, result.contrast.test.high) == pytest.approx((interval.low, interval.high))
    assert result.margin_mm == pytest.approx(0.5)
    assert result.margin_source == "estimated"
    assert result.difference.test.difference == pytest.approx(0.2)
    assert result.contrast.test.difference == pytest.approx(0.2 - 0.5)


def test_an_estimated_margin_is_less_certain_than_a_given_one() -> None:
    # The same margin, once estimated from a gain that varies much between patients, once given.
    arms = _arms(0.0, 1.0, 0.0, noise=0.01)
    arms["standalone-25"] = patients_of(BASE + 1.0 + 10 * OTHER, folds=FOLDS)
    estimated, given = (non_inferiority(arms, ARMS, margins)[0] for margins in ({}, {LV_CD: 0.5}))
    assert given.margin_source == "given"
    assert estimated.margin_mm == pytest.approx(given.margin_mm)
    widths = [one.contrast.test.high - one.contrast.test.low for one in (estimated, given)]
    assert widths[0] > 5 * widths[1]
    assert (estimated.verdict, given.verdict) == ("inconclusive", "supported")


@pytest.mark.parametrize(
    ("joint", "small", "large", "margins", "verdict", "words"),
    [
        (0.1, 2.0, 0.0, {}, "supported", "mm): below 0"),
        (-1.0, 2.0, 0.0, {}, "supported", "below 0"),
        (1.9, 2.0, 0.0, {}, "refuted", "above 0"),
        (1.0, 2.0, 0.0, {}, "inconclusive", "on both sides of 0"),
        (0.1, 0.0, 0.0, {}, "inconclusive", "there is no margin"),
        (0.1, 0.0, 0.5, {}, "inconclusive", "gained nothing from more training patients: -0.50 mm"),
        (0.1, 0.0, 0.5, {LV_CD: 0.2}, "supported", "The margin, 0.20 mm, was given before the study"),
        (0.9, 2.0, 0.0, {LV_CD: 0.2}, "refuted", "Difference minus margin is 0.70 mm"),
        (0.2, 2.0, 0.0, {LV_CD: 0.2}, "inconclusive", "80 % would find a true distance from the margin of"),
    ],
)
def test_verdicts_of_non_inferiority(
    joint: float, small: float, large: float, margins: dict[tuple[str, str], float], verdict: str, words: str
) -> None:
    result = non_inferiority(_arms(joint, small, large), ARMS, margins)[0]
    assert result.primary
    assert result.verdict == verdict
    assert result.sentence.startswith(
        f"joint-25 is not inferior to standalone-35 in LV CD (primary endpoint): {verdict}. "
    )
    assert words in result.sentence


def test_an_uncertain_margin_refutes_nothing_that_is_not_worse() -> None:
    # The contrast joint - large - (small - large) / 2 is close to 0.06 in all, joint - large 0.1 with an SD near 1.
    apart = np.array([1.2, -0.8, 1.0, -1.1, 0.9, -0.7, 0.5, -1.0])
    apart = apart - apart.mean()
    large = BASE
    small = BASE + 0.08 + 2 * apart
    joint = (large + small) / 2 + 0.06 + 0.01 * WOBBLE
    result = non_inferiority(_frames(joint, small, large), ARMS)[0]
    assert result.contrast.deciding.low > 0
    assert result.difference.deciding.low < 0 < result.difference.test.difference
    assert result.verdict == "inconclusive"
    assert "But the joint model is not shown to be worse at all" in result.sentence
    assert "The gain itself is not shown to be more than 0" in result.sentence


@pytest.mark.parametrize(
    ("joint", "verdict", "words"),
    [
        (-1.0, "supported", "The interval lies below 0"),
        (1.0, "refuted", "The interval lies above 0"),
        (0.0, "inconclusive", "80 % would find a true difference of"),
    ],
)
def test_verdicts_of_superiority(joint: float, verdict: str, words: str) -> None:
    result = superiority(_arms(joint, 0.0, 0.0), ARMS)[0]
    assert (result.verdict, result.margin_mm, result.gain) == (verdict, 0.0, None)
    assert result.sentence.startswith(f"joint-25 is superior to standalone-25 in LV CD (primary endpoint): {verdict}. ")
    assert words in result.sentence


def test_only_secondary_endpoints_answer_for_being_five() -> None:
    # p of about 0.02 in each endpoint: below 0.05 alone, 0.1 after Holm.
    arms = _arms(-0.3, 0.0, 0.0)
    results = superiority(arms, ARMS)
    p = results[0].contrast.test.p
    assert 0.01 < p < 0.05
    assert [one.contrast.holm_p for one in results] == pytest.approx([5 * p] * 5)
    assert [one.verdict for one in results] == ["supported"] + ["inconclusive"] * 4
    assert "Holm's correction over all endpoints leaves p = " in results[1].sentence
    other = superiority(arms, ARMS, primary=("asd_mm", "rv"))
    assert [one.verdict for one in other] == ["inconclusive"] * 4 + ["supported"]
    with pytest.raises(ValueError, match="the primary endpoint must be one of"):
        superiority(arms, ARMS, primary=("dice", "lv"))


@pytest.mark.parametrize(
    ("primary", "verdict"), [(-1.0, "supported"), (0.0, "inconclusive"), (1.0, "refuted"), (math.nan, "inconclusive")]
)
@pytest.mark.parametrize("judge", [superiority, non_inferiority])
def test_a_secondary_endpoint_is_supported_only_where_the_primary_one_is(
    judge: Callable[..., tuple[ClaimResult, ...]], primary: float, verdict: str
) -> None:
    # The joint model is better in all other endpoints but the last, where it is worse.
    arms = _arms(-1.0, 0.0, -0.5)
    joint = arms["joint-25"]
    for endpoint, change in ((LV_CD, primary), (ENDPOINTS[-1], 1.0)):
        own = (joint["metric"] == endpoint[0]) & (joint["structure"] == endpoint[1])
        joint.loc[own, "after"] += 1.0 + change
    first, *others, last = judge(arms, ARMS)
    assert (first.primary, first.verdict) == (True, verdict)
    assert {one.verdict for one in others} == {"supported" if verdict == "supported" else "inconclusive"}
    said = "below 0. But the primary endpoint, LV CD, is not supported."
    assert all((said in one.sentence) == (verdict != "supported") for one in others)
    assert last.verdict == "refuted"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"joint-25": None}, "no test values of joint-25"),
        (
            {"standalone-25": patients_of(BASE[:7], folds=FOLDS[:7])},
            "joint-25 and standalone-25 were not tested on the same patients",
        ),
        ({"joint-25": patients_of([*BASE[:7], math.nan], folds=FOLDS)}, "a value is missing"),
        ({"joint-25": patients_of(BASE, endpoints=ENDPOINTS[1:])}, "not tested on the same patients"),
        (
            {name: patients_of(BASE, endpoints=ENDPOINTS[1:]) for name in _arms(0, 0, 0)},
            "no test values of cd_mm of lv",
        ),
        ({name: patients_of([]) for name in _arms(0, 0, 0)}, "no test values of joint-25 and standalone-25"),
        (_frames(BASE, BASE + 1, BASE - 1), "no spread"),
        ({name: patients_of([2.0 - place]) for place, name in enumerate(_arms(0, 0, 0))}, "one patient"),
    ],
    ids=["no arm", "other patients", "nan", "endpoint of one", "endpoint of all", "empty", "shifted", "one patient"],
)
def test_what_cannot_be_judged(change: dict[str, pd.DataFrame | None], reason: str) -> None:
    arms = {name: frame for name, frame in {**_arms(-1.0, 2.0, 0.0), **change}.items() if frame is not None}
    for result in (non_inferiority(arms, ARMS, {LV_CD: 0.1})[0], superiority(arms, ARMS)[0]):
        assert result.verdict == "inconclusive"
        assert "It cannot be judged: " in result.sentence
        assert reason in result.sentence
        assert "nan" not in result.sentence


@pytest.mark.parametrize(
    ("folds", "seeds", "verdict", "why"),
    [
        (1, 3, "not judged, this split only", "one split has one training set for each arm"),
        (1, 0, "not judged, this split only", "one split has one training set for each arm"),
        (4, 0, "not judged, these models only", "the models that the searches chose were not trained again"),
        (4, 1, "supported", ""),
        (4, 3, "supported", ""),
    ],
)
def test_a_claim_about_methods_needs_folds_and_retrainings(folds: int, seeds: int, verdict: str, why: str) -> None:
    arms = {name: frame.assign(fold=np.minimum(frame["fold"], folds)) for name, frame in _arms(-1, 2, 0).items()}
    names = ClaimArms(*THREE, {name: Trainings(25, seeds, 0.0, folds - 1.0) for name in NAMES})
    for result in (*non_inferiority(arms, names), *superiority(arms, names)):
        assert result.verdict == verdict
        assert result.contrast.deciding.high < 0
        assert f"{result.contrast.deciding.high:.2f} mm" in result.sentence  # shown in any case
        assert ("Run the study with `--folds 5 --seeds 3`" in result.sentence) == bool(why)
        assert why in result.sentence


def test_without_a_margin_one_split_is_still_one_split() -> None:
    arms = {name: frame.assign(fold=1) for name, frame in _arms(0.1, 0, 0.5).items()}
    result = non_inferiority(arms, ARMS)[0]
    assert (result.verdict, result.margin_source) == ("not judged, this split only", "none")
    assert "there is no margin, and the claim cannot be decided" in result.sentence


def test_models_of_unknown_training_support_nothing() -> None:
    assert superiority(_arms(-1, 0, 0), ClaimArms(*THREE))[0].verdict == "not judged, these models only"


def test_variation_between_training_sets_leaves_a_claim_open() -> None:
    # All patients of folds 1 and 2 gain 2 mm from the joint model, those of folds 3 and 4 nothing.
    gain = np.repeat([2.0, 0.0], 4) + 0.1 * WOBBLE
    result = superiority(_frames(BASE - gain, BASE, BASE), ARMS)[0]
    assert result.contrast.test.high < 0 < result.contrast.deciding.high
    assert result.verdict == "inconclusive"
    assert (
        "The interval lies on both sides of 0; for the models at hand, over patients alone, it is " in result.sentence
    )


def test_the_frame_holds_a_line_per_endpoint_and_claim() -> None:
    arms = _arms(0.1, 2.0, 0.0)
    table = claims_frame([*non_inferiority(arms, ARMS), *superiority(arms, ARMS)])
    assert table["claim"].tolist() == ["not inferior"] * 5 + ["superior"] * 5
    assert table["primary"].tolist() == [True, False, False, False, False] * 2
    assert table["gain_mm"].to_numpy(dtype=float)[:5] == pytest.approx([2.0] * 5)
    assert set(zip(table["joint_annotated"], table["standalone_annotated"], strict=True)) == {(30, 40), (30, 30)}
    assert "They need 30 and 40 annotated patients, both with 5 validation patients." in table["sentence"][0]
    assert {"contrast_low", "contrast_holm_p", "contrast_fold_reason", "sentence"} <= set(table.columns)


def test_given_margins() -> None:
    assert given_margins(None) == {}
    assert given_margins(0.5) == {("cd_mm", "lv"): 0.5}
    assert given_margins({"asd_mm/rv": 1, "cd_mm/lv": 0.3}) == {("asd_mm", "rv"): 1.0, ("cd_mm", "lv"): 0.3}
    with pytest.raises(InputError) as caught:
        given_margins({"lv": 0.5, "cd_mm/lv": 0, "asd_mm/rv": True, "asd_mm/lv": math.inf, "cd_mm/rv": "1"})
    assert len(caught.value.errors) == 5
