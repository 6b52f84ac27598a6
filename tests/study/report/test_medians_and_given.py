"""Medians beside means, what each arm was given, and cut structures beside lost ones."""

from dataclasses import replace

import invented_search as invented
import pytest
import synthetic_store as synthetic
from known_rows import patients_of

from jointnet.settings.parsing import settings_from_dict
from study.arm_differences import HEAD, LENGTH, MODEL, POOLING, REFINEMENT, SEARCHED, TRAIN, WEIGHTS
from study.report.analysis import analyse
from study.report.mean_tables import REGISTRATION
from study.report.medians import dominated, median_table, quartiles
from study.report.sections import build
from study.report.sections.given import DESCRIPTORS_GIVEN, given_blocks, given_table
from study.report.store.reader import _given, read_study
from study.report.store.records import BaselineRecord, StudyRecord
from study.report.tables import Table, text_frame
from study.report.write import csv_frames, text_files
from study.store_names import DESCRIPTORS


@pytest.fixture(scope="module")
def study(studies: str) -> StudyRecord:
    return read_study(studies, synthetic.FULL)


def test_quartiles_are_interpolated_and_a_mean_above_the_upper_one_is_named() -> None:
    frame = quartiles({"a": patients_of([1, 2, 3, 4, 90]), "b": patients_of([1, 2, 3, 4, 5])}, REGISTRATION[:1])
    assert frame.drop(columns=["metric", "structure"]).to_numpy().tolist() == [
        ["before", 5, 5.0, 5.0, 5.0, 5.0],
        ["a", 5, 20.0, 2.0, 3.0, 4.0],
        ["b", 5, 3.0, 2.0, 3.0, 4.0],
    ]
    assert dominated(frame, REGISTRATION) == [
        "LV CD: a few patients dominate the mean of a, which exceeds the quartile."
    ]
    table = median_table(frame, {"a": "A", "b": "B"}, REGISTRATION[:1])
    assert text_frame(table).to_numpy().tolist() == [
        ["Before registration", "5.00 [5.00, 5.00]"],
        ["A", "3.00 [2.00, 4.00]"],
        ["B", "3.00 [2.00, 4.00]"],
    ]
    assert quartiles({}, REGISTRATION).empty


def test_one_patient_and_a_metric_that_nobody_has() -> None:
    frame = quartiles({"a": patients_of([2.0], endpoints=[("cd_mm", "lv")])}, REGISTRATION)
    assert frame[["arm", "n", "median"]].to_numpy().tolist() == [["before", 1, 5.0], ["a", 1, 2.0]]
    row = median_table(frame, {"a": "A"}, REGISTRATION).rows[1]
    assert [cell.text for cell in row.cells] == ["2.00 [2.00, 2.00]", "", "", "", ""]


def test_medians_stand_below_table_1_and_in_a_file(study: StudyRecord) -> None:
    content = build(study)
    assert set(csv_frames(content)["medians"]["arm"]) == {"before", *content.analysis.arms}
    assert "Medians of the registration error" in text_files(content, lambda picture, dark: "")["report.md"]


def test_the_table_of_what_arms_were_given_has_a_column_per_method() -> None:
    given = {
        "standalone-25": {"model.name": "standalone", "split.validation": "15", "loss.alpha": "0.5"},
        "standalone-35": {"model.name": "standalone", "split.validation": "5", "loss.alpha": "0.5"},
        "joint-25": {"model.name": "joint", "split.validation": "15", "loss.alpha": "0.5", "model.sharing": "none"},
        "joint-35": {"model.name": "joint", "split.validation": "15", "loss.alpha": "0.5", "model.sharing": "all"},
    }
    methods = {arm: arm.partition("-")[0] for arm in given}
    table = given_table(given, methods, {DESCRIPTORS: DESCRIPTORS_GIVEN})
    assert table.header == ("standalone", "joint", "descriptors")
    assert text_frame(table).to_numpy().tolist() == [
        ["model", "standalone", "joint", "descriptors"],
        ["validation patients", "15 (standalone-25); 5 (standalone-35)", "15", "0"],
        ["model.sharing", "", "none (joint-25); all (joint-35)", ""],
    ]


def test_stages_and_length_are_named_also_where_all_arms_have_the_same(study: StudyRecord) -> None:
    own = {MODEL: "joint", HEAD: "guided", POOLING: "patient", REFINEMENT: "none", LENGTH: "600 steps", "x": "1"}
    baseline = BaselineRecord("b", DESCRIPTORS, synthetic.slice_rows(0.5, False))
    stages = [
        ["Setting", "joint", "descriptors"],
        ["model", "joint", "descriptors"],
        ["model.head", "guided", "none"],
        ["registration.pooling", "patient", "patient"],
        ["registration.refinement", "none", "descriptors"],
        ["number of optimiser steps", "600 steps", "none"],
    ]
    for train, differing in (((25,), []), ((25, 35), [["training patients", "25 (joint-25); 35 (joint-35)", "0"]])):
        arms = (
            replace(arm, given={**own, TRAIN: str(arm.train)})
            for arm in study.arms
            if arm.model == "joint" and arm.train in train
        )
        blocks = given_blocks(one := replace(study, arms=tuple(arms), baselines=(baseline,)), analyse(one))
        table = blocks[-1]
        assert isinstance(table, Table) and len(blocks) == len(train)
        rows = [["Setting", *table.header], *text_frame(table).to_numpy().tolist()]
        assert rows == [*stages, *differing]


def test_the_row_without_annotation_has_the_default_stages() -> None:
    defaults = settings_from_dict({"model": {"name": DESCRIPTORS}}).registration
    assert (DESCRIPTORS_GIVEN[POOLING], DESCRIPTORS_GIVEN[REFINEMENT]) == (defaults.pooling, defaults.refinement)


def test_the_report_says_whether_arms_differ_in_more_than_the_question(study: StudyRecord) -> None:
    def given(**more: str) -> StudyRecord:
        arms = (replace(arm, given={"model.name": arm.model, "split.train": str(arm.train)}) for arm in study.arms)
        return replace(study, arms=tuple(replace(a, given={**a.given, **more}) if a.look else a for a in arms))

    same, other = (text_files(build(one), lambda _, dark: "")["report.md"] for one in (given(), given(head="x")))
    assert "The arms differ in model and training patients only." in same
    assert "differ in more than the question" not in same
    assert "What each arm was given." in same
    assert "The arms do not differ" not in other
    with_more = replace(study, arms=tuple(replace(a, given={**a.given, "x": a.arm}) for a in given().arms))
    text = text_files(build(with_more), lambda _, dark: "")["report.md"]
    assert "The arms differ in more than the question: in x besides model and training patients." in text
    methods = {"a": {"model": "joint", "fixed": {"x": 1}}, "b": {"model": "joint", "fixed": {}}}
    asked = replace(with_more, specification={"searches": [{"methods": methods}]})
    text = text_files(build(asked), lambda _, dark: "")["report.md"]
    assert "The arms differ in model, training patients and x only." in text
    assert "What each arm was given" not in text_files(build(study), lambda _, dark: "")["report.md"]  # not recorded


def test_an_arm_with_a_single_trial_searched_nothing() -> None:
    params = {"loss.alpha": "0.5", SEARCHED: "alpha", WEIGHTS: "lambda_2_to_1"}
    one, failed, other = invented.trial(1, 0.5), invented.trial(2, ending="failed"), invented.trial(3, 0.6, "early")
    assert _given(params, [one, other, failed]) == params
    assert _given(params, [one, failed]) == {**params, SEARCHED: "none", WEIGHTS: "none"}
    older = {name: text for name, text in params.items() if name != WEIGHTS}
    assert _given(older, [one, other]) == {**older, WEIGHTS: "none"}
    assert _given({}, [one]) == {}  # of a still older version


def test_annotated_patients_are_those_that_an_arm_learns_from(study: StudyRecord) -> None:
    """Of the 25 training patients of both small arms a model that only registers learns from 20."""
    arms = tuple(
        replace(arm, given={TRAIN: "20" if arm.arm == "standalone-25" else str(arm.train)}) for arm in study.arms
    )
    content = build(replace(study, arms=arms))
    text = text_files(content, lambda _, dark: "")["report.md"]
    titles = content.analysis.titles
    assert titles["standalone-25"].endswith(", 20 + 15 = 35 annotated")
    assert titles["joint-25"].endswith(", 25 + 15 = 40 annotated")
    assert "With 25 training and 15 validation patients (35-40 annotated)" in text
    counts = csv_frames(content)["efficiency"].drop_duplicates("arm").set_index("arm")["annotated"]
    assert (counts["standalone-25"], counts["joint-25"]) == (35, 40)


def test_cut_structures_are_counted_beside_lost_ones(study: StudyRecord) -> None:
    cut = replace(study, arms=tuple(replace(arm, metrics={"test/cut": 3.0}) for arm in study.arms))
    text = text_files(build(cut), lambda _, dark: "")["report.md"]
    assert "1 structure lost on test. 3 structures left out, cut by the common field." in text
    assert "3 structures left out in every row: the common field of both scans cuts them." in text
    assert "left out in every row" not in text_files(build(study), lambda _, dark: "")["report.md"]
