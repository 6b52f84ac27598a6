"""The report of a study, rebuilt from its tracking store alone: `python -m study.report`."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from jointnet.faults import InputFaultError
from study.reporting import figures, findings, page, table_formats, tables
from study.reporting.records import StudyRecord
from study.reporting.rows import ROW_COLUMNS, check_rows, over_seeds, per_patient
from study.reporting.store import log_report, read_study, study_ids
from study.store_layout import default_tracking_uri


@dataclass(frozen=True)
class Report:
    """A written report: its study, its folder and its main table."""

    study_id: str
    folder: Path
    table: tables.Table

    def terminal_table(self, width: int | None = None, colour: bool = False) -> str:
        """Give the main table as text, as wide as the terminal unless `width` (in characters) says otherwise."""
        columns = width or max(60, min(130, shutil.get_terminal_size((110, 24)).columns))
        return f"{table_formats.terminal(self.table, columns, colour)}> best of its column. {findings.STARS}\n"


def write_report(tracking_uri: str, study_id: str, out: Path, *, log: bool = True) -> Report:
    """Write a study's report into the folder `out`.

    Args:
        tracking_uri: the MLflow store that holds the study.
        study_id: the study.
        out: the folder; files of an earlier report in it are replaced.
        log: whether to copy the folder to the study's own run, under `report/`.

    Raises:
        InputFaultError: where the store does not hold the study, or its arms contradict each other.
    """
    study = _apart(read_study(tracking_uri, study_id))
    rows = {arm.arm: arm.rows for arm in study.arms if arm.rows is not None}
    for fold in sorted({arm.fold for arm in study.arms}):
        check_rows({arm.arm: rows[arm.arm] for arm in study.arms if arm.fold == fold and arm.arm in rows})
    content = page.build(study, rows)
    out.mkdir(parents=True, exist_ok=True)
    _write_tables(content, rows, out)
    _write_figures(study, content, out)
    (out / "report.md").write_text(page.markdown(content), encoding="utf-8")
    (out / "report.html").write_text(page.html(content), encoding="utf-8")
    if log:
        log_report(tracking_uri, study.run_id, out)
    return Report(study_id, out, content.registration)


def _apart(study: StudyRecord) -> StudyRecord:
    """Give the study with an arm for each fold, such as `joint-25-fold-2`, and the means over seeds as its rows."""
    return replace(
        study,
        arms=tuple(
            replace(
                arm,
                arm=arm.arm if arm.folds == 1 else f"{arm.arm}-fold-{arm.fold}",
                rows=None if arm.rows is None else over_seeds(arm.rows),
            )
            for arm in study.arms
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give its exit status."""
    parser = argparse.ArgumentParser(prog="python -m study.report", description=__doc__)
    parser.add_argument("--study", metavar="ID", help="study id; the newest in the store where not given")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow store; MLFLOW_TRACKING_URI or mlruns/mlflow.db")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write; mlruns/reports/ID where not given")
    parser.add_argument("--no-log", action="store_true", help="do not copy the report to the study's MLflow run")
    options = parser.parse_args(arguments)
    uri = options.tracking_uri or default_tracking_uri()
    try:
        study_id = options.study
        if study_id is None:
            study_id = study_ids(uri)[0]
            print(f"Newest study in {uri}: {study_id}")
        out = options.out or Path("mlruns/reports") / study_id
        report = write_report(uri, study_id, out, log=not options.no_log)
    except InputFaultError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return error.exit_status
    print(report.terminal_table(colour=sys.stdout.isatty()))
    print(f"Report: {(report.folder / 'report.html').resolve()}")
    return 0


def _write_tables(content: page.Content, rows: dict[str, pd.DataFrame], out: Path) -> None:
    """Write the tables: as shown, tidy and unrounded, and the rows that they come from."""
    note = f"{content.note} {findings.STARS}"
    (out / "table1.md").write_text(
        f"{table_formats.markdown(content.registration)}\n{page.plain(note)}\n", encoding="utf-8"
    )
    (out / "table1.tex").write_text(table_formats.latex(content.registration, note), encoding="utf-8")
    tables.tidy([content.registration]).to_csv(out / "table1.csv", index=False)
    tables.tidy([content.overlap, content.segmentation]).to_csv(out / "segmentation.csv", index=False)
    tables.tidy([content.pooled]).to_csv(out / "pooled.csv", index=False)
    content.trials.to_csv(out / "trials.csv", index=False)
    empty = pd.DataFrame(columns=["arm", *ROW_COLUMNS])
    slices = [frame.assign(arm=arm)[["arm", *frame.columns]] for arm, frame in rows.items()]
    (pd.concat(slices, ignore_index=True) if slices else empty).to_csv(out / "slices.csv", index=False)
    patients = [per_patient(frame).assign(arm=arm) for arm, frame in rows.items()]
    means = pd.concat(patients, ignore_index=True) if patients else empty[["arm"]]
    means[["arm", *(name for name in means.columns if name != "arm")]].to_csv(out / "patients.csv", index=False)


def _write_figures(study: StudyRecord, content: page.Content, out: Path) -> None:
    """Write the figures that there is something to draw for."""
    if content.patients:
        boxes = figures.boxplots(content.patients, study.arms, tables.REGISTRATION)
        for kind in ("svg", "png"):
            (out / f"boxplots.{kind}").write_bytes(figures.as_bytes(figures.with_paper(boxes), kind))
    if any(arm.trials for arm in study.arms):
        drawn = figures.with_paper(figures.trials(study.arms, content.objective_name))
        for kind in ("svg", "png"):
            (out / f"trials.{kind}").write_bytes(figures.as_bytes(drawn, kind))
    for arm, picture in content.overlays.items():
        (out / f"overlay-{arm}.png").write_bytes(picture)


if __name__ == "__main__":
    sys.exit(main())
