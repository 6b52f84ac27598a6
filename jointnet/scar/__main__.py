"""Quantify scar: `python -m jointnet.scar --lge FILE --labels FILE --out DIR`, or `--data DIR` for a folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jointnet.scar import METHODS, ScarSettings
from jointnet.system.commands import add_dataset_option, run_command
from jointnet.system.terminal import command_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 invalid usage, 3 invalid data."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _quantify(options))


def _parser() -> argparse.ArgumentParser:
    defaults = ScarSettings()
    parser = argparse.ArgumentParser(
        prog=command_name("jointnet.scar"),
        description="Quantify myocardial scar: amount, location, spread under registration error, surfaces, figures.",
        epilog="example: python -m jointnet.scar --lge lge_registered.nii.gz --labels cine_segmentation.nii.gz "
        "--cine cine.nii.gz --out scar",
    )
    files = parser.add_argument_group("files: one heart, or a folder of patients")
    one_or_folder = files.add_mutually_exclusive_group(required=True)
    one_or_folder.add_argument("--lge", type=Path, metavar="FILE", help="LGE registered to the labels' grid, NIfTI")
    one_or_folder.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of patients, each measured within LGE's own segmentation"
    )
    files.add_argument(
        "--labels", type=Path, metavar="FILE", help="segmentation with the values 200, 500, 600, or LGE's of --dataset"
    )
    files.add_argument(
        "--cine", type=Path, metavar="FILE", help="cine on the same grid, background of the overlay; LGE by default"
    )
    add_dataset_option(files, "; with --lge, the values of --labels")
    files.add_argument("--patients", metavar="LIST", help="these patients of --data only, such as 1-5,case_30 or @FILE")
    files.add_argument(
        "--predicted",
        type=Path,
        metavar="DIR",
        help="output of jointnet.predict for --data: registered LGE is measured within cine's predicted segmentation",
    )
    files.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder for tables and figures")
    detection = parser.add_argument_group("scar detection")
    detection.add_argument("--method", choices=METHODS, default=defaults.method, help="default: %(default)s")
    detection.add_argument("--n-sd", type=float, default=defaults.n_sd, help="SDs above remote (default: %(default)s)")
    detection.add_argument(
        "--smallest-mm2",
        type=float,
        default=defaults.smallest_mm2,
        help="smaller components are removed as noise (default: %(default)s)",
    )
    detection.add_argument(
        "--largest-core-mm2",
        type=float,
        default=defaults.largest_core_mm2,
        help="holes up to this area count as scar (default: %(default)s)",
    )
    spread = parser.add_argument_group("sensitivity to the registration error")
    spread.add_argument(
        "--registration-sd-mm", type=float, help="measured error of the registration along each axis; none by default"
    )
    spread.add_argument(
        "--perturbations", type=int, default=200, help="number of random displacements (default: %(default)s)"
    )
    spread.add_argument("--seed", type=int, default=0, help="seed of the displacements (default: %(default)s)")
    return parser


def _quantify(options: argparse.Namespace) -> None:
    from jointnet.scar.command import quantify  # imports matplotlib, nibabel and scipy, which --help does not need

    quantify(options)


if __name__ == "__main__":
    sys.exit(main())
