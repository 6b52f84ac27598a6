"""The report: rebuilt from the store alone, with all numbers of its table recomputed independently."""

import csv
import math
import statistics
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_store as synthetic
from mlflow import MlflowClient
from scipy import stats

from jointnet.errors import InputError
from study.report.__main__ import main
from study.report.store.reader import read_study
from study.report.write import Report, write_report
from study.store_names import EXPERIMENT

ARMS = ("standalone-25", "standalone-35", "joint-25", "joint-35")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def recomputed(folder: Path, arm: str, metric: str, structure: str, side: str) -> list[float]:
    """Return one mean per patient from slices.csv, computed without pandas."""
    slices: dict[int, list[float]] = defaultdict(list)
    for row in read(folder / "slices.csv"):
        if (row["arm"], row["metric"], row["structure"]) == (arm, metric, structure):
            slices[int(row["patient"])].append(float(row[side]))
    return [statistics.fmean(slices[patient]) for patient in sorted(slices)]


def test_every_number_of_the_table_is_recomputed_from_the_slices(report: Report) -> None:
    lines = read(report.folder / "table1.csv")
    assert len(lines) == 4 * 5
    for line in lines:
        key = (line["arm"], line["metric"], line["structure"])
        before, after = (recomputed(report.folder, *key, side) for side in ("before", "after"))
        assert int(line["n"]) == len(after) == 5
        expected = {
            "before_mean": statistics.fmean(before),
            "before_sd": statistics.stdev(before),
            "after_mean": statistics.fmean(after),
            "after_sd": statistics.stdev(after),
        }
        differences = [b - a for a, b in zip(before, after, strict=True)]
        error = statistics.stdev(differences) / math.sqrt(len(differences))
        reach = stats.t.ppf(0.975, len(differences) - 1) * error
        expected["difference"] = statistics.fmean(differences)
        expected["low"], expected["high"] = expected["difference"] - reach, expected["difference"] + reach
        expected["t"] = expected["difference"] / error
        expected["p"] = 2 * stats.t.sf(abs(expected["t"]), len(differences) - 1)
        for name, value in expected.items():
            assert float(line[name]) == pytest.approx(value, rel=1e-9), (key, name)
        family = [float(other["p"]) for other in lines if other["arm"] == line["arm"]]
        assert float(line["holm_p"]) == pytest.approx(holm(family)[family.index(float(line["p"]))], rel=1e-9)
        p = float(line["holm_p"])
        assert line["stars"] == ("**" if p < 0.005 else "*" if p < 0.05 else "")


def holm(family: list[float]) -> list[float]:
    """Return Holm's adjusted p values: the k-th smallest of m times m - k + 1, non-decreasing and at most 1."""
    adjusted, highest = [0.0] * len(family), 0.0
    for rank, place in enumerate(sorted(range(len(family)), key=family.__getitem__)):
        highest = max(highest, min(1.0, family[place] * (len(family) - rank)))
        adjusted[place] = highest
    return adjusted


def test_every_number_shown_is_that_of_the_csv(report: Report) -> None:
    shown = {
        name: (report.folder / name).read_text(encoding="utf-8") for name in ("table1.md", "table1.tex", "report.md")
    }
    shown["terminal"] = report.terminal_table(130)
    for line in read(report.folder / "table1.csv"):
        mean, sd = f"{float(line['after_mean']):.2f}", f"{float(line['after_sd']):.2f}"
        assert all(f"{mean} ({sd})" in text for text in shown.values()), line
        assert f"{float(line['before_mean']):.2f} ({float(line['before_sd']):.2f})" in shown["terminal"]


def test_segmentation_and_pooled_numbers_are_recomputed(report: Report) -> None:
    for line in read(report.folder / "segmentation.csv") + read(report.folder / "overlap.csv"):
        values = recomputed(report.folder, line["arm"], line["metric"], line["structure"], "after")
        assert float(line["after_mean"]) == pytest.approx(statistics.fmean(values), rel=1e-9)
    rows = read(report.folder / "slices.csv")
    for line in read(report.folder / "pooled.csv"):
        key = (line["arm"], line["metric"], line["structure"])
        pooled = [float(row["after"]) for row in rows if (row["arm"], row["metric"], row["structure"]) == key]
        assert (int(line["n"]), line["p"]) == (len(pooled), "")
        assert float(line["after_mean"]) == pytest.approx(statistics.fmean(pooled), rel=1e-9)
    segmented = {line["arm"] for line in read(report.folder / "segmentation.csv") if line["metric"] == "dice_cine"}
    assert segmented == {"joint-25", "joint-35"}


def test_slices_are_those_of_the_store(studies: str, report: Report) -> None:
    rows = read(report.folder / "slices.csv")
    for arm in read_study(studies, synthetic.FULL).arms:
        assert arm.rows is not None
        written = [float(row["after"]) for row in rows if row["arm"] == arm.arm]
        assert written == arm.rows["after"].tolist()


def test_the_folder_is_complete_and_in_the_store(studies: str, report: Report) -> None:
    expected = {"table1.csv", "table1.md", "table1.tex", "segmentation.csv", "patients.csv", "slices.csv"}
    expected |= {"comparisons.csv", "claims.csv", "claims.md", "claims.tex", "efficiency.csv", "trials.csv"}
    expected |= {"boxplots.svg", "boxplots.png", "efficiency.svg", "trials.svg", "report.html", "report.md"}
    expected |= {f"patient-{arm}-{rank}.png" for arm in ARMS for rank in ("best", "median", "worst")}
    assert expected <= {path.name for path in report.folder.iterdir()}
    client = MlflowClient(studies)
    logged = client.list_artifacts(read_study(studies, synthetic.FULL).run_id, "report")
    assert expected <= {Path(item.path).name for item in logged}


class References(HTMLParser):
    """A parser that collects what a page loads and links to, and images without alternative text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.anchors: set[str] = set()
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.found += [str(values[name]) for name in ("src", "srcset", "href") if name in values]
        self.anchors.add(str(values.get("id")))
        if tag == "img" and not values.get("alt"):
            self.silent.append(tag)


def test_the_page_is_self_contained(report: Report) -> None:
    text = (report.folder / "report.html").read_text(encoding="utf-8")
    page = References()
    page.feed(text)
    assert page.found
    assert all(reference.startswith("data:") or reference[1:] in page.anchors for reference in page.found)
    assert page.silent == []
    assert "url(" not in text and "@import" not in text and "<script" not in text


def test_the_page_escapes_and_says_where_it_comes_from(report: Report) -> None:
    text = (report.folder / "report.html").read_text(encoding="utf-8")
    assert "Does &lt;joint&gt; need" in text and "nan &lt;epoch 2&gt;" in text
    for part in (
        "Phantom data.",
        "fp" * 16,
        "ab" * 32,
        "c0ffee",
        "Testor 3000",
        "torch 2.13.0",
        "1 structure lost on test",
    ):
        assert part in text
    assert "joint-25 1, joint-35 1" in text  # test openings
    assert "test values were not used for any choice" in text
    assert "8 complete, 4 failed, 8 stopped early" in text
    assert "cannot fall below p = 0.0625" in text


def test_a_study_without_any_arm(studies: str, tmp_path: Path) -> None:
    report = write_report(studies, "empty", tmp_path, log=False)
    assert "The store holds no arm" in (report.folder / "report.html").read_text(encoding="utf-8")
    assert read(report.folder / "table1.csv") == [] == read(report.folder / "slices.csv")


def test_arms_that_contradict_each_other_are_refused(studies: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differ before registration"):
        write_report(studies, "contradiction", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_line_reports_the_newest_study_and_tells_in_words_what_is_missing(
    studies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", studies)
    monkeypatch.chdir(tmp_path)
    assert main(["--no-log"]) == 0
    assert ": doubtful\n" in capsys.readouterr().out
    folder = tmp_path / "mlruns" / "reports" / "doubtful"
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "joint-25 opened the test patients 3 times" in text
    assert "its later choices were made with test values known" in text
    assert "test values were not used for any choice" not in text
    assert "logged registration ratio 0.5000 differs from that of its test rows" in text
    assert "No test values: none of its trials finished" in text
    assert "No test values: no trial was started." in text
    ends = "1 complete, 1 interrupted, 1 stopped by the time budget, 1 stopped early"
    assert f"4 trials: {ends}." in text
    assert "a trial was selected and recorded, but not evaluated on the test patients" in text
    assert {line["arm"] for line in read(folder / "table1.csv")} == {"joint-25"}
    assert main(["--study", "unknown", "--out", str(tmp_path)]) == 2
    assert main(["--tracking-uri", f"sqlite:///{tmp_path / 'none.db'}"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and "'unknown'" in errors[0] and "none.db" in errors[1]


@pytest.mark.parametrize("tag", ["study.id", "arm"])
def test_a_name_in_the_store_that_leads_elsewhere_is_not_written_to(tmp_path, tag):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(uri)
    experiment = client.create_experiment(EXPERIMENT, artifact_location=(tmp_path / "artifacts").as_uri())
    names = {"study.id": "s1", "arm": "joint-25"} | {tag: "../../outside"}
    for kind in ("study", "arm"):
        tags = {"study.kind": kind, "study.id": names["study.id"]} | ({"arm": names["arm"]} if kind == "arm" else {})
        client.create_run(experiment, tags=tags)
    with pytest.raises(InputError, match=r"plain names|holds no study"):
        write_report(uri, names["study.id"], tmp_path / "inner" / "report")
    assert not (tmp_path / "outside").exists()


def test_a_file_that_is_no_store_is_named_and_left_as_it_is(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_bytes(b"no database")
    assert main(["--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}", "--out", str(tmp_path / "report")]) == 2
    assert "must be a tracking store" in capsys.readouterr().err
    assert (tmp_path / "mlflow.db").read_bytes() == b"no database"


def test_a_folder_that_cannot_be_written_is_named(studies: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").touch()
    asked = ["--tracking-uri", studies, "--study", synthetic.FULL, "--no-log", "--out", str(tmp_path / "file/report")]
    assert main(asked) == 2
    assert f"{tmp_path}/file/report" in capsys.readouterr().err
