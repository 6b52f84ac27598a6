"""The report of a study whose data lack a structure, or whose patients do not all have every structure."""

import re
from dataclasses import replace

import pytest
import synthetic_store as synthetic
from matplotlib.figure import Figure

from jointnet.evaluate.aggregation import ENDPOINTS, endpoints_of
from study.report import page, tables
from study.report.analysis import analyse
from study.report.figures import LIGHT
from study.report.headline import headline
from study.report.mean_tables import text_table
from study.report.medians import median_table, quartiles
from study.report.sections import build
from study.report.sections.annotations import draw_curve, efficiency_table, mean_errors
from study.report.sections.answer import claims_table
from study.report.sections.arms_compared import between_table
from study.report.sections.box_plots import every_patient
from study.report.sections.methods import detectable_table
from study.report.sections.registration import registration_means
from study.report.store.reader import read_study
from study.report.store.records import ArmRecord, StudyRecord
from study.report.write import csv_frames
from study.store_names import REMARKS_TAG


def with_rows(study: StudyRecord, kept: str, **changes: object) -> StudyRecord:
    """Return a study with the rows of its arms that a query selects, and without the pictures."""

    def own(arm: ArmRecord) -> ArmRecord:
        rows = None if arm.rows is None else arm.rows.query(kept).reset_index(drop=True)
        metrics = {name: value for name, value in arm.metrics.items() if name != "test/registration_ratio"}
        trials = tuple(
            replace(trial, validation={k: v for k, v in trial.validation.items() if not k.endswith("/rv")})
            for trial in arm.trials
        )
        return replace(arm, rows=rows, metrics=metrics, trials=trials, overlays={})

    return replace(study, arms=tuple(own(arm) for arm in study.arms), **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def full(studies: str) -> StudyRecord:
    return read_study(studies, synthetic.FULL)


@pytest.fixture(scope="module")
def without_rv(full: StudyRecord) -> StudyRecord:
    named = ["/".join(endpoint) for endpoint in endpoints_of(("lv", "myo"))]
    return with_rows(full, "structure != 'rv'", specification={**full.specification, "endpoints": named})


def test_a_study_without_rv_shows_none_and_says_over_which_metrics_the_ratio_is(without_rv: StudyRecord) -> None:
    content = build(without_rv)
    texts = [page.markdown(content), page.html(content, lambda picture, dark: "")]
    texts += [frame.to_csv() for frame in csv_frames(content).values()]
    assert not [found for text in texts for found in re.findall(r".{30}\bRV\b.{30}", text)]
    assert not [line for text in texts for line in text.splitlines() if re.search(r"\brv\b", line)]
    assert "geometric mean over LV CD, LV ASD, myocardium ASD of the error after registration" in texts[0]
    assert "of 3 metrics improve from before " in texts[0]


def test_claims_and_comparisons_are_over_the_metrics_of_the_data(without_rv: StudyRecord, full: StudyRecord) -> None:
    analysis = analyse(without_rv)
    assert {len(family) for family in analysis.comparisons.values()} == {3}
    assert [(claim.metric, claim.structure) for claim in analysis.claims] == 2 * list(endpoints_of(("lv", "myo")))
    assert analysis.endpoints == endpoints_of(("lv", "myo"))
    assert analyse(full).endpoints == ENDPOINTS
    primary = [claim for claim in analyse(full).claims if claim.primary]
    assert [(claim.metric, claim.structure) for claim in primary] == 2 * [("cd_mm", "lv")]


def test_without_the_lv_the_first_metric_decides_the_claims(full: StudyRecord) -> None:
    named = ["/".join(endpoint) for endpoint in endpoints_of(("myo", "rv"))]
    study = with_rows(full, "structure != 'lv'", specification={**full.specification, "endpoints": named})
    primary = [claim for claim in analyse(study).claims if claim.primary]
    assert [(claim.metric, claim.structure) for claim in primary] == 2 * [("asd_mm", "myo")]


def panel_titles(figure: Figure) -> tuple[str, ...]:
    return tuple(axes.get_title(loc="left") for axes in figure.axes)


def test_every_table_and_picture_gives_n_where_columns_differ_in_their_patients(full: StudyRecord) -> None:
    """RV is not drawn in patient 41 of five."""
    partial = with_rows(full, "structure != 'rv' or patient != '41'")
    for study, expected in ((full, [""] * 5), (partial, [", n = 5"] * 3 + [", n = 4"] * 2)):
        analysis = analyse(study)
        means = mean_errors(analysis.patients, analysis.arms, analysis.columns)
        quarters = quartiles(analysis.patients, analysis.columns)
        plots = every_patient(study, analysis).blocks[0]
        headers = [
            text_table(registration_means(analysis)).header,
            median_table(quarters, analysis.titles, analysis.columns).header,
            efficiency_table(means, analysis.titles, analysis.columns).header,
            between_table(analysis).header,
            detectable_table(analysis).header,
            panel_titles(draw_curve(means, study.arms, analysis.columns)),
            panel_titles(plots.combined.draw(LIGHT)),
            tuple(picture.title for picture in plots.pictures),
        ]
        for header in headers:
            assert header == tuple(column.heading + n for column, n in zip(analysis.columns, expected, strict=True))
        endpoints = [row.cells[0].text.removesuffix(" (primary)") for row in claims_table(analysis.claims).rows]
        assert endpoints == 2 * [column.title + n for column, n in zip(analysis.columns, expected, strict=True)]
        shown = " ".join(tables.terminal(text_table(registration_means(analysis)), 200).split())
        assert ("n = 4" in shown) == (study is partial)


@pytest.mark.parametrize(
    ("patients", "expected"),
    [
        ([[5, 5], [5, 5]], ("A", "B")),
        ([[5], [4]], ("A, n = 5", "B, n = 4")),
        ([[10, 8], [10, 8]], ("A", "B")),  # an arm that lacks a fold, in all columns alike
        ([[10, 8], [9, 7]], ("A, n = 8 to 10", "B, n = 7 to 9")),
        ([[5], []], ("A", "B")),
        ([[5, 0], [5]], ("A", "B")),
    ],
)
def test_headings_have_the_number_of_patients_only_where_columns_differ(
    patients: list[list[int]], expected: tuple[str, ...]
) -> None:
    assert tables.with_patients(("A", "B"), patients) == expected


def test_the_headline_counts_the_patients_of_its_metric(full: StudyRecord) -> None:
    partial = with_rows(full, "structure != 'lv' or patient != '41'")
    for study, count in ((full, 5), (partial, 4)):
        assert f" mm on {count} unseen patients, " in headline(study, analyse(study)).result


def test_the_summary_ends_with_who_cannot_be_what(full: StudyRecord) -> None:
    assert not build(full).summary[-1].startswith("Patients")
    told = replace(full, tags={**full.tags, REMARKS_TAG: "2 patients can only train: [3, 4]\n1 patient is unused: [5]"})
    last = "Patients and splits: 2 patients can only train: [3, 4]; 1 patient is unused: [5]."
    assert build(told).summary == (*build(full).summary, last)
