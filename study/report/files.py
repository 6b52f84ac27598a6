"""The report's files: tables as CSV, some also as Markdown and LaTeX, the page, and the pictures."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from study.report import efficiency, figures, mean_tables, page
from study.report.page import IMAGE, Content
from study.report.pictures.patient_pictures import Picture, every
from study.report.records import StudyRecord
from study.report.search.selection_warnings import optimism_table
from study.report.slice_rows import PATIENT_COLUMNS, ROW_COLUMNS
from study.report.statistics.claim_result import claims_frame
from study.report.statistics.comparisons import comparison_frame
from study.report.tables import Table, latex, markdown, markdown_text

IN_A_PAPER = ("table1", "claims", "between", "segmentation")
"""Tables that are also written as separate Markdown and LaTeX files."""


def texts(content: Content, image: IMAGE) -> dict[str, str]:
    """Return the content of all text files by name; `image` returns the addresses of the page's pictures."""
    found = {f"{name}.csv": frame.to_csv(index=False) for name, frame in frames(content).items()}
    for grid in (content.grids[name] for name in IN_A_PAPER if name in content.grids):
        found[f"{grid.name}.md"] = f"{markdown(grid)}\n{markdown_text(grid.note)}\n"
        found[f"{grid.name}.tex"] = latex(grid)
    return {**found, "report.md": page.markdown(content), "report.html": page.html(content, image)}


def frames(content: Content) -> dict[str, pd.DataFrame]:
    """Return the tables for the CSV files by the stem of the file; numbers of the analysis are unrounded."""
    analysis = content.analysis
    before = {("before", name): family for name, family in analysis.changes.items()}
    slices = [frame.assign(arm=arm)[["arm", *frame.columns]] for arm, frame in analysis.slices.items()]
    patients = [frame.assign(arm=arm)[["arm", *frame.columns]] for arm, frame in analysis.patients.items()]
    return {
        "table1": mean_tables.csv_frame([analysis.registration]),
        "overlap": mean_tables.csv_frame([analysis.overlap]),
        "segmentation": mean_tables.csv_frame([analysis.segmentation]),
        "pooled": mean_tables.csv_frame([analysis.pooled]),
        "comparisons": comparison_frame({**before, **analysis.between}),
        "claims": claims_frame(analysis.claims),
        "efficiency": efficiency.efficiency(analysis.patients, analysis.arms, mean_tables.REGISTRATION),
        "optimism": optimism_table(content.study.arms),
        "trials": _trial_frame(content.study),
        **{name: _grid_frame(content.grids[name]) for name in ("effort", "selected") if name in content.grids},
        "patients": pd.concat(patients, ignore_index=True)
        if patients
        else pd.DataFrame(columns=["arm", *PATIENT_COLUMNS]),
        "slices": pd.concat(slices, ignore_index=True) if slices else pd.DataFrame(columns=["arm", *ROW_COLUMNS]),
    }


def write_pictures(content: Content, out: Path) -> None:
    """Write the pictures into the folder `out`."""
    groups = every([content.curve, content.search, content.patients])
    for picture in (*groups, *_together(content)):
        for name, drawn in picture.files().items():
            (out / name).write_bytes(drawn)


def _together(content: Content) -> list[Picture]:
    """Return the pictures that combine all panels in one file, where the page shows one panel each."""
    analysis, study = content.analysis, content.study
    found = []
    if content.boxplots:
        arms = [records[0] for name, records in analysis.arms.items() if name in analysis.patients]
        found.append(
            Picture(
                "boxplots", "", "", "", lambda t: figures.boxplots(analysis.patients, arms, mean_tables.REGISTRATION, t)
            )
        )
    if content.trials:
        title = f"Validation {study.metric.rpartition('/')[2].replace('_', ' ')}"
        tried = [arm for arm in study.arms if arm.trials]
        found.append(Picture("trials", "", "", "", lambda t: figures.trials(tried, title, t)))
    return found


def _trial_frame(study: StudyRecord) -> pd.DataFrame:
    """Return a frame with all trials of all arms, in the order of their start."""
    lines = []
    for arm in study.arms:
        for trial in arm.trials:
            head = {"arm": arm.arm, "fold": arm.fold, "trial": trial.trial_id, "state": trial.state}
            tail = {"best_epoch": trial.best_epoch, "epochs": trial.epochs, "minutes": trial.minutes}
            known: Mapping[str, object] = {**head, "objective": trial.objective, **tail, **trial.parameters}
            lines.append({**known, "reason": trial.reason, "run_id": trial.run_id})
    return pd.DataFrame(lines, columns=None if lines else ["arm", "fold", "trial", "state", "objective"])


def _grid_frame(grid: Table) -> pd.DataFrame:
    """Return a table of texts as a frame."""
    lines = [[row.heading, *(cell.text for cell in row.cells)] for row in grid.rows]
    return pd.DataFrame(lines, columns=[grid.corner, *grid.header])
