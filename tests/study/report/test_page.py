"""The report page for readers and screen readers: landmarks, headings, tables, links, and the CSV's numbers."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest
import synthetic_store as synthetic

from jointnet.evaluate.aggregation import named_metrics
from study.report import page, tables
from study.report.analysis import analyse
from study.report.sections import build
from study.report.sections.registration import arm_card, registration_means
from study.report.store.reader import read_study
from study.report.store.records import StudyRecord
from study.report.write import Report, csv_frames

NEVER_CLOSED = {"meta", "link", "img", "source", "br"}


class Page(HTMLParser):
    """A parser that collects tags in order and cell texts by table, row and column, and checks that tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._open: list[str] = []
        self._boxes: list[set[str]] = []
        self.around_unseen: list[set[str]] = []
        self._table = ""
        self.unbalanced: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append((tag, values))
        if tag not in NEVER_CLOSED:
            self._open.append(tag)
            self._boxes.append(set(values.get("class", "").split()))
            if "unseen" in self._boxes[-1]:
                self.around_unseen.append(set().union(*self._boxes[:-1]))
        if tag == "table":
            self._table = values["id"]
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._boxes = self._boxes[:-1]
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "td" in self._open or "th" in self._open:
            self.tables[self._table][-1][-1] += data.strip()

    def all(self, *tags: str) -> Iterator[dict[str, str]]:
        return (values for tag, values in self.tags if tag in tags)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return (report.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(text: str) -> Page:
    return Page(text)


@pytest.fixture(scope="module")
def study(studies: str) -> StudyRecord:
    return read_study(studies, synthetic.FULL)


def test_the_numbers_are_those_of_the_csv(parsed: Page, report: Report) -> None:
    with (report.folder / "table1.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    header, before, *rows = parsed.tables["table1"]
    arms = list(dict.fromkeys(line["arm"] for line in lines))
    assert header[1:] == ["LV CD (mm)", "LV ASD (mm)", "Myocardium ASD (mm)", "RV CD (mm)", "RV ASD (mm)"]
    assert len(rows) == 2 * len(arms)
    for place, arm in enumerate(arms):
        for column, line in enumerate((line for line in lines if line["arm"] == arm), start=1):
            value = {name: float(line[name]) for name in ("before_mean", "before_sd", "after_mean", "after_sd")}
            assert before[column] == f"{value['before_mean']:.2f} ({value['before_sd']:.2f})"
            assert rows[2 * place][column] == f"{value['after_mean']:.2f} ({value['after_sd']:.2f}){line['stars']}"
            change = " ".join(f"{float(line[name]):.2f}" for name in ("difference", "low", "high"))
            assert re.sub(r"[\[\],]", "", rows[2 * place + 1][column]) == change


def test_it_is_well_formed_and_ids_are_unique(parsed: Page) -> None:
    assert parsed.unbalanced == []
    ids = [values["id"] for _, values in parsed.tags if "id" in values]
    assert len(ids) == len(set(ids))


def test_landmarks_and_headings(parsed: Page) -> None:
    assert [tag for tag, _ in parsed.tags if tag in ("header", "nav", "main")] == ["header", "nav", "main"]
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert next(parsed.all("html"))["lang"] == "en"
    assert next(parsed.all("a"))["class"] == "skip"
    sections = [values["aria-labelledby"] for values in parsed.all("section")]
    assert [values["href"] for values in parsed.all("a")][1 : 1 + len(sections)] == [f"#{name}" for name in sections]


def test_tables_have_captions_and_scopes_and_scroll_in_a_box_of_their_own(text: str, parsed: Page) -> None:
    assert text.count("<table") == text.count("<caption") == len(parsed.tables) >= 10
    assert all(values.get("scope") in ("row", "col") for values in parsed.all("th"))
    boxes = [values for values in parsed.all("div") if "scroll" in values.get("class", "").split()]
    assert len(boxes) >= len(parsed.tables) and all(box.get("tabindex") == "0" for box in boxes)
    assert all(values.get("alt") for values in parsed.all("img"))


def test_what_is_placed_absolutely_stays_in_a_box_that_scrolls(text: str, parsed: Page) -> None:
    """Otherwise a hidden text for screen readers in a cell far to the right widens the page on small screens."""
    style = text[text.index("<style>") : text.index("</style>")]
    rules = dict(re.findall(r"^(\S[^{}]*?) \{([^{}]*)\}", style, re.MULTILINE))
    assert {name for name, rule in rules.items() if "position:absolute" in rule} == {".skip", ".unseen"}
    assert "position:relative" in rules[".scroll"] and "overflow-x:auto" in rules[".scroll"]
    assert parsed.around_unseen and all("scroll" in boxes for boxes in parsed.around_unseen)


def card_of(study: StudyRecord, arm: str) -> page.Card:
    """Return the card of one arm in the section with Table 1."""
    analysis = analyse(study)
    row = next(row for row in registration_means(analysis).rows if row.key == arm)
    return arm_card(analysis, arm, row)


def test_a_card_says_once_how_trials_ended(study: StudyRecord) -> None:
    arm = study.arms[0]
    counts = Counter(trial.ending for trial in arm.trials)
    remarks = [f"{count} of 9 trials {how}" for how, count in counts.items() if how != "complete"]
    assert remarks
    selection = {**(arm.selection or {}), "remarks": [*remarks, "3 of 9 trials never started"]}
    changed = replace(study, arms=(replace(arm, selection=selection), *study.arms[1:]))
    text = card_of(changed, arm.arm).paragraphs[1]
    ended = "5 trials: 2 complete, 1 failed, 2 stopped early."
    assert text == f"1 structure lost on test. {ended} 3 of 9 trials never started."
    assert all(text.count(how) == 1 for how in counts)


def test_lost_structures_are_as_many_as_in_patients_csv_with_seeds_too(study: StudyRecord) -> None:
    arm = next(arm for arm in study.arms if arm.rows is not None and arm.rows["lost"].any())
    assert arm.rows is not None
    seeds = pd.concat([arm.rows.assign(seed_index=seed) for seed in (1, 2, 3)], ignore_index=True)
    content = build(replace(study, arms=(replace(arm, rows=seeds),)))
    patients = csv_frames(content)["patients"]
    text = card_of(content.study, arm.arm).paragraphs[1]
    assert text.startswith("3 structures lost on test, over 3 retrainings. ")
    assert patients.loc[patients["metric"] == "asd_mm", "lost"].sum() == 3
    assert named_metrics(seeds, "test")["test/lost"] == 3


def test_code_and_links_in_a_text_are_set_and_the_rest_is_escaped(study: StudyRecord) -> None:
    content = build(replace(study, arms=()))
    text = page.Text("`run <id>` is in the [table of runs](#tracking), not <b>here</b>.")
    changed = replace(content, sections=(page.Section("answer", "Answer", (text,)),))
    expected = '<p><code>run &lt;id&gt;</code> is in the <a href="#tracking">table of runs</a>, not &lt;b&gt;here'
    assert expected in page.html(changed, lambda picture, dark: "")


def test_code_is_set_wherever_a_sentence_stands(study: StudyRecord) -> None:
    content = build(replace(study, arms=()))
    line = "run it with `--folds 5`"
    blocks = (
        page.Bullets((line,)),
        page.Verdicts((("supported", line),)),
        page.Definitions((("name", line),)),
        tables.Table("claims", "Claims.", ("verdict",), (), note=line),
        page.Cards((page.Card("title", "arm", "split", (line,), (line,)),)),
    )
    changed = replace(content, sections=(page.Section("answer", "Answer", blocks),), summary=(line,))
    text = page.html(changed, lambda picture, dark: "")
    assert text.count("run it with <code>--folds 5</code>") == 7 and "`" not in text.split("</style>")[1]


def test_every_link_has_a_target(parsed: Page) -> None:
    ids = {values["id"] for _, values in parsed.tags if "id" in values}
    links = [values["href"] for values in parsed.all("a")]
    assert len(links) > 100
    assert [link for link in links if not link.startswith("#") or link[1:] not in ids] == []


def test_numbers_lead_to_the_run_that_they_come_from(text: str, study: StudyRecord) -> None:
    table = text[text.index('<table id="table1">') :]
    for arm in study.arms:
        row = table[table.index(f'<a href="#run-{arm.run_id}">') :].partition("</tr>")[0]
        assert row.count(f'<a href="#run-{arm.run_id}">') == 6  # the arm and its five means
    trial = study.arms[0].selected
    assert trial is not None
    assert f'<tr id="run-{trial.run_id}">' in text
    assert f'<a href="#run-{trial.run_id}">' in text[text.index('<table id="selected">') :]


def test_with_a_server_numbers_lead_to_its_pages(study: StudyRecord) -> None:
    served = replace(study, tracking_uri="http://me:hunter2@127.0.0.1:5000/", experiment="7")
    text = page.html(build(served), lambda picture, dark: "data:,")
    assert "hunter2" not in text
    found = Page(text)
    links = {values["href"] for values in found.all("a") if not values["href"].startswith("#")}
    runs = {run for arm in study.arms for run in (arm.run_id, *(trial.run_id for trial in arm.trials))}
    address = re.compile(r"http://127\.0\.0\.1:5000/#/experiments/7/runs/(\w+)")
    assert {address.fullmatch(link)[1] for link in links} <= runs | {study.run_id}  # type: ignore[index]
    assert {arm.run_id for arm in study.arms} <= {link.rpartition("/")[2] for link in links}


def test_an_arm_of_several_folds_leads_to_all_of_its_runs(study: StudyRecord) -> None:
    arms = []
    for arm in study.arms:
        assert arm.rows is not None
        for fold, patients in ((1, ("41", "42")), (2, ("43", "44", "45"))):
            rows = arm.rows[arm.rows["patient"].isin(patients)]
            arms.append(
                replace(arm, fold=fold, folds=2, run_id=f"{arm.arm}x{fold}", rows=rows, trials=arm.trials[:fold])
            )
    found = Page(page.html(build(replace(study, arms=tuple(arms))), lambda picture, dark: "data:,"))
    ids = {values["id"] for _, values in found.tags if "id" in values}
    links = {values["href"] for values in found.all("a")}
    assert "#runs-joint-25" in links and all(link[1:] in ids for link in links)
    whole = Page(page.html(build(study), lambda picture, dark: "data:,"))
    assert found.tables["table1"] == whole.tables["table1"]  # each patient once, for any number of folds
    assert [row[:2] for row in found.tables["effort"][1:3]] == [
        ["standalone-25", "1 of 2"],
        ["standalone-25", "2 of 2"],
    ]


@pytest.mark.parametrize(("kind", "shared"), [("phantom", True), ("folder", False)])
def test_a_page_with_patients_says_that_it_must_stay(kind: str, shared: bool, study: StudyRecord) -> None:
    told = page.html(build(replace(study, tags={**study.tags, "data.kind": kind})), lambda picture, dark: "data:,")
    assert ("must not leave this machine" in told) is not shared
    assert ("Phantom data." in told) is shared


def test_the_summary_stands_before_the_contents_and_in_the_other_forms(text: str, report: Report) -> None:
    summary = text[text.index('class="summary"') : text.index("<nav")]
    claims, best, second, limits = report.summary
    result, trust, ratio = report.headline.sentences
    places = [summary.index(f">{part}") for part in (result, trust, ratio)]
    assert places == sorted(places) and summary.index('class="summary"') < places[0]
    assert re.fullmatch(
        r"Best of 4 arms: joint-\d+ t\d of \d+ trials with \d+ \+ \d+ = \d+ annotated patients, .+; LV CD \d\.\d\d to "
        r"\d\.\d\d mm on 5 unseen patients, ratio 0\.\d\d\.",
        result,
    )
    assert trust.startswith("Doubtful: synthetic scans; only ") and "Ratio: the error after " in ratio
    terminal = report.terminal_answer(2000)
    assert terminal.splitlines() == [result, trust, ratio]
    written = (report.folder / "report.md").read_text(encoding="utf-8")
    assert written.split("\n\n")[1:4] == [result, trust, ratio]
    with (report.folder / "claims.csv").open(newline="") as stream:
        primary = [line for line in csv.DictReader(stream) if line["primary"] == "True"]
    for line in primary:
        assert f"{line['joint']} is {line['claim']} to {line['standalone']} in LV CD: {line['verdict']}." in claims
    ratios = re.findall(r"(?: with| ratio of) (\d\.\d{3})", best + second)
    assert len(primary) == 2 and len(ratios) == 2 and ratios[0] <= ratios[1]
    assert "Limits: synthetic scans; 5 test patients of one split; one training seed per arm." in limits
    assert summary.count("<li>") == len(report.summary) == 4
    for form in ((report.folder / "report.md").read_text(encoding="utf-8"), report.terminal_table(2000)):
        assert all(line.replace("<", "&lt;") in form.replace("<", "&lt;") for line in report.summary)


@pytest.mark.parametrize(
    ("name", "sentences"),
    [
        ("empty", ()),
        (
            "doubtful",
            (
                "Pre-specified claims: joint-25 is not inferior to standalone-35 in LV CD: cannot be judged. ",
                "joint-25 has a ratio of ",
                "Limits: synthetic scans; 5 test patients of one split; ",
            ),
        ),
    ],
)
def test_the_summary_of_an_unfinished_study(name: str, sentences: tuple[str, ...], studies: str) -> None:
    content = build(read_study(studies, name))
    assert len(content.summary) == len(sentences)
    assert all(line.startswith(start) for line, start in zip(content.summary, sentences, strict=True))
    if name == "doubtful":
        assert "test patients evaluated more than once by joint-25; no test values of " in content.summary[-1]
        assert "the test patients were opened more than once" in content.headline.trust
    else:
        assert content.headline.sentences == ("No arm has test values yet, so there is no result.",)


def test_no_heading_of_the_markdown_repeats_the_caption_below_it(report: Report) -> None:
    lines = [line for line in (report.folder / "report.md").read_text(encoding="utf-8").splitlines() if line]
    pairs = [(first[4:], second) for first, second in pairwise(lines) if first.startswith("### ")]
    assert pairs and [first for first, second in pairs if second.startswith("**")] == []
