"""The answer in two or three sentences: who won, by how much, and whether to trust it."""

from dataclasses import replace
from datetime import UTC, datetime

import invented_search as invented
import pytest
import synthetic_store as synthetic

from jointnet.train.objective import Objective
from study.report.analysis import analyse
from study.report.headline import Headline, headline
from study.report.sections.answer import summary
from study.report.store.records import ArmRecord, BaselineRecord, StudyRecord
from study.store_names import DESCRIPTORS

SPACE = {"alpha": {"low": 0.0, "high": 1.0}, "lambda_2_to_1": {"low": 0.1, "high": 10.0, "scale": "log"}}
WEIGHTS = {"lambda_1": 0.25, "lambda_2": 0.5, "lambda_3": 0.25, "lambda_2_to_1": 2.0}


def _arm(gain: float | None, values=(0.45, 0.5, 0.5, 0.5), selected: int | None = 0, **changes: object) -> ArmRecord:
    """Return an arm of complete trials. Each patient's `after` is `before` times `gain`."""
    alphas = (0.99, 0.5, 0.4, 0.6)
    trials = [
        invented.trial(k, value, parameters={**WEIGHTS, "alpha": alpha})
        for k, (value, alpha) in enumerate(zip(values, alphas, strict=False), start=1)
    ]
    rows = None
    if gain is not None:
        rows = synthetic.slice_rows(1.0, False)
        rows["after"] = rows["before"] * gain
    return invented.arm(*trials, selected=selected, rows=rows, **changes)


def _study(
    *arms: ArmRecord, settings_first: bool = False, older: bool = False, kind: str = "folder", **changes: object
) -> StudyRecord:
    search = {"name": "joint", "parameters": SPACE, **({"settings_first": settings_first} if older else {})}
    first = {} if older else {"settings_first": settings_first}
    entries = [{"arm": arm.arm, "search": "joint", **first} for arm in arms]
    own = {
        **{"run_id": "s", "study_id": "s", "started": datetime(2026, 6, 1, tzinfo=UTC), "minutes": 1.0, "splits": {}},
        **{"tags": {"data.kind": kind}, "specification": {"searches": [search], "arms": entries}},
        **{"objective": arms[0].ranked_by, "arms": arms, **changes},
    }
    return StudyRecord(**own)  # type: ignore[arg-type]


def _headline(study: StudyRecord) -> Headline:
    return headline(study, analyse(study))


def test_one_arm_names_its_winner_the_error_and_each_doubt():
    study = _study(_arm(0.45, values=(0.45, 0.46, 0.47, 0.6)), settings_first=True)
    found = _headline(study)
    before = analyse(study).changes["joint-25"][0].reference_mean
    assert found.result == (
        "Best of 4 trials with 25 + 15 = 40 annotated patients: joint-25 t1, lambda 0.25/0.50/0.25, alpha 0.99; LV CD "
        f"{before:.2f} to {0.45 * before:.2f} mm on 5 unseen patients, ratio 0.45."
    )
    assert found.trust == (
        "Doubtful: only 4 complete trials; alpha on its bound; the best 3 trials do not agree on alpha; "
        "the default won."
    )
    measured = "LV CD: the distance between the centres of the LV in both scans. "
    assert found.ratio.startswith(f"{measured}Ratio: the error after registration divided by the error before it, ")


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (_study(_arm(0.45), kind="phantom"), "synthetic scans"),
        (_study(_arm(0.45, selected=1), settings_first=True), ""),  # the default is better, so another one was selected
        (_study(_arm(0.45, values=(0.47, 0.45), selected=1), settings_first=True), "the default is as good"),
        (
            _study(_arm(0.45, values=(0.47, 0.45), selected=1), settings_first=True, older=True),
            "the default is as good",
        ),
        (_study(_arm(0.45, openings=2)), "the test patients were opened more than once"),
        (_study(_arm(0.45), _arm(0.46, train=35)), "joint-35 is as good (ratio 0.46)"),
        (_study(_arm(0.45), _arm(0.6, train=35)), ""),
    ],
)
def test_each_doubt_stands_in_its_case_only(study: StudyRecord, words: str):
    trust = _headline(study).trust
    assert words in trust
    for other in ("synthetic", "default is", "opened", "as good"):
        assert (other in trust) == (other in words), other


def test_what_needs_no_training_and_is_as_good_or_better_is_a_doubt():
    study = _study(_arm(0.5))
    for gain, word in ((0.3, "better (ratio 0.30)"), (0.51, "as good (ratio 0.51)"), (0.6, "")):
        rows = synthetic.slice_rows(1.0, False)
        rows["after"] = rows["before"] * gain
        trust = _headline(replace(study, baselines=(BaselineRecord("b", DESCRIPTORS, rows),))).trust
        assert (f"without any training, descriptors are {word}" in trust) == bool(word)


def test_a_value_in_a_doubt_has_the_name_and_the_unit_of_its_metric():
    study = _study(_arm(0.5, ranked_by=Objective("val/cd_mm/lv")))
    rows = synthetic.slice_rows(1.0, False)
    rows["after"] = 0.25
    trust = _headline(replace(study, baselines=(BaselineRecord("b", DESCRIPTORS, rows),))).trust
    assert "without any training, descriptors are better (LV CD 0.25 mm)" in trust


def test_where_nothing_beats_doing_nothing_it_says_what_to_change():
    found = _headline(_study(_arm(1.02), _arm(1.1, train=35)))
    assert found.result.startswith(
        "No arm is better than no registration. The best, 2 arms: joint-25 t1 of 4 trials with 25 "
    )
    assert "ratio 1.02." in found.result
    assert found.trust.startswith("What to change: longer training (--max-epochs; the longest trial had 12 epochs), ")
    assert "more than 25 + 15 = 40 annotated patients, or " in found.trust


def test_folds_have_a_setting_of_their_own():
    patients = (["41", "42"], ["43", "44", "45"])
    arms = [_arm(0.45, selected=fold - 1, fold=fold, folds=2) for fold in (1, 2)]
    arms = [replace(arm, rows=arm.rows[arm.rows["patient"].isin(own)]) for arm, own in zip(arms, patients, strict=True)]  # type: ignore[index]
    result = _headline(_study(*arms)).result
    assert result.startswith(
        "Best of 8 trials with 25 + 15 = 40 annotated patients: joint-25 in 2 folds, with a setting of its own "
    )
    same = [replace(arm, selection={"trial_id": "t1"}) for arm in arms]
    assert "in 2 folds (lambda 0.25/0.50/0.25, alpha 0.99); LV CD" in _headline(_study(*same)).result


def test_without_test_values_the_best_on_validation_is_named():
    assert _headline(_study(_arm(None, selected=None))).sentences == (
        "No arm has test values yet, so there is no result.",
    )
    (text,) = _headline(_study(_arm(None), _arm(None, values=(0.4,), train=35))).sentences
    assert text.endswith(
        "On validation the best of 2 arms: joint-35 t1 of 1 trial with 35 + 15 = 50 annotated patients, lambda "
        "0.25/0.50/0.25, alpha 0.99: val/registration_ratio 0.400."
    )


@pytest.mark.parametrize(
    ("objective", "best", "change"),
    [
        (Objective("val/cd_mm/rv"), "joint-25", "RV CD {before:.2f} to {after:.2f} mm on 5 unseen patients, ratio 0."),
        (Objective("val/dice/lv", "maximize"), "joint-35", "LV overlap {before:.2f} to {after:.2f} on 5 unseen"),
    ],
)
def test_another_objective_ranks_the_arms_and_is_named_with_its_unit(objective: Objective, best: str, change: str):
    metric, structure = objective.metric.split("/")[1:]
    arms = [_arm(gain, train=train, ranked_by=objective) for gain, train in ((0.5, 25), (0.8, 35))]
    study = _study(*arms)
    analysis = analyse(study)
    found = headline(study, analysis)
    assert analysis.ranked[0] == best and f": {best} t1 of 4 trials with " in found.result
    rows = analysis.slices[best]
    own = rows[(rows["metric"] == metric) & (rows["structure"] == structure)]
    before, after = own.groupby("patient")[["before", "after"]].mean().mean()
    assert change.format(before=before, after=after) in found.result
    assert "as good" not in found.trust  # the noise of this objective is not known
    first, second, *_ = summary(study, analysis)
    assert first.startswith(f"{best} has {objective.title} {objective.text(after)}; ")
    worse = objective.cost(after) >= objective.cost(before)  # of these rows, overlaps are worse than before
    assert found.result.startswith("No arm is better than no registration. " if worse else "Best of 2 arms: ")
    assert second.startswith("Next: joint-")


def test_without_test_values_the_best_follows_the_objective():
    dice = Objective("val/dice/lv", "maximize")
    high = _arm(None, values=(0.9, 0.8), train=35, ranked_by=dice)
    (text,) = _headline(_study(_arm(None, ranked_by=dice), high)).sentences
    assert "best of 2 arms: joint-35 t1 of 2 trials" in text and text.endswith("val/dice/lv 0.900.")
