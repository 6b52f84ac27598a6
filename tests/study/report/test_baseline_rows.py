"""Rows without annotation in the report, and annotated patients counted as training plus validation."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import synthetic_store as synthetic
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jointnet.errors import InputError
from study.report.analysis import analyse
from study.report.mean_tables import REGISTRATION
from study.report.page import html, run_links
from study.report.sections import build
from study.report.sections.annotations import _places, draw_curve, mean_errors
from study.report.sections.registration import registration_means
from study.report.store.reader import read_study
from study.report.store.records import ArmRecord, BaselineRecord, StudyRecord
from study.report.verify import differences
from study.report.write import csv_frames, text_files, write_report
from study.store_names import DESCRIPTORS, SIMPLEITK

ARMS = ("standalone-25", "standalone-35", "joint-25", "joint-35")


@pytest.fixture(scope="module")
def study(studies: str) -> StudyRecord:
    return read_study(studies, synthetic.FULL)


def baselines(*gains: float) -> tuple[BaselineRecord, ...]:
    names = (SIMPLEITK, DESCRIPTORS)
    return tuple(
        BaselineRecord(f"run-{name}", name, synthetic.slice_rows(gain, False))
        for name, gain in zip(names, gains, strict=True)
    )


def test_they_stand_in_every_table_and_test_against_before_and_in_no_claim(study: StudyRecord) -> None:
    without, content = build(study), build(replace(study, baselines=baselines(0.9, 0.55)))
    analysis = content.analysis
    rows = ("before", DESCRIPTORS, SIMPLEITK, *ARMS)
    assert tuple(row.key for row in registration_means(analysis).rows) == rows
    frames = csv_frames(content)
    for name in ("table1", "overlap", "pooled", "patients", "slices"):
        assert tuple(dict.fromkeys(frames[name]["arm"])) == rows[1:], name
    assert tuple(dict.fromkeys(frames["efficiency"]["arm"])) == rows
    pairs = frames["comparisons"][["reference", "compared"]].drop_duplicates().to_numpy().tolist()
    assert pairs[:6] == [["before", name] for name in rows[1:]]
    assert pairs[6:10] == [[DESCRIPTORS, arm] for arm in ARMS]
    assert not any(SIMPLEITK in pair for pair in pairs[6:])
    assert "dice_cine" not in set(analysis.patients[DESCRIPTORS]["metric"])
    pd.testing.assert_frame_equal(frames["claims"], csv_frames(without)["claims"])
    assert frames["trials"].equals(csv_frames(without)["trials"])
    assert len(content.summary) == len(without.summary) + 1
    assert content.summary[3].startswith("Without any annotated patient: descriptors 0.5")
    assert "Descriptors are above the lowest arm, joint-35, and differ from it at p < 0.05 in " in content.summary[3]


def test_numbers_lead_to_the_baselines_runs_and_every_text_can_be_verified(study: StudyRecord, tmp_path: Path) -> None:
    content = build(replace(study, baselines=baselines(0.9, 0.55)))
    page = html(content, lambda picture, dark: "data:,")
    assert run_links(content.study).href(DESCRIPTORS) == f"#run-run-{DESCRIPTORS}"
    assert page.count(f'href="#run-run-{DESCRIPTORS}"') > 6 and f'id="run-run-{DESCRIPTORS}"' in page
    files = text_files(content, lambda picture, dark: "")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert differences(tmp_path, files) == []
    assert "Descriptors, 0 annotated" in files["table1.md"] and "| baseline | simpleitk |" not in files["table1.md"]


def test_before_registration_is_that_of_the_row_with_all_patients(study: StudyRecord) -> None:
    """A baseline may lack a fold where its package was installed in between."""
    arms = []
    for arm in study.arms:
        assert arm.rows is not None
        for fold, patients in ((1, ("41", "42")), (2, ("43", "44", "45"))):
            arms.append(replace(arm, fold=fold, folds=2, rows=arm.rows[arm.rows["patient"].isin(patients)]))
    rows = synthetic.slice_rows(0.55, False)
    one = BaselineRecord("r", DESCRIPTORS, rows[rows["patient"].isin(("41", "42"))], 1, 2)
    analysis = analyse(replace(study, arms=tuple(arms), baselines=(one,)))
    assert registration_means(analysis).rows[0].cells == registration_means(analyse(study)).rows[0].cells
    assert "were not tested on the same patients" in analysis.between[DESCRIPTORS, "joint-25"][0].reason


def test_other_scans_than_the_arms_are_refused(study: StudyRecord) -> None:
    rows = synthetic.slice_rows(0.5, False)
    with pytest.raises(InputError, match="descriptors and standalone-25: differ before registration"):
        analyse(replace(study, baselines=(BaselineRecord("r", DESCRIPTORS, rows.assign(before=9.0)),)))


def test_without_tested_arms_there_is_no_result(study: StudyRecord) -> None:
    arms = tuple(replace(arm, rows=None, openings=0) for arm in study.arms)
    content = build(replace(study, arms=arms, baselines=baselines(0.9, 0.55)))
    assert content.summary == ()
    assert content.headline.result.startswith("No arm has test values yet, so there is no result.")
    assert content.analysis.claims == () and content.analysis.between == {}
    assert "No arm has test values yet." in text_files(content, lambda picture, dark: "")["report.md"]


def test_they_are_read_from_the_store_and_one_without_its_files_yet_is_not_shown(uri: str, tmp_path: Path) -> None:
    arms = [replace(arm, trials=arm.trials[:1], selected=0) for arm in synthetic.full_arms()[:2]]
    synthetic.write_study(uri, "baselines", arms, tmp_path)
    synthetic.write_baseline(uri, "baselines", DESCRIPTORS, synthetic.slice_rows(0.55, False), tmp_path)
    synthetic.write_baseline(uri, "baselines", SIMPLEITK, None, tmp_path)
    study = read_study(uri, "baselines")
    assert [(name, len(records)) for name, records in study.by_baseline.items()] == [(DESCRIPTORS, 1), (SIMPLEITK, 1)]
    assert [arm.arm for arm in study.arms] == ["joint-25", "joint-35"]
    report = write_report(uri, "baselines", tmp_path / "report", log=False)
    assert [row.sources for row in report.table.rows] == [("before",), (DESCRIPTORS,), ("joint-25",), ("joint-35",)]
    text = report.terminal_table(400)
    assert "joint-25 25 + 15 = 40 annotated, joint-35 35 + 5 = 40 annotated, descriptors 0." in text


def arm(name: str, model: str, train: int, validation: int, look: int) -> ArmRecord:
    rows = synthetic.slice_rows(0.5 + train / 1000, False)
    return ArmRecord(f"r-{name}", name, model, train, validation, 5, {}, (), None, rows, {}, {}, 1, 1.0, look=look)


def test_the_curve_starts_at_0_and_keeps_splits_with_as_many_annotated_patients_apart(study: StudyRecord) -> None:
    analysis = analyse(replace(study, baselines=baselines(0.9, 0.55)))
    means = mean_errors(analysis.patients, analysis.arms, REGISTRATION)
    assert dict(zip(means["arm"], means["annotated"], strict=True)) == {
        "before": 0, DESCRIPTORS: 0, SIMPLEITK: 0, **dict.fromkeys(ARMS, 40),
    }  # fmt: skip
    places, ticks, gap = _places(means)
    assert ticks == {0: "0", 40: "40\n25+15\n35+5"} and gap == 40
    assert places == {(40, 25): 34.0, (40, 35): 46.0}
    figure = draw_curve(means, analysis.tested, REGISTRATION)
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "Before", "Descriptors", "SimpleITK", "Stand-alone", "Joint",
    ]  # fmt: skip
    assert figure.axes[0].get_xlim()[0] < 0


def test_arms_of_the_same_model_have_their_own_names_and_colours(study: StudyRecord) -> None:
    arms = (arm("joint-2", "joint", 2, 3, 1), arm("no-pooling-2", "joint", 2, 3, 2), arm("bare-2", "joint", 2, 3, 3))
    content = build(replace(study, arms=arms))
    assert content.analysis.titles == {
        "joint-2": "Joint model, 2 + 3 = 5 annotated",
        "no-pooling-2": "no-pooling (joint), 2 + 3 = 5 annotated",
        "bare-2": "bare (joint), 2 + 3 = 5 annotated",
    }
    means = csv_frames(content)["efficiency"]
    assert list(dict.fromkeys(means["method"])) == ["before", "joint", "no-pooling", "bare"]
    figure = draw_curve(means, arms, REGISTRATION[:1])
    colours = [container.lines[0].get_color() for container in figure.axes[0].containers]
    assert len(set(colours)) == 3
