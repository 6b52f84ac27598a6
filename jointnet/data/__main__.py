"""Look at a folder of scans before anything is trained: `python -m jointnet.data check DIR`."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jointnet.system.atomic_file import write_whole
from jointnet.system.commands import parse_patients, run_command
from jointnet.errors import DataError, SettingsError
from jointnet.data.folder import file_name, files_by_patient, scan_folder
from jointnet.data.check import PatientFacts, ScanFacts, inspect_patient
from jointnet.data.patient_counts import PAPER_SPLITS, proposed_splits, suffices
from jointnet.structures import STRUCTURES

HEADINGS = (
    "patient",
    "scan",
    "voxels",
    "mm",
    "axes",
    "labels",
    "slices",
    "LV enclosed",
    "pieces",
    "on grid",
    "reached",
)
WIDTHS = (8, 5, 13, 18, 5, 12, 7, 12, 9, 8, 8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 no error, 2 invalid usage, 3 at least one error in the data."""
    parser = argparse.ArgumentParser(prog="python -m jointnet.data", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="say what a folder holds and every error in it; nothing is changed")
    check.add_argument("folder", type=Path, metavar="DIR", help="folder in the layout of MS-CMRSeg 2019")
    check.add_argument("--patients", metavar="1-25", help="these only; all of the folder's by default")
    check.add_argument("--unlabelled", metavar="26-35", help="patients who need no manual segmentations")
    check.add_argument("--json", type=Path, metavar="FILE", help="receives the same and more; its name ends in .json")
    options = parser.parse_args(arguments)
    return run_command(lambda: _check(options))


def inspect_folder(
    folder: Path, unlabelled: Sequence[int] = (), only: Sequence[int] | None = None
) -> tuple[list[PatientFacts], list[str]]:
    """Inspect all patients of a folder, and return their facts by number and the errors of the folder's file names.

    Raises:
        DataError: if there is no such folder, or no patient in it.
    """
    found, _, _ = files_by_patient(folder, only)
    complete, errors = scan_folder(folder, unlabelled, only)
    absent = sorted(set(only or ()) - set(found))
    errors += [f"{folder}: must hold patient {number}, got no file of it" for number in absent]
    return [inspect_patient(number, found[number], complete.get(number)) for number in sorted(found)], errors


def remarks(folder: Path, facts: Sequence[PatientFacts], only: Sequence[int] | None = None) -> list[str]:
    """Return warnings: files whose names are nearly right, and structures that some patients lack.

    Raises:
        DataError: if there is no such folder, or no patient in it.
    """
    _, _, overlooked = files_by_patient(folder, only)
    found = [
        f"{path}: must be a file named {file_name(patient, role)} to be read"
        for (patient, role), paths in sorted(overlooked.items())
        for path in paths
    ]
    shown = {patient.patient: patient.shown for patient in _usable(facts) if patient.shown is not None}
    for structure in STRUCTURES:
        showing = [number for number, structures in shown.items() if structure in structures]
        if len(showing) < len(shown):
            found.append(
                f"{folder}: both segmentations of a slice show {structure} in {len(showing)} of {len(shown)} patients "
                f"({', '.join(map(str, showing)) or 'none'}); training, validation and test patients each need one"
            )
    return found


def content(facts: Sequence[PatientFacts], errors: Sequence[str]) -> dict[str, Any]:
    """Return the content of the JSON report as plain values. It contains no text from file headers, only numbers."""
    usable = len(_usable(facts))
    return {
        "patients": [asdict(patient) for patient in facts],
        "errors": [*errors, *(error for patient in facts for error in patient.errors)],
        "labelled_without_error": usable,
        "splits": {split: suffices(usable, split) for split in PAPER_SPLITS},
        "splits_that_fit": list(proposed_splits(usable)),
    }


def table(facts: Sequence[PatientFacts]) -> str:
    """Return a text table with one line for each scan of each patient."""
    lines = [_line(HEADINGS)]
    for patient in facts:
        reached = patient.cine_slices_reached
        for name, scan in (("cine", patient.cine), ("LGE", patient.lge)):
            number = str(patient.patient) if name == "cine" else ""
            if scan is None:
                present = name.lower() in patient.files
                lines.append(_line((number, name, "at error" if present else "missing")))
                continue
            share = f"{reached}/{scan.slices}" if name == "cine" and reached is not None else ""
            lines.append(_line((number, name, *_cells(scan), share)))
    return "\n".join(lines)


def splits_text(usable: int) -> str:
    """Return a sentence about which splits `usable` patients support."""
    told = ", ".join(f"{split} {'yes' if suffices(usable, split) else 'no'}" for split in PAPER_SPLITS)
    fitting = " ".join(proposed_splits(usable))
    return f"{usable} labelled patients without error. Splits train/validation/test of the paper: {told}. " + (
        f"All of them are used by --splits {fitting}" if fitting else "A study needs at least 4 patients"
    )


def _check(options: argparse.Namespace) -> None:
    unlabelled = parse_patients(options.unlabelled, "--unlabelled") if options.unlabelled is not None else ()
    only = parse_patients(options.patients) if options.patients is not None else None
    if options.json is not None and options.json.suffix != ".json":
        raise SettingsError(f"--json: must be a file whose name ends in .json, got {options.json}")
    wanted = None if only is None else (*only, *unlabelled)
    facts, errors = inspect_folder(options.folder, unlabelled, wanted)
    remarked = remarks(options.folder, facts, wanted)
    result = {**content(facts, errors), "remarks": remarked}
    if options.json is not None:
        write_whole(options.json, (json.dumps(result, indent=1) + "\n").encode())
    print(table(facts))
    print(splits_text(len(_usable(facts))), flush=True)
    for remark in remarked:
        print(f"warning: {remark}", file=sys.stderr, flush=True)
    if result["errors"]:
        raise DataError(result["errors"])


def _usable(facts: Sequence[PatientFacts]) -> list[PatientFacts]:
    """Return the patients that training accepts: those with valid scans and both label files."""
    labels = {"cine_label", "lge_label"}
    return [patient for patient in facts if patient.both_fraction is not None and labels <= set(patient.files)]


def _cells(scan: ScanFacts) -> tuple[str, ...]:
    geometry = ("x".join(map(str, scan.shape)), " ".join(f"{mm:.2f}" for mm in scan.spacing_mm), scan.orientation)
    if scan.label is None:
        return (*geometry, "", "", "", "", "")
    found = scan.label
    pieces = " ".join(str(found.pieces.get(name, 0)) for name in STRUCTURES)
    held = "" if found.on_grid is None else f"{100 * found.on_grid:.0f} %"
    labels = " ".join(str(value) for value in sorted(found.voxels))
    return (*geometry, labels, str(found.slices), f"{found.enclosed}/{found.lv_slices}", pieces, held)


def _line(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=False)).rstrip()


if __name__ == "__main__":
    sys.exit(main())
