"""`python -m study.run --search joint`: plan a study, print the plan, run the study and write its report.

Repeating the command resumes the study.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jointnet.data import DEFAULT_SPLITS
from jointnet.model_path import MODEL_FILE
from jointnet.settings import settings_names
from jointnet.settings.validation import add_schema_option, json_schema
from jointnet.system.commands import add_dataset_option, forget_interrupt
from jointnet.system.quota import limit_threads
from jointnet.system.terminal import command_name, ignore_closed_output
from study.machines.address import is_client, resolve_address
from study.plan.environment import set_environment
from study.run.stopping import EXIT_HALTED, FAILURES, ending_of, full_disks, interrupt_on_signals

DESCRIPTION = """\
Run a study: search each arm's parameters, select its best trial on the validation patients, evaluate that trial once
on the held-out test patients, and write a report. An arm is a model with a split of the patients. A study that was
interrupted is resumed by the same command.
"""
EXAMPLES = """\
examples:
  python -m study.run --search smoke
      a study of a few minutes on the built-in phantom
  python -m study.run --search joint --data /data/mscmrseg --folds 5 --seeds 3 --dry-run
      the plan of a nested cross-validation on your own scans, without starting it
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study and return the exit status.

    0: done. 2: usage error, or the machine cannot run the study. 3: data error. 4: an arm has no finished trial. 5: the
    disk is full, the tracking store is unreachable or refused an entry, or no node came. 130: interrupted. After 5 and
    130 repeating the command resumes the study.
    """
    ignore_closed_output()
    interrupt_on_signals()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    command = shlex.join([*command_name("study.run").split(), *(each for each in given if each != "--new")])
    try:
        if is_client(options.address):
            address = str(resolve_address(options.address))
            from study.machines.handover import run_on_head  # Ray takes seconds to import

            return run_on_head(address, given)
        print(f"Planning the study {' '.join(options.search)} ...", flush=True)
        set_environment()
        limit_threads()  # imports torch where the machine has a CPU quota
        from study.run.conduct import run  # torch, Ray and MLflow take seconds to import

        return run(options)
    except FAILURES as error:
        forget_interrupt()
        ending = ending_of(error)
        for line in full_disks(_written_folders(options)) if ending.status == EXIT_HALTED else ():
            print(line, file=sys.stderr)
        resume = f" Nothing is lost. To resume: {command}" if ending.resumable else ""
        print(*ending.lines, sep="\n", end=f"{resume}\n", file=sys.stderr)
        return ending.status


def parser() -> argparse.ArgumentParser:
    """Create the parser of the command line."""
    command = argparse.ArgumentParser(
        prog=command_name("study.run"),
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = command.add_argument_group("what is studied")
    add = what.add_argument
    add("--search", nargs="+", required=True, metavar="NAME", help="search spaces: names, or paths of TOML files")
    add("--data", type=Path, metavar="DIR", help="folder of scans (default: the built-in phantom)")
    add_dataset_option(what)
    add("--patients", metavar="LIST", help="only these take part, such as 1-25,case_30 or @FILE (default: all)")
    add("--unlabelled", metavar="LIST", help="models that segment also train on these, with --teacher's pseudo-labels")
    add("--teacher", type=Path, metavar="MODEL", help=f"joint model: a {MODEL_FILE} or its folder")
    add(
        "--settings", metavar="NAME|FILE",
        help=f"training settings instead of the search space's: {', '.join(settings_names())} or a TOML file",
    )  # fmt: skip
    add(
        "--splits", nargs="+", metavar="TRAIN/VAL/TEST",
        help=f"numbers of patients (default: the search space's, else {' '.join(DEFAULT_SPLITS)}); with --folds, "
        "TRAIN/VAL is enough",
    )  # fmt: skip
    add(
        "--splits-file", type=Path, metavar="FILE",
        help="JSON or TOML with the patients to train, validate and test on, or nnU-Net's splits_final.json",
    )  # fmt: skip
    add("--folds", type=int, default=1, metavar="K", help="nested cross-validation with K outer folds (default: none)")
    add(
        "--same-validation", action="store_true",
        help="use the same validation patients in all splits of a fold (default: as the splits state)",
    )  # fmt: skip
    add(
        "--seeds", type=int, default=0, metavar="K",
        help="retrain each arm's selected trial with K new seeds and test those models (default: its own model)",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="seed of splits, sampler and trainings (default: 0)")

    add = command.add_argument_group("effort").add_argument
    add("--num-samples", type=int, metavar="N", help="trials per arm (default: the search space's)")
    add("--max-epochs", type=int, metavar="E", help="largest number of epochs of a trial (default: the search space's)")
    add("--minutes", type=float, metavar="M", help="time budget of each search (default: the search space's)")
    add(
        "--equal-compute",
        action="store_true",
        help="give each arm and fold --minutes, and as many trials as fit in them",
    )

    add = command.add_argument_group("machines").add_argument
    add("--concurrent", type=int, metavar="N", help="trials at the same time (default: as many as fit)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="device of the trials (default: auto)")
    add(
        "--cpus-per-trial", type=float, default=1.0, metavar="C",
        help="CPU cores, and torch threads, of a trial (default: 1)",
    )  # fmt: skip
    add(
        "--gpus-per-trial", type=float, metavar="G",
        help="GPUs of a trial, possibly a fraction (default: 1 where there are GPUs)",
    )  # fmt: skip
    add(
        "--address", metavar="auto|HOST:PORT|ray://HOST:PORT",
        help="a Ray cluster (default: RAY_ADDRESS, else this machine alone)",
    )  # fmt: skip
    add(
        "--wait-for-nodes", type=float, metavar="M",
        help="minutes to wait for a node that a trial fits on (default: 15, but at the start only for an "
        "autoscaler)",
    )  # fmt: skip

    add = command.add_argument_group("where files go").add_argument
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="models and reports (default: runs)")
    add(
        "--cache", type=Path, metavar="DIR",
        help="prepared scans (default: JOINTNET_CACHE, else the user's cache folder)",
    )  # fmt: skip

    add = command.add_argument_group("starting and resuming").add_argument
    add("--dry-run", action="store_true", help="print the plan; start and write nothing")
    add("--study", metavar="ID", help="resume this study, or end with an error if its specification differs")
    add("--new", action="store_true", help="start another study instead of resuming the one of this specification")
    add_schema_option(command, "a search file", _search_file_schema)
    return command


def _search_file_schema() -> dict[str, Any]:
    from study.search.file.reading import SearchFile  # pandas takes a second to import

    return json_schema(SearchFile)


def _written_folders(options: argparse.Namespace) -> list[Path]:
    """Return the folders that a study writes to. Ray and the tracking store use the temporary folders."""
    from jointnet.preparation.cache import default_cache  # torch takes seconds to import

    folders = [Path(), options.out, *(Path(os.environ.get(name, "/tmp")) for name in ("RAY_TMPDIR", "TMPDIR"))]
    with suppress(OSError):  # without a home folder the default is in the temporary one, which may be full
        folders.append(options.cache or default_cache())
    return folders


if __name__ == "__main__":
    sys.exit(main())
