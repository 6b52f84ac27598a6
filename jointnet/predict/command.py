"""What the command `jointnet.predict` does: predict each pair, write its folder, and summarise all pairs."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jointnet.compute.device import resolve_device
from jointnet.data.challenge_files import NAME
from jointnet.data.description import Dataset, load_dataset
from jointnet.data.folder import scan_folder
from jointnet.errors import DataError, SettingsError
from jointnet.evaluate.aggregation import patient_means
from jointnet.evaluate.command import WRITTEN_COLUMNS, table
from jointnet.evaluate.rows import COLUMNS
from jointnet.model_file import SavedModel, open_model
from jointnet.models import model_of
from jointnet.patient_names import near_names_text, parse_patients, patient_folders
from jointnet.predict.output_files import ROWS, table_bytes, write_results
from jointnet.predict.pair import PairResult, predict_pair
from jointnet.predict.record import model_content, record_bytes, software_content, without_values
from jointnet.preparation.patient_files import PatientFiles
from jointnet.system.atomic_file import write_whole

HIDDEN = (
    *("--model", "--cine", "--lge", "--cine-label", "--lge-label", "--cine-labels"),
    *("--data", "--dataset", "--out", "--patients", "--allow-code"),
)
"""Options whose values the record omits, because they may contain a patient's name. Digests identify the scans."""
PAIR_ONLY = ("lge", "frame", "cine_label", "lge_label", "cine_labels", "heart")
PATIENTS = "patients.csv"
SUMMARY = "summary.csv"


def predict_pairs(options: argparse.Namespace, command: Sequence[str], find_model: Callable[[str], Path]) -> None:
    """Predict one pair of scans or all pairs of a folder.

    Args:
        options: the parsed command line.
        command: the module's name and the command line, for the record.
        find_model: returns the model file for the value of `--model`.

    Raises:
        SettingsError: with all invalid combinations of options.
        DataError: with all errors of the scans, after all valid pairs were written.
    """
    _check(options)
    device = resolve_device(options.device)
    saved = open_model(options.model, device, find_model, options.allow_code)
    if options.inverse and options.cine_labels is None and not model_of(saved.settings.model.name).segments:
        raise SettingsError(
            f"--inverse: must have --cine-labels with a model that does not segment, got {saved.settings.model.name}"
        )
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    address = options.model if ":/" in options.model and not Path(options.model).exists() else None
    model, software = model_content(saved, saved.path, address), software_content()
    pairs, errors = _pairs(options)
    command = ["python", "-m", *without_values(command, HIDDEN)]
    rows: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    with _progress() as progress:
        task = progress.add_task("predicting", total=len(pairs))
        for folder, files in pairs:
            name = f"patient {files.patient}" if options.data else "LGE onto cine"
            progress.update(task, description=name)
            try:
                result = predict_pair(saved, files, device, options.inverse, options.cine_labels, options.heart)
            except DataError as error:
                errors += error.errors
            else:
                written = dict(result.files)
                if result.rows:
                    written[ROWS] = table_bytes(result.rows, WRITTEN_COLUMNS)
                further = {} if options.cine_labels is None else {"cine_labels": options.cine_labels}
                record = record_bytes(
                    command, model, software, files, result.registration, result.warnings, written, further
                )
                write_results(folder, written, record)
                rows += result.rows
                summaries.append({"patient": files.patient, **result.summary})
                progress.console.print(_line(name, result), markup=False, highlight=False, soft_wrap=True)
                for warning in () if options.data else result.warnings:
                    progress.console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
            progress.advance(task)
    _finish(options.out if options.data else None, saved, rows, summaries)
    if errors:
        raise DataError(errors)


def _check(options: argparse.Namespace) -> None:
    """Raise a SettingsError that lists all invalid combinations of options."""
    errors = []
    if options.data is not None:
        errors += [
            f"--{name.replace('_', '-')}: must be given with --cine, not with --data, got {getattr(options, name)}"
            for name in PAIR_ONLY
            if getattr(options, name) is not None
        ]
    else:
        if options.lge is None:
            errors.append("--lge: must be given with --cine, got none")
        if options.patients is not None:
            errors.append(f"--patients: must be given with --data, got {options.patients}")
        if options.frame is not None and options.frame < 0:
            errors.append(f"--frame: must not be negative, got {options.frame}")
        if (options.cine_label is None) != (options.lge_label is None):
            errors.append("--cine-label, --lge-label: must be given together, got one of them")
        if options.cine_labels is not None and not options.inverse:
            errors.append(
                "--cine-labels: must be given with --inverse; manual segmentations to compare with: --cine-label"
            )
    if options.threads is not None and options.threads < 1:
        errors.append(f"--threads: must be at least 1, got {options.threads}")
    if options.out.exists() and not options.out.is_dir():
        errors.append(f"--out: must be a folder, got {options.out}")
    if errors:
        raise SettingsError(errors)


def _pairs(options: argparse.Namespace) -> tuple[list[tuple[Path, PatientFiles]], list[str]]:
    """Return each pair's output folder and files, and the errors in the folder's file names."""
    if options.data is None:
        return [(options.out, _single_pair(options))], []
    chosen = parse_patients(options.patients) if options.patients is not None else None
    dataset = load_dataset(options.data, options.dataset)
    scans, errors = scan_folder(options.data, only=chosen, labels_needed=False, dataset=dataset)
    absent = [name for name in chosen or () if name not in scans]
    reported = " ".join(errors)
    errors += [
        f"{options.data}: must contain patient {name} of --patients, there is none{near_names_text([name], scans)}"
        for name in absent
        if f"patient {name} lacks" not in reported
    ]
    folders = patient_folders(options.out, scans, errors)
    return [(folders[name], files) for name, files in scans.items()], errors


def _single_pair(options: argparse.Namespace) -> PatientFiles:
    """Return the files of `--cine` and `--lge`, with label values and frame as a description says, if one is given."""
    dataset = Dataset("", {}) if options.dataset is None else load_dataset(options.cine.parent, options.dataset)
    named = NAME.fullmatch(options.cine.name)
    return PatientFiles(
        str(int(named[1])) if named else "0",
        options.cine,
        options.lge,
        options.cine_label,
        options.lge_label,
        cine_values=dataset.cine_values,
        lge_values=dataset.lge_values,
        cine_frame=dataset.frame if options.frame is None and dataset.frame != "ed" else options.frame,
    )


def _finish(out: Path | None, saved: SavedModel, rows: list[dict[str, Any]], summaries: list[dict[str, Any]]) -> None:
    """Write the summary tables of all pairs to `out`, and print the metrics if there are manual segmentations."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if out is not None and summaries:
        write_whole(out / SUMMARY, table_bytes(summaries, list(summaries[0])))
        if rows:
            means = patient_means(frame).reset_index().round(4)
            write_whole(out / PATIENTS, means.to_csv(index=False, lineterminator="\n").encode())
        else:
            (out / PATIENTS).unlink(missing_ok=True)
    if rows:
        print(table(frame))
        for warning in saved.seen_patient_warnings(frame["patient"].unique().tolist()):
            print(f"warning: {warning}", file=sys.stderr)


def _line(name: str, result: PairResult) -> str:
    """Return a one-line summary of a pair's result."""
    summary = result.summary
    before, after, warnings = summary["dice_before"], summary["dice_after"], summary["warnings"]
    agreement = "" if before == "" else f", predicted Dice {before:.2f} > {after:.2f}"
    return (
        f"{name}: {summary['covered']} of {summary['cine_slices']} cine slices, {summary['displacement_mm']:.1f} mm"
        f"{agreement}, {warnings} warning{'' if warnings == 1 else 's'}, {result.seconds:.1f} s"
    )


def _progress() -> Progress:
    """Create a progress bar on standard error, disabled if that is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
