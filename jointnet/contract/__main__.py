"""Check a network of your own: `python -m jointnet.contract package.module:NAME` or `... file.py:NAME`.

The models of `jointnet` pass the same checks in its tests.
"""

import argparse
import sys
from collections.abc import Sequence

from jointnet.settings import settings_names
from jointnet.system.commands import run_command
from jointnet.system.terminal import command_name

EXIT_BROKEN = 1
"""Exit status where a check fails."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 all checks passed, 1 one failed, 2 there is no such model."""
    options = _parser().parse_args(arguments)
    failed: list[str] = []
    status = run_command(lambda: failed.extend(_check(options)))
    return status or (EXIT_BROKEN if failed else 0)


def _parser() -> argparse.ArgumentParser:
    program = command_name("jointnet.contract")
    parser = argparse.ArgumentParser(
        prog=program,
        description="Run the checks that every network must pass, one line each. The code of the model is run.",
        epilog=f"example: {program} docs/how-to/own_model.py:MODEL",
    )
    parser.add_argument("model", metavar="CODE", help="package.module:NAME or file.py:NAME")
    parser.add_argument(
        "--settings", default="default", metavar="NAME", help=f"{', '.join(settings_names())}, or a TOML file"
    )
    return parser


def _check(options: argparse.Namespace) -> list[str]:
    """Print a line for each check and return the names of those that failed."""
    from jointnet.contract.command import check_model  # imports torch, which --help does not need

    return check_model(options.model, options.settings)


if __name__ == "__main__":
    sys.exit(main())
