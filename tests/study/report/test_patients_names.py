"""A report of patients with any names has the figures of the same patients with numbers."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import synthetic_store as synthetic

from study.report.sections import build
from study.report.store.reader import read_study
from study.report.store.records import ArmRecord, StudyRecord
from study.report.write import csv_frames, text_files

NUMBERS = ("41", "42", "43", "44", "45")
OTHER_ORDERS = (
    ("case_9", "case_10", "case_11 <i>&", 'case_12, "M\u00fcller"', "case_100"),  # as texts case_10 would be the first
    ("9", "10", "11", "100", "1000"),
)


def renamed(study: StudyRecord, names: dict[str, str]) -> StudyRecord:
    def arm(record: ArmRecord) -> ArmRecord:
        if record.rows is None:
            return record
        drawn = dict(record.overlays)
        drawn["patients"] = np.array([names[name] for name in drawn["patients"]])
        return replace(record, rows=record.rows.assign(patient=record.rows["patient"].map(names)), overlays=drawn)

    return replace(study, arms=tuple(arm(record) for record in study.arms))


@pytest.mark.parametrize("names", OTHER_ORDERS)
def test_the_figures_are_those_of_numbers_in_the_same_order(studies: str, names: tuple[str, ...]) -> None:
    study = read_study(studies, synthetic.FULL)
    of = dict(zip(NUMBERS, names, strict=True))
    numbered, named = build(study), build(renamed(study, of))
    frames, others = csv_frames(numbered), csv_frames(named)
    assert set(frames) == set(others)
    with_patients = {name for name, frame in frames.items() if "patient" in frame}
    assert with_patients == {"slices", "patients"}
    for name, frame in frames.items():
        expected = frame.assign(patient=frame["patient"].map(of)) if name in with_patients else frame
        assert expected.to_csv(index=False) == others[name].to_csv(index=False), name
    texts, other_texts = (text_files(content, lambda picture, dark: "data:,") for content in (numbered, named))
    rows = list(csv.DictReader(io.StringIO(other_texts["patients.csv"], newline="")))
    assert list(dict.fromkeys(row["patient"] for row in rows)) == list(names)
    page = other_texts["report.html"]
    assert "<i>&" not in page
    shown = set(re.findall(r"Patient (\d+):", texts["report.html"]))
    assert shown
    for number in shown:
        name = of[number].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
        assert f"Patient {name}:" in page
