"""Measure a model on a folder: `python -m jointnet.evaluate --data DIR --model identity|PATH --out rows.csv`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.model_path import MODEL_FILE, WITHOUT_TRAINING
from jointnet.system.commands import add_code_option, add_dataset_option, run_command
from jointnet.system.terminal import command_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 invalid usage, 3 invalid data."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _evaluate(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name("jointnet.evaluate"),
        description="Measure a model on a folder of scans with manual segmentations.",
        epilog="example: python -m jointnet.evaluate --data data/phantom --model runs/joint --patients 26-30 "
        "--out runs/joint/rows.csv",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of scans")
    add_dataset_option(data)
    data.add_argument("--patients", metavar="LIST", help="these only, such as 1-25,case_30 or @FILE (default: all)")
    data.add_argument("--cache", type=Path, metavar="DIR", help="folder of prepared patients")
    run = parser.add_argument_group("run")
    run.add_argument(
        "--model",
        required=True,
        metavar="PATH",
        help=f"a {MODEL_FILE}, or the folder that holds it; {WITHOUT_TRAINING}; "
        "`identity` measures the scans without registration",
    )
    run.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="CSV file for one row per slice, structure and metric"
    )
    add_code_option(run)
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    from jointnet.evaluate.command import evaluate_folder  # imports torch and nibabel, which --help does not need

    evaluate_folder(options)


if __name__ == "__main__":
    sys.exit(main())
