"""Register and segment scans: `python -m jointnet.predict --model M --cine C0.nii.gz --lge LGE.nii.gz --out DIR`.

`--data DIR` instead of `--cine` and `--lge` processes a whole folder. `docs/predict.md` describes every output file.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jointnet.data.folder import NAME, PatientFiles, scan_folder
from jointnet.errors import DataError, SettingsError
from jointnet.evaluate.__main__ import WRITTEN_COLUMNS, table
from jointnet.evaluate.aggregation import patient_means
from jointnet.evaluate.rows import COLUMNS
from jointnet.model_file import SavedModel, load_model
from jointnet.models import MODELS
from jointnet.predict.output_folder import ROWS, write_results
from jointnet.predict.pair import PairResult, predict_pair, table_bytes
from jointnet.predict.record import model_content, record_bytes, software_content, without_paths
from jointnet.system.atomic_file import write_whole
from jointnet.system.commands import parse_patients, run_command
from jointnet.train.loop import MODEL_FILE, model_file, resolve_device

EXIT_INTERRUPTED = 130
PATHS = ("--model", "--cine", "--lge", "--cine-label", "--lge-label", "--cine-labels", "--data", "--out")
"""Options whose values the record omits, because a path may contain a patient's name. Digests identify the scans."""
PAIR_ONLY = ("lge", "cine_label", "lge_label", "cine_labels")
PATIENTS = "patients.csv"
SUMMARY = "summary.csv"


class ModelNames(NamedTuple):
    """The accepted values of `--model`.

    Attributes:
        find: returns the model file for a value of `--model`.
        help: help text of the option.
    """

    find: Callable[[str], Path]
    help: str


STORE_SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")
"""Prefixes of model addresses in a tracking store."""


def local_model(name: str) -> Path:
    """Return the model file from its own path or the path of its folder.

    Raises:
        SettingsError: if the name is an address in a tracking store.
    """
    if name.startswith(STORE_SCHEMES):
        raise SettingsError(f"--model: a tracking store's address needs the same command of `study`, got {name!r}")
    return model_file(Path(name))


LOCAL_MODELS = ModelNames(local_model, f"a {MODEL_FILE}, or the folder that holds it")


def main(
    arguments: Sequence[str] | None = None, models: ModelNames = LOCAL_MODELS, program: str = "jointnet.predict"
) -> int:
    """Run the command and return its exit status: 0 done, 2 invalid usage, 3 invalid data, 130 interrupted.

    Args:
        arguments: the command line; `sys.argv` if None.
        models: the accepted values of `--model`.
        program: the name of the module that is run.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(program, models).parse_args(arguments)
    try:
        return run_command(lambda: _predict(options, [program, *arguments], models.find))
    except KeyboardInterrupt:
        print("interrupted; a folder that holds provenance.json is complete", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser(program: str, models: ModelNames) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description="Register LGE onto cine and segment both; docs/predict.md describes every file written.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, help=models.help)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cine", type=Path, metavar="FILE", help="cine scan, NIfTI; --lge goes with it")
    what.add_argument("--data", type=Path, metavar="DIR", help="folder of pairs in the layout of MS-CMRSeg 2019")
    parser.add_argument("--lge", type=Path, metavar="FILE", help="LGE scan of the same patient, NIfTI")
    parser.add_argument("--patients", metavar="1-5", help="these of --data only")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="receives the results")
    parser.add_argument(
        "--cine-label", type=Path, metavar="FILE", help="cine's manual segmentation, to measure against"
    )
    parser.add_argument("--lge-label", type=Path, metavar="FILE", help="LGE's manual segmentation, to measure against")
    parser.add_argument("--inverse", action="store_true", help="bring cine's labels onto LGE's own grid, too")
    parser.add_argument(
        "--cine-labels", type=Path, metavar="FILE", help="--inverse takes these, not the predicted ones"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads; torch's own choice by default")
    return parser


def _predict(options: argparse.Namespace, command: Sequence[str], find_model: Callable[[str], Path]) -> None:
    _check(options)
    device = resolve_device(options.device)
    path = find_model(options.model)
    saved = load_model(path, device)
    if options.inverse and options.cine_labels is None and not MODELS[saved.settings.model.name].segments:
        raise SettingsError(
            f"--inverse: must have --cine-labels with a model that does not segment, got {saved.settings.model.name}"
        )
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    address = options.model if ":/" in options.model and not Path(options.model).exists() else None
    model, software = model_content(saved, path, address), software_content()
    pairs, errors = _pairs(options)
    command = ["python", "-m", *without_paths(command, PATHS)]
    rows: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    with _progress() as progress:
        task = progress.add_task("predicting", total=len(pairs))
        for folder, files in pairs:
            name = f"patient {files.patient}" if options.data else "LGE onto cine"
            progress.update(task, description=name)
            try:
                result = predict_pair(saved, files, device, options.inverse, options.cine_labels)
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
            f"--{name.replace('_', '-')}: goes with --cine, not with --data, got {getattr(options, name)}"
            for name in PAIR_ONLY
            if getattr(options, name) is not None
        ]
    else:
        if options.lge is None:
            errors.append("--lge: must be given with --cine, got none")
        if options.patients is not None:
            errors.append(f"--patients: goes with --data, got {options.patients}")
        if (options.cine_label is None) != (options.lge_label is None):
            errors.append("--cine-label, --lge-label: must be given together, got one of them")
        if options.cine_labels is not None and not options.inverse:
            errors.append("--cine-labels: goes with --inverse; what to measure against is --cine-label")
    if options.threads is not None and options.threads < 1:
        errors.append(f"--threads: must be at least 1, got {options.threads}")
    if options.out.exists() and not options.out.is_dir():
        errors.append(f"--out: must be a folder, got {options.out}")
    if errors:
        raise SettingsError(errors)


def _pairs(options: argparse.Namespace) -> tuple[list[tuple[Path, PatientFiles]], list[str]]:
    """Return each pair's output folder and files, and the errors in the folder's file names."""
    if options.data is None:
        named = NAME.fullmatch(options.cine.name)
        number = int(named[1]) if named else 0
        files = PatientFiles(number, options.cine, options.lge, options.cine_label, options.lge_label)
        return [(options.out, files)], []
    chosen = parse_patients(options.patients) if options.patients is not None else None
    found, errors = scan_folder(options.data, only=chosen, labels_needed=False)
    absent = [number for number in chosen or () if number not in found]
    known = " ".join(errors)
    errors += [
        f"{options.data}: must hold patient {number} of --patients, there is none"
        for number in absent
        if f"patient {number} lacks" not in known
    ]
    return [(options.out / f"patient{number}", files) for number, files in found.items()], errors


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
        for warning in saved.known(frame["patient"].unique().tolist()):
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
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


if __name__ == "__main__":
    sys.exit(main())
