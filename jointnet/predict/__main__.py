"""Register and segment scans: `python -m jointnet.predict --model M --cine C0.nii.gz --lge LGE.nii.gz --out DIR`.

`--data DIR` instead of `--cine` and `--lge` processes a whole folder. `docs/how-to/predict.md` describes every
output file.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jointnet.model_path import LOCAL_MODELS, WITHOUT_TRAINING, ModelNames
from jointnet.system.commands import (
    EXIT_INTERRUPTED,
    add_code_option,
    add_dataset_option,
    forget_interrupt,
    run_command,
)
from jointnet.system.terminal import command_name


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
        forget_interrupt()
        print("interrupted; a folder that holds provenance.json is complete", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser(program: str, models: ModelNames) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name(program),
        description="Register LGE onto cine and segment both with a joint model; docs/how-to/predict.md has all files.",
        epilog=f"example: python -m {program} --model runs/joint --cine patient1_C0.nii.gz "
        "--lge patient1_LGE.nii.gz --out prediction",
        allow_abbrev=False,
    )
    scans = parser.add_argument_group("scans: one pair, or a folder of pairs")
    pair_or_folder = scans.add_mutually_exclusive_group(required=True)
    pair_or_folder.add_argument("--cine", type=Path, metavar="FILE", help="cine scan, NIfTI; requires --lge")
    pair_or_folder.add_argument("--data", type=Path, metavar="DIR", help="folder of pairs")
    scans.add_argument("--lge", type=Path, metavar="FILE", help="LGE scan of the same patient, NIfTI")
    scans.add_argument("--frame", type=int, metavar="N", help="frame of a 4D --cine, counted from 0")
    add_dataset_option(scans, "; for one pair, the values in its labels and the frame")
    scans.add_argument("--patients", metavar="LIST", help="these patients of --data only, such as 1-5,case_30 or @FILE")
    scans.add_argument(
        "--heart",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="a point in cine's LV in mm, in the world of NIfTI (RAS+) as viewers show it, for a model that does not "
        "segment; by default the middle of the region that both scans cover",
    )
    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--cine-label", type=Path, metavar="FILE", help="manual segmentation of cine, to compute metrics"
    )
    labels.add_argument("--lge-label", type=Path, metavar="FILE", help="manual segmentation of LGE, to compute metrics")
    labels.add_argument("--inverse", action="store_true", help="also resample labels of cine onto LGE's own grid")
    labels.add_argument(
        "--cine-labels", type=Path, metavar="FILE", help="labels for --inverse, instead of the predicted ones"
    )
    run = parser.add_argument_group("run")
    run.add_argument("--model", required=True, help=f"{models.help}; {WITHOUT_TRAINING}")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    add_code_option(run)
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    run.add_argument("--threads", type=int, metavar="N", help="number of CPU threads; torch's default if not given")
    return parser


def _predict(options: argparse.Namespace, command: Sequence[str], find_model: Callable[[str], Path]) -> None:
    from jointnet.predict.command import predict_pairs  # imports torch and nibabel, which --help does not need

    predict_pairs(options, command, find_model)


if __name__ == "__main__":
    sys.exit(main())
