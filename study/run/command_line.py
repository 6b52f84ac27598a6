"""The command line of `python -m study.run`: its options and the checks of their values."""

import argparse
import os
import re
from pathlib import Path

from jointnet.data.cache import default_cache
from jointnet.errors import short_repr
from jointnet.settings import settings_names
from jointnet.system.commands import LARGEST_SEED
from study.machines.cluster import short_lived
from study.machines.node_check import SharedFolder
from study.plan.search_file import MOST_EPOCHS, MOST_MINUTES, MOST_PATIENTS, MOST_TRIALS
from study.plan.splits import DEFAULT_SPLITS

DESCRIPTION = "Plan a study, say so, carry it out, and report it. The same command again goes on with it where it was."


SPLITS_HELP = f"patients; {' '.join(DEFAULT_SPLITS)} where not given; with --folds, which say how many test, TRAIN/VAL"


def parser() -> argparse.ArgumentParser:
    """Create the parser of the command line."""
    command = argparse.ArgumentParser(prog="python -m study.run", description=DESCRIPTION)
    add = command.add_argument
    add("--search", nargs="+", required=True, metavar="NAME", help="search spaces: names, or paths of TOML files")
    add("--data", type=Path, metavar="DIR", help="folder of MS-CMRSeg scans; the built-in phantom where not given")
    add(
        "--settings", metavar="NAME|FILE",
        help=f"{', '.join(settings_names())} or a TOML file, instead of the search space's",
    )  # fmt: skip
    add("--splits", nargs="+", metavar="TRAIN/VAL/TEST", help=SPLITS_HELP)
    add("--folds", type=int, default=1, metavar="K", help="nested cross-validation: K outer folds, each patient in one")
    add("--same-validation", action="store_true", help="the same validation patients in all splits of a fold")
    add(
        "--seeds", type=int, default=0, metavar="K", help="retrain each arm's winner with K fresh seeds, and test those"
    )
    add("--seed", type=int, default=0, help="of splits, sampler and trainings (0)")
    add("--study", metavar="ID", help="continue this study, and refuse to where the specification differs from its own")
    add("--dry-run", action="store_true", help="print the plan, and start and write nothing")
    add("--new", action="store_true", help="begin another study instead of continuing the one of this specification")
    add("--num-samples", type=int, metavar="N", help="trials per arm, instead of the search space's")
    add("--max-epochs", type=int, metavar="E", help="most epochs of a trial, instead of the search space's")
    add("--minutes", type=float, metavar="M", help="time budget of each search, instead of the search space's")
    add("--equal-compute", action="store_true", help="--minutes for each arm and fold, and as many trials as fit")
    add("--concurrent", type=int, metavar="N", help="trials at once; as many as fit where not given")
    add("--cpus-per-trial", type=float, default=1.0, metavar="C", help="CPU cores, and torch threads, of a trial (1)")
    add("--gpus-per-trial", type=float, metavar="G", help="GPUs of a trial, also fractions; 1 where there are GPUs")
    add("--address", metavar="auto|HOST:PORT|ray://HOST:PORT", help="a Ray cluster; RAY_ADDRESS, else this machine")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where trials compute (auto)")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="folder of models and reports (runs)")
    add("--cache", type=Path, metavar="DIR", help="folder of prepared scans; JOINTNET_CACHE or the user's cache")
    return command


def option_errors(options: argparse.Namespace) -> list[str]:
    """Return the errors of the options that do not depend on the searches or the machine."""
    bounds: dict[str, tuple[float, float]] = {
        "num_samples": (1, MOST_TRIALS),
        "max_epochs": (1, MOST_EPOCHS),
        "minutes": (0.01, MOST_MINUTES),
        "concurrent": (1, MOST_TRIALS),
        "cpus_per_trial": (0.01, MOST_TRIALS),
        "gpus_per_trial": (0, MOST_TRIALS),
        "seed": (0, LARGEST_SEED),
        "folds": (1, MOST_PATIENTS),
        "seeds": (0, MOST_TRIALS),
    }
    errors = []
    for name, (least, most) in bounds.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:
            rule = f"at least {least}" if not value > most else f"at most {most}"
            errors.append(f"--{name.replace('_', '-')}: must be {rule}, got {short_repr(value)}")
    if options.equal_compute and options.minutes is None:
        errors.append("--minutes: must be given with --equal-compute, the minutes of each arm, got none")
    if options.equal_compute and options.num_samples is not None:
        errors.append(
            f"--num-samples: must not be given with --equal-compute, whose minutes decide, got {options.num_samples}"
        )
    if options.new and options.study is not None:
        errors.append(f"--new: must not be given with --study, got --study {options.study}")
    for name in ("data", "out", "cache"):
        path = getattr(options, name)
        if path is not None and re.match(r"\w+:/", str(path)):
            errors.append(f"--{name}: must be a folder, if need be on mounted storage, not an address, got {path}")
    paths = {"--data": options.data, "--out": options.out, "--cache": options.cache, "--settings": options.settings}
    errors += [
        f"{name}: must be a path in UTF-8, the only ones that Ray takes, got {short_repr(str(path))}"
        + ("" if name == "working folder" else "; a link to it may have such a name")
        for name, path in {"working folder": Path.cwd(), **paths, "--search": " ".join(options.search)}.items()
        if path is not None and not _is_utf8(str(path))
    ]
    if short_lived(Path.cwd()):
        asked = {"--out": options.out.is_absolute(), "MLFLOW_TRACKING_URI": "MLFLOW_TRACKING_URI" in os.environ}
        errors += [
            f"{name}: must be given, and absolute, in a submitted job, whose working directory goes with the cluster"
            for name, good in asked.items()
            if not good
        ]
    return errors


def _is_utf8(path: str) -> bool:
    """Return whether a path is valid UTF-8. Python represents other bytes by surrogates, which cannot be encoded."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def shared_folders(options: argparse.Namespace) -> tuple[SharedFolder, ...]:
    """Return the folders that all nodes of a cluster must see."""
    out, cache = options.out.absolute(), (options.cache or default_cache()).absolute()
    return SharedFolder("--out", out, written=True), SharedFolder("--cache", cache, written=False)
