"""Write a model as a MONAI bundle: `python -m jointnet.export_bundle --model M --out DIR`.

`docs/how-to/view-and-export.md` describes its files and how to run it.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jointnet.errors import SettingsError
from jointnet.model_path import LOCAL_MODELS, ModelNames
from jointnet.system.commands import add_code_option, run_command
from jointnet.system.terminal import command_name

NOT_STATED = "not stated"


def main(
    arguments: Sequence[str] | None = None, models: ModelNames = LOCAL_MODELS, program: str = "jointnet.export_bundle"
) -> int:
    """Run the command and return its exit status: 0 done, 2 invalid command line or model.

    Args:
        arguments: the command line; `sys.argv` if None.
        models: the accepted values of `--model`.
        program: the name of the module that is run.
    """
    options = _parser(program, models).parse_args(arguments)
    return run_command(lambda: _export(options, models.find))


def _parser(program: str, models: ModelNames) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name(program),
        description="Write a model as a MONAI bundle; docs/how-to/view-and-export.md describes its files.",
        epilog=f"example: python -m {program} --model runs/joint --out bundle",
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, help=models.help)
    add_code_option(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder, absent or empty")
    parser.add_argument("--authors", default=NOT_STATED, help="authors of the model, for metadata.json")
    parser.add_argument("--copyright", default=NOT_STATED, help="copyright of the model, for metadata.json")
    return parser


def _export(options: argparse.Namespace, find_model: Callable[[str], Path]) -> None:
    from jointnet.export_bundle.bundle import write_bundle  # imports torch, which --help does not need

    out: Path = options.out
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise SettingsError(f"--out: must be a folder that is empty or does not exist, got {out}")
    saved = write_bundle(
        find_model(options.model), out.resolve(), options.authors, options.copyright, options.allow_code
    )
    print(f"{out}: bundle of a {saved.settings.model.name} model, epoch {saved.epoch}")


if __name__ == "__main__":
    sys.exit(main())
