"""The report of a study, rebuilt from its tracking store alone: `python -m study.report`."""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jointnet.errors import EXIT_USAGE, InputError
from jointnet.system.terminal import ignore_closed_output
from study.report import files, page, statements, table_formats, tables
from study.report.store import Store
from study.report.stored_study import read_study, study_ids
from study.report.verify import differences, stored_differences
from study.store_address import default_tracking_uri

DIFFERS = 1
"""Exit status of `--verify` where the written report differs from the store."""
MOST_DIFFERENCES = 50
"""Largest number of differences that are printed."""


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        study_id: the study.
        folder: the folder of the report.
        table: the main table.
        left_out: why the report could not be copied to the store; empty where it was copied or not meant to be.
    """

    study_id: str
    folder: Path
    table: tables.Table
    left_out: tuple[str, ...] = ()

    def terminal_table(self, width: int | None = None, colour: bool = False) -> str:
        """Return the main table as text, `width` characters wide; as wide as the terminal (60 to 130) by default."""
        columns = width or max(60, min(130, shutil.get_terminal_size((110, 24)).columns))
        shown = table_formats.terminal(tables.grid(self.table, with_changes=False), columns, colour)
        return f"{shown}Mean (SD) over {self.table.unit}, mm. > best of its column. {statements.STARS_ALONE}\n"


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
    content = page.build(study)
    files.check_replaces(_files_in(out), content, str(out))
    if log:
        with Store(tracking_uri) as store:
            files.check_replaces(store.read_report(study.run_id), content, f"report of run {study.run_id} in {store}")
    written = files.texts(content, lambda picture, dark: picture.uri(dark))
    out.mkdir(parents=True, exist_ok=True)
    for name, text in written.items():
        (out / name).write_text(text, encoding="utf-8", newline="")
    files.write_pictures(content, out)
    left_out: tuple[str, ...] = ()
    if log:
        with Store(tracking_uri) as store:
            error = store.log_report(study.run_id, out)
        left_out = (f"the copy of the report in the tracking store: {error}",) if error else ()
    return Report(study_id, out, content.analysis.registration, left_out)


def _files_in(folder: Path) -> dict[str, bytes]:
    """Return the files of the folder that hold a report's study id (report.md) and its test values (slices.csv)."""
    return {name: (folder / name).read_bytes() for name in ("report.md", "slices.csv") if (folder / name).is_file()}


def verify_report(tracking_uri: str, study_id: str, out: Path) -> list[str]:
    """Compare the report in `out` with the store and return one line per difference.

    All tables and all text are recomputed from the per-slice rows in the store. Pictures are not drawn again. If the
    store has a copy of the report, all files are also compared with that copy.

    Raises:
        InputError: where the store does not hold the study, or there is no report in `out`.
    """
    if not (out / "report.html").is_file():
        raise InputError(f"{out}: must hold a report; `python -m study.report --study {study_id}` writes one")
    study = read_study(tracking_uri, study_id)
    expected = files.texts(page.build(study), lambda picture, dark: "")
    with Store(tracking_uri) as store:
        stored = store.read_report(study.run_id)
    return differences(out, expected) + (stored_differences(out, stored) if stored else [])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m study.report", description=__doc__)
    parser.add_argument("--study", metavar="ID", help="study id; the newest in the store where not given")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow store; MLFLOW_TRACKING_URI or mlruns/mlflow.db")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report; mlruns/reports/ID where not given"
    )
    parser.add_argument("--no-log", action="store_true", help="do not copy the report to the study's MLflow run")
    parser.add_argument(
        "--verify",
        action="store_true",
        help=f"write nothing; recompute the report in DIR from the store, and end with {DIFFERS} where a value differs",
    )
    ignore_closed_output()
    options = parser.parse_args(arguments)
    uri = options.tracking_uri or default_tracking_uri()
    try:
        study_id = options.study
        if study_id is None:
            study_id = study_ids(uri)[0]
            print(f"Newest study in {uri}: {study_id}")
        out = options.out or Path("mlruns/reports") / study_id
        if options.verify:
            return _verify(uri, study_id, out)
        report = write_report(uri, study_id, out, log=not options.no_log)
    except InputError as error:
        for line in error.errors:
            print(line, file=sys.stderr)
        return error.exit_status
    except OSError as error:  # a folder that cannot be written
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    for line in report.left_out:
        print(f"WARNING: {line}", file=sys.stderr)
    print(report.terminal_table(colour=sys.stdout.isatty()))
    print(f"Report: {(report.folder / 'report.html').resolve()}")
    return 0


def _verify(uri: str, study_id: str, out: Path) -> int:
    """Print the differences and return the exit status."""
    began = time.monotonic()
    found = verify_report(uri, study_id, out)
    for line in found[:MOST_DIFFERENCES]:
        print(line, file=sys.stderr)
    if found:
        print(f"{out}: {len(found)} differences from study {study_id} in {uri}.", file=sys.stderr)
        return DIFFERS
    print(f"{out}: every value is what study {study_id} in {uri} gives ({time.monotonic() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
