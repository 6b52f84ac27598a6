"""Train one model on a folder: `python -m jointnet.train --data DIR --model joint --train 20 --val 5 --out DIR`.

The same command continues an interrupted training.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.errors import TrainingDivergedError
from jointnet.model_path import MODEL_FILE
from jointnet.models import TRAINED
from jointnet.settings import Settings, settings_names
from jointnet.settings.validation import add_schema_option, json_schema
from jointnet.system.commands import add_code_option, add_dataset_option, run_command
from jointnet.system.terminal import command_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 training diverged, 2 invalid usage, 3 invalid data."""
    options = _parser().parse_args(arguments)
    try:
        return run_command(lambda: _train(options))
    except TrainingDivergedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name("jointnet.train"),
        description="Train one model on a folder of scans. The same command continues an interrupted training.",
        epilog="example: python -m jointnet.train --data data/phantom --model joint --train 20 --val 5 --out joint",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of scans")
    add_dataset_option(data)
    data.add_argument("--train", type=int, required=True, metavar="N", help="number of training patients")
    data.add_argument("--val", type=int, required=True, metavar="N", help="number of validation patients")
    data.add_argument(
        "--patients", metavar="LIST", help="draw from these, such as 1-25,case_30 or @FILE (default: all)"
    )
    data.add_argument("--unlabelled", metavar="LIST", help="also train on these, with pseudo-labels of --teacher")
    data.add_argument("--teacher", type=Path, metavar="DIR", help=f"joint model: a {MODEL_FILE} or its folder")
    add_code_option(data)
    data.add_argument("--cache", type=Path, metavar="DIR", help="folder of prepared patients")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help=f"{', '.join(TRAINED)}, or your own: package.module:NAME or file.py:NAME",
    )
    model.add_argument(
        "--settings",
        default="default",
        metavar="NAME",
        help=f"{', '.join(settings_names())}, or a TOML file with the differences from the defaults",
    )
    add_schema_option(parser, "a settings file", lambda: json_schema(Settings))
    model.add_argument("--epochs", type=int, metavar="N", help="number of epochs, instead of that of the settings")
    model.add_argument(
        "--seed", type=int, default=0, help="seed of weights, order, augmentation and choice of validation patients"
    )
    run = parser.add_argument_group("run")
    run.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help=f"output folder for {MODEL_FILE}, config and log"
    )
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    run.add_argument("--threads", type=int, metavar="N", help="number of CPU threads; torch's default if not given")
    return parser


def _train(options: argparse.Namespace) -> None:
    from jointnet.train.command import train_model  # imports torch and nibabel, which --help does not need

    train_model(options)


if __name__ == "__main__":
    sys.exit(main())
