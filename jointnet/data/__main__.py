"""Inspect a folder of scans before training: `python -m jointnet.data check DIR`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.errors import DataError, SettingsError
from jointnet.system.atomic_file import write_whole
from jointnet.system.commands import parse_patients, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 no error, 2 invalid usage, 3 at least one error in the data."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _check(options))


def _parser() -> argparse.ArgumentParser:
    example = "example: python -m jointnet.data check data/phantom --json runs/check.json"
    parser = argparse.ArgumentParser(
        prog="python -m jointnet.data", description="Inspect a folder of scans before training.", epilog=example
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="print the patients of a folder and all errors; nothing is changed",
        description="Print the patients of a folder, their geometry and labels, and all errors. Nothing is changed.",
        epilog=example,
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="folder in the layout of MS-CMRSeg 2019")
    check.add_argument("--patients", metavar="1-25", help="these only; all of the folder by default")
    check.add_argument("--unlabelled", metavar="26-35", help="patients that need no manual segmentations")
    check.add_argument("--json", type=Path, metavar="FILE", help="also write a JSON report with more details")
    return parser


def _check(options: argparse.Namespace) -> None:
    from jointnet.data.check import inspect_folder  # imports nibabel and scipy, which --help does not need

    unlabelled = parse_patients(options.unlabelled, "--unlabelled") if options.unlabelled is not None else ()
    only = parse_patients(options.patients) if options.patients is not None else None
    if options.json is not None and options.json.suffix != ".json":
        raise SettingsError(f"--json: must be a file whose name ends in .json, got {options.json}")
    facts = inspect_folder(options.folder, unlabelled, None if only is None else (*only, *unlabelled))
    if options.json is not None:
        write_whole(options.json, (json.dumps(facts.content(), indent=1) + "\n").encode())
    print(facts.table())
    print(facts.splits_text(), flush=True)
    for warning in facts.warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    if facts.errors:
        raise DataError(facts.errors)


if __name__ == "__main__":
    sys.exit(main())
