"""Verification of a report: an unchanged one passes, and a single changed digit is found and reported."""

import os
import random
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_store as synthetic

from study.report.__main__ import DIFFERS, main
from study.report.sections import build
from study.report.store.reader import read_study
from study.report.verify import differences, stored_differences
from study.report.write import Report, text_files, write_report

NUMBER = re.compile(r"\d+\.\d+")
IN_HTML = re.compile(r">([^<>]+)<")


@pytest.fixture(scope="module")
def expected(studies: str) -> dict[str, str]:
    return text_files(build(read_study(studies, synthetic.FULL)), lambda picture, dark: "")


def altered(text: str, at: int) -> str:
    """Return the text with the digit at a position replaced by another one."""
    return text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]


def test_an_untouched_report_says_what_the_store_gives(report: Report, expected: Mapping[str, str]) -> None:
    assert differences(report.folder, expected) == []


@pytest.mark.parametrize(
    ("name", "near", "place"),
    [
        ("table1.csv", "joint-25,cd_mm,lv", ("row 11", "column 'after_mean'")),
        ("table1.md", "| Joint model, 25 + 15 = 40 annotated |", ()),
        ("table1.tex", "Joint model, 25 + 15 = 40 annotated &", ()),
        ("report.html", '<table id="table1">', ("section registration",)),
        ("report.html", '<table id="between">', ("section arms",)),
        ("report.html", "LV CD went from ", ("section registration",)),
        ("slices.csv", "standalone-25,", ("row 1", "column 'before'")),
        ("comparisons.csv", "before,joint-35,cd_mm,lv,5,", ("column 'reference_mean'",)),
        ("claims.tex", r"\midrule", ()),
    ],
)
def test_one_altered_digit_is_named(
    name: str, near: str, place: tuple[str, ...], report: Report, expected: Mapping[str, str], tmp_path: Path
) -> None:
    text = (report.folder / name).read_text(encoding="utf-8")
    start = text.index(near) + len(near)
    if name == "table1.csv":  # the cell after patients, before_mean and before_sd
        start = text.index(expected_cell(text, near, "after_mean"), start)
    found = NUMBER.search(re.sub(r'href="[^"]*"', lambda m: "x" * len(m[0]), text), start)
    assert found is not None
    changed = altered(text, found.end() - 1)
    (tmp_path / name).write_text(changed, encoding="utf-8", newline="")
    lines = differences(tmp_path, {name: expected[name]})
    assert len(lines) == 1
    assert lines[0].startswith(f"{name}: ") and all(part in lines[0] for part in place), lines
    if not name.endswith(".csv"):
        assert f"line {text.count(chr(10), 0, found.start()) + 1}: " in lines[0]
    assert text[found.start() : found.end()] in lines[0] and changed[found.start() : found.end()] in lines[0]


def expected_cell(text: str, row: str, column: str) -> str:
    header = text.splitlines()[0].split(",")
    line = next(line for line in text.splitlines() if line.startswith(row))
    return line.split(",")[header.index(column)]


@pytest.mark.parametrize(
    "name", ["table1.csv", "efficiency.csv", "trials.csv", "between.md", "table1.tex", "report.md"]
)
def test_any_altered_digit_is_found(name: str, report: Report, expected: Mapping[str, str], tmp_path: Path) -> None:
    text = (report.folder / name).read_text(encoding="utf-8")
    places = [found.start() for found in re.finditer(r"\d", text)]
    for at in random.Random(0).sample(places, min(60, len(places))):
        (tmp_path / name).write_text(altered(text, at), encoding="utf-8", newline="")
        assert differences(tmp_path, {name: expected[name]}), text[max(0, at - 40) : at + 10]


def test_any_altered_digit_on_the_page_is_found(report: Report, expected: Mapping[str, str], tmp_path: Path) -> None:
    text = (report.folder / "report.html").read_text(encoding="utf-8")
    slim = re.sub(r'(src|srcset)="data:[^"]*"', r'\1=""', text)
    body = slim.index("<main>")
    local = [found.span() for found in re.finditer(r'<p class="note local">.*?</p>', slim, re.S)]
    places = [
        words.start(1) + digit.start()
        for words in IN_HTML.finditer(slim, body)
        for digit in re.finditer(r"\d", words[1])
        if not any(first <= words.start() < last for first, last in local)
    ]
    for at in random.Random(1).sample(places, 40):
        (tmp_path / "report.html").write_text(altered(slim, at), encoding="utf-8", newline="")
        assert differences(tmp_path, {"report.html": expected["report.html"]}), slim[max(0, at - 60) : at + 10]


def test_rows_that_changed_in_the_store_are_found(studies: str, report: Report) -> None:
    study = read_study(studies, synthetic.FULL)
    arm = study.arms[-1]
    assert arm.rows is not None
    rows = arm.rows.assign(after=arm.rows["after"] + (arm.rows.index == 0))
    changed = replace(study, arms=(*study.arms[:-1], replace(arm, rows=rows)))
    found = differences(report.folder, text_files(build(changed), lambda picture, dark: ""))
    assert {line.partition(":")[0] for line in found} >= {"slices.csv", "patients.csv", "table1.csv", "report.html"}


def test_files_that_are_not_those_of_the_store_are_named(tmp_path: Path) -> None:
    for name, content in {"same.png": b"1", "changed.png": b"2", "own.csv": b"3"}.items():
        (tmp_path / name).write_bytes(content)
    stored = {"same.png": b"1", "changed.png": b"x", "gone.csv": b"4"}
    assert [line.partition(":")[0] for line in stored_differences(tmp_path, stored)] == [
        "gone.csv",
        "own.csv",
        "changed.png",
    ]


def test_the_command_ends_with_a_status_of_its_own(
    studies: str, report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "report"
    shutil.copytree(report.folder, own)
    arguments = ["--verify", "--study", synthetic.FULL, "--tracking-uri", studies, "--out", str(own)]
    assert main(arguments) == 0
    assert "every value is what study" in capsys.readouterr().out
    page_text = (own / "report.html").read_text(encoding="utf-8")
    (own / "report.html").write_text(page_text.replace("LV CD went from 3", "LV CD went from 8", 1), encoding="utf-8")
    (own / "boxplots.png").unlink()
    assert main(arguments) == DIFFERS
    errors = capsys.readouterr().err
    assert "report.html: section registration" in errors and "report.html: differs from the store's copy" in errors
    assert "boxplots.png: is in the store's copy of the report and not in" in errors
    assert main([*arguments[:-1], str(tmp_path / "nowhere")]) == 2


def test_every_altered_number_of_a_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\n| joint-25 | 1.25 (0.50) | 3.75 |\n", encoding="utf-8")
    assert differences(tmp_path, {"a.md": "# Title\n\n| joint-25 | 1.20 (0.50) | 3.70 |\n"}) == [
        "a.md: line 3: written '1.25', the store gives '1.20'",
        "a.md: line 3: written '3.75', the store gives '3.70'",
    ]


def test_lines_and_cells_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one\ntwo\nextra\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text('name,value\n"a, b",1\nc,2,3\n', encoding="utf-8")
    assert differences(tmp_path, {"a.md": "one\ntwo\n\nlost\nthree\n", "a.csv": 'name,value\n"a, b",1\n'}) == [
        "a.md: line 3: written 'extra', the store gives 'lost'",
        "a.md: line 5 of the new report: written nothing, the store gives 'three'",
        "a.csv: row 2, column 'name': written 'c', the store gives nothing",
        "a.csv: row 2, column 'value': written '2', the store gives nothing",
        "a.csv: row 2, column 3: written '3', the store gives nothing",
    ]


PAGE = """<style>\na { color: red; }\n</style>
<p class="soft">Study s1, <span class="local">written 2026-06-01</span>. Data: phantom.</p>
<section aria-labelledby="runs">
<img alt="Bars" src="data:x"><a href="http://one:5000/#/runs/r1">r1</a>
<p class="note local">The MLflow UI: <code>mlflow ui --port 1</code></p>
</section>
"""


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("red", "blue", None),
        ("written 2026-06-01", "written 2027-01-01", None),
        ("data:x", "", None),
        ("http://one:5000/", "http://two:5000/", None),
        ("--port 1", "--port 2", None),
        ("Data: phantom", "Data: folder", "line 4"),
        ("runs/r1", "runs/r2", "section runs, line 6"),
        ("Bars", "Boxes", "section runs, line 6"),
        (">r1<", ">r2<", "section runs, line 6"),
    ],
)
def test_a_page_is_compared_without_what_this_machine_and_time_add(
    old: str, new: str, place: str | None, tmp_path: Path
) -> None:
    (tmp_path / "a.html").write_text(PAGE.replace(old, new), encoding="utf-8")
    found = differences(tmp_path, {"a.html": PAGE})
    assert [line.partition(": written")[0] for line in found] == ([f"a.html: {place}"] if place else [])


def test_files_that_are_no_text_or_no_table_any_more_are_compared(tmp_path: Path) -> None:
    rows = "".join(f"{number}\n" for number in range(30_000))
    (tmp_path / "a.md").write_bytes(b"one\xff\n")
    (tmp_path / "a.csv").write_text(f'name\n"{rows}', encoding="utf-8")  # a field larger than the limit of csv
    assert differences(tmp_path, {"a.md": "one\n", "a.csv": f"name\n{rows}"}) == [
        "a.md: line 1: written 'one\\\\xff', the store gives 'one'",
        "a.csv: line 2: written '\"0', the store gives '0'",
    ]


def test_the_first_line_has_the_files_and_without_a_copy_in_the_store_missing_pictures_are_named(
    studies: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_report(studies, "doubtful", tmp_path, log=False)
    arguments = ["--verify", "--study", "doubtful", "--tracking-uri", studies, "--out", str(tmp_path)]
    assert main(arguments) == 0
    (tmp_path / "claims.csv").unlink()
    (tmp_path / "boxplots.svg").unlink()
    (tmp_path / "patient-joint-25-best.png").unlink()
    assert main(arguments) == DIFFERS
    files = "claims.csv 1, boxplots.svg 1, patient-joint-25-best.png 1"
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}: 3 differences from study doubtful in {studies}: {files}.",
        *(f"{name}: is missing" for name in ("claims.csv", "boxplots.svg", "patient-joint-25-best.png")),
    ]


def test_without_a_folder_the_report_that_was_written_last_is_verified(
    studies: str, report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--verify", "--study", synthetic.FULL, "--tracking-uri", studies]
    rebuilt, of_study = Path("mlruns/reports") / synthetic.FULL, Path("runs") / synthetic.FULL / "report"
    assert main(arguments) == 2
    assert f"{rebuilt}, {of_study}: one must hold a report" in capsys.readouterr().err
    for folder in (of_study, rebuilt):
        shutil.copytree(report.folder, folder)
        os.utime(folder / "report.html", (1e9, 1e9 + (folder == rebuilt)))
        assert main(arguments) == 0
        assert capsys.readouterr().out.startswith(f"{folder}: every value")
    os.utime(of_study / "report.html", (2e9, 2e9))
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{of_study}: every value")
