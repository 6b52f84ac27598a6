"""Write synthetic cine and LGE scans: `python -m jointnet.phantom --out DIR [--patients 45] [--seed 0]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.system.commands import run_command
from jointnet.system.terminal import command_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a phantom and return the exit status: 0, 2 for bad arguments, 3 for a folder that holds other files."""
    parser = argparse.ArgumentParser(
        prog=command_name("jointnet.phantom"),
        description="Write synthetic cine and LGE scans with labels, in the layout of MS-CMRSeg 2019.",
        epilog="example: python -m jointnet.phantom --out data/phantom --patients 12",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder, absent or empty")
    parser.add_argument(
        "--patients", type=int, default=45, metavar="N", help="number of patients (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random patients (default: %(default)s)")
    options = parser.parse_args(arguments)
    return run_command(lambda: _write(options))


def _write(options: argparse.Namespace) -> None:
    from jointnet.phantom.writer import write_phantom  # imports nibabel and scipy, which --help does not need

    write_phantom(options.out, patients=options.patients, seed=options.seed)
    print(f"{options.out}: {options.patients} patients, seed {options.seed}")


if __name__ == "__main__":
    sys.exit(main())
