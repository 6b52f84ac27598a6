"""Writing a study's report from its tracking store, and verifying a written one."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from textwrap import fill

import pandas as pd

from jointnet.errors import InputError
from study.report.figures import Picture
from study.report.headline import Headline
from study.report.mean_tables import text_table
from study.report.page import Content, ImageAddress, Pictures, html, markdown
from study.report.sections import build
from study.report.sections.provenance import link_to_trials
from study.report.sections.registration import STARS, annotated_sentence, registration_means
from study.report.store.mlflow_store import MlflowStore
from study.report.store.reader import read_study
from study.report.tables import Table, latex, markdown_text, terminal
from study.report.tables import markdown as markdown_table
from study.report.verify import differences, stored_differences


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        study_id: the study.
        folder: the folder of the report.
        table: Table 1 without the changes from before registration.
        annotated: a sentence with the annotated patients of each row.
        headline: the answer.
        summary: what stands behind it, in a few sentences.
        link: the address of the study's trials in the MLflow UI.
        left_out: why the report could not be copied to the store; empty where it was copied or not meant to be.
    """

    study_id: str
    folder: Path
    table: Table
    headline: Headline = field(default_factory=lambda: Headline(""))
    annotated: str = ""
    summary: tuple[str, ...] = ()
    link: str = ""
    left_out: tuple[str, ...] = ()

    def terminal_table(self, width: int | None = None, colour: bool = False) -> str:
        """Return the main table and the summary as text, `width` characters wide; by default as `terminal_width`."""
        columns = width or terminal_width()
        note = f"Mean (SD) over patients, mm. > best of its column. {self.annotated}{STARS}"
        lines = [terminal(self.table, columns, colour).strip("\n"), fill(note, columns)]
        if self.summary:
            lines += ["", *(fill(line, columns) for line in self.summary)]
        return "\n".join(lines) + "\n"

    def terminal_answer(self, width: int | None = None) -> str:
        """Return the answer as text of that width. A command prints it last, where it stays in view."""
        columns = width or terminal_width()
        return "\n".join(fill(sentence, columns) for sentence in self.headline.sentences)


def terminal_width() -> int:
    """Return the number of characters in a line of the terminal, between 60 and 130."""
    return max(60, min(130, shutil.get_terminal_size((110, 24)).columns))


def write_report(tracking_uri: str, study_id: str, out: Path, *, log: bool = True) -> Report:
    """Write a study's report into the folder `out`.

    Args:
        tracking_uri: the MLflow store that holds the study.
        study_id: the study.
        out: the folder; files of an earlier report in it are replaced.
        log: whether to copy the folder to the study's MLflow run, under `report/`. If that fails, `Report.left_out`
            holds the reason.

    Raises:
        InputError: where the store does not hold the study or its files, its arms contradict each other, or the
            report in `out` or its copy in the store has test values that the new report lacks.
    """
    study = read_study(tracking_uri, study_id)
    content = build(study)
    _check_replaces(_files_in(out), content, str(out))
    if log:
        with MlflowStore(tracking_uri) as store:
            _check_replaces(store.read_report(study.run_id), content, f"report of run {study.run_id} in {store}")
    written = text_files(content, lambda picture, dark: picture.uri(dark))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        (out / name).write_text(text, encoding="utf-8", newline="")
    _write_pictures(content, out)
    left_out: tuple[str, ...] = ()
    if log:
        with MlflowStore(tracking_uri) as store:
            error = store.log_report(study.run_id, out, " ".join(content.headline.sentences))
        left_out = (f"the copy of the report in the tracking store: {error}",) if error else ()
    table = text_table(registration_means(content.analysis), with_changes=False)
    annotated = annotated_sentence(content.analysis)
    return Report(study_id, out, table, content.headline, annotated, content.summary, link_to_trials(study), left_out)


def _files_in(folder: Path) -> dict[str, bytes]:
    """Return the files of the folder that hold a report's study id (report.md) and its test values (slices.csv)."""
    return {name: (folder / name).read_bytes() for name in ("report.md", "slices.csv") if (folder / name).is_file()}


def verify_report(tracking_uri: str, study_id: str, out: Path) -> list[str]:
    """Compare the report in `out` with the store and return one line per difference.

    All tables and all text are recomputed from the per-slice rows in the store. Pictures are not drawn again. If the
    store has a copy of the report, all files are also compared with that copy; otherwise pictures must exist.

    Raises:
        InputError: where the store does not hold the study, or there is no report in `out`.
    """
    if not (out / "report.html").is_file():
        raise InputError(f"{out}: must hold a report; `python -m study.report --study {study_id}` writes one")
    study = read_study(tracking_uri, study_id)
    content = build(study)
    with MlflowStore(tracking_uri) as store:
        stored = store.read_report(study.run_id)
    found = differences(out, text_files(content, lambda picture, dark: ""))
    if stored:
        return found + stored_differences(out, stored)
    names = [name for picture in _filed_pictures(content) for name in picture.file_names]
    return found + [f"{name}: is missing" for name in names if not (out / name).is_file()]


def text_files(content: Content, image: ImageAddress) -> dict[str, str]:
    """Return the content of all text files by name; `image` returns the addresses of the page's pictures."""
    texts = {f"{name}.csv": frame.to_csv(index=False) for name, frame in csv_frames(content).items()}
    for table in (block for block in content.blocks if isinstance(block, Table) and block.in_paper):
        texts[f"{table.name}.md"] = f"{markdown_table(table)}\n{markdown_text(table.note)}\n"
        texts[f"{table.name}.tex"] = latex(table)
    return {**texts, "report.md": markdown(content), "report.html": html(content, image)}


def csv_frames(content: Content) -> dict[str, pd.DataFrame]:
    """Return the tables of the CSV files by the stem of the file."""
    return {name: frame for section in content.sections for name, frame in section.frames.items()}


def _write_pictures(content: Content, out: Path) -> None:
    """Write the pictures into the folder `out`."""
    for picture in _filed_pictures(content):
        for name, drawn in picture.files().items():
            (out / name).write_bytes(drawn)


def _filed_pictures(content: Content) -> list[Picture]:
    """Return the pictures that are written to files."""
    return [picture for block in content.blocks if isinstance(block, Pictures) for picture in block.filed]


def _check_replaces(earlier: Mapping[str, bytes], content: Content, place: str) -> None:
    """Check that no test values are lost when the report replaces an earlier one.

    Args:
        earlier: the files of the earlier report by name.
        content: the content of the new report.
        place: the place of the earlier report, for error messages.

    Raises:
        InputError: where an arm of the same study has test values in the earlier report and none in the new one,
            or where the earlier report is of another study with test values and the new one has none at all.
    """
    try:
        had = set(pd.read_csv(BytesIO(earlier.get("slices.csv", b"")), usecols=["arm"], dtype=str)["arm"])
    except ValueError:  # not a report of this program
        return
    have = set(content.analysis.slices)
    same_study = earlier.get("report.md", b"").startswith(f"# Study {content.study.study_id}\n".encode())
    if (lost := sorted(had - have)) and (same_study or not have):
        raise InputError(
            f"{place}/slices.csv: must not be replaced by a report without its test values of {', '.join(lost)}, which "
            "the store does not hold; write that one elsewhere, with --out and --no-log, or remove this one"
        )
