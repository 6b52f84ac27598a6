"""Describe or inspect a folder of scans before training: `python -m jointnet.data init DIR`, `... check DIR`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.errors import DataError, SettingsError
from jointnet.patient_names import parse_patients
from jointnet.system.atomic_file import write_whole
from jointnet.system.commands import add_dataset_option, run_command
from jointnet.system.terminal import command_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 no error, 2 invalid usage, 3 at least one error in the data."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    example = "example: python -m jointnet.data check data/phantom --json runs/check.json"
    parser = argparse.ArgumentParser(
        prog=command_name("jointnet.data"),
        description="Describe or inspect a folder of scans before training.",
        epilog=example,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_init(commands)
    check = commands.add_parser(
        "check",
        help="print the patients of a folder and all errors; nothing is changed",
        description="Print the patients of a folder, their geometry and labels, and all errors. Nothing is changed.",
        epilog=example,
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="folder of scans")
    add_dataset_option(check)
    check.add_argument("--patients", metavar="LIST", help="these only, such as 1-25,case_30 or @FILE (default: all)")
    check.add_argument("--unlabelled", metavar="LIST", help="patients that need no manual segmentations")
    check.add_argument("--json", type=Path, metavar="FILE", help="also write a JSON report with more details")
    check.set_defaults(run=_check)
    return parser


def _add_init(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `init`."""
    init = commands.add_parser(
        "init",
        help="propose the dataset.toml that describes a folder; nothing is written without --write",
        description="Look at names, headers and labels of a folder in any layout, and propose the dataset.toml that "
        "describes it. State by an option what cannot be determined. Scans are not changed.",
        epilog="example: python -m jointnet.data init data/hospital --cine '{id}/cine/{id}_sax.nii.gz' --write",
    )
    init.add_argument("folder", type=Path, metavar="DIR", help="folder of scans in NIfTI files")
    init.add_argument("--write", action="store_true", help="write the proposal to DIR/dataset.toml, if there is none")
    init.add_argument("--dataset", type=Path, metavar="FILE", help="file to write instead of DIR/dataset.toml")
    kinds = {"cine": "cine", "lge": "LGE", "cine-label": "cine's segmentations", "lge-label": "LGE's segmentations"}
    for option, kind in kinds.items():
        init.add_argument(f"--{option}", metavar="PATTERN", help=f"which files are the {kind}; {{id}} is the patient")
    init.add_argument(
        "--values",
        nargs="+",
        metavar="NAME=VALUES",
        help="values in the segmentations, such as lv=1 myo=2,3 rv=4 ignore=5 scar=3",
    )
    init.add_argument(
        "--frame", metavar="N", help="frame of a 4D cine, counted from 0; `ed`: as Info.cfg or a table states"
    )
    init.set_defaults(run=_init)


def _init(options: argparse.Namespace) -> None:
    from jointnet.data.init.command import run_init  # imports nibabel and scipy, which --help does not need

    run_init(options)


def _check(options: argparse.Namespace) -> None:
    from jointnet.data.check.inspection import inspect_folder  # imports nibabel and scipy, which --help does not need
    from jointnet.data.description import load_dataset

    unlabelled = parse_patients(options.unlabelled, "--unlabelled") if options.unlabelled is not None else ()
    only = parse_patients(options.patients) if options.patients is not None else None
    if options.json is not None and options.json.suffix != ".json":
        raise SettingsError(f"--json: must be a file whose name ends in .json, got {options.json}")
    dataset = load_dataset(options.folder, options.dataset)
    facts = inspect_folder(options.folder, unlabelled, None if only is None else (*only, *unlabelled), dataset)
    if options.json is not None:
        write_whole(options.json, (json.dumps(facts.content(), indent=1) + "\n").encode())
    if dataset.file is not None:
        print(dataset.summary())
    print(facts.table())
    print(facts.splits_text(), flush=True)
    for warning in facts.warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    if facts.errors:
        raise DataError(facts.errors)


if __name__ == "__main__":
    sys.exit(main())
