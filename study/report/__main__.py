"""The report of a study, rebuilt from its tracking store alone: `python -m study.report`."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jointnet.errors import EXIT_USAGE, InputError
from jointnet.system.terminal import ignore_closed_output
from study.report.reader import study_ids
from study.report.write import verify_report, write_report
from study.store_address import default_tracking_uri, without_secrets

DIFFERS = 1
"""Exit status of `--verify` where the written report differs from the store."""
MOST_DIFFERENCES = 50
"""Largest number of differences that are printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m study.report", description=__doc__)
    parser.add_argument("--study", metavar="ID", help="study id; the newest in the store where not given")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow store; MLFLOW_TRACKING_URI or mlruns/mlflow.db")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the report; mlruns/reports/ID where not given"
    )
    parser.add_argument("--no-log", action="store_true", help="do not copy the report to the study's MLflow run")
    parser.add_argument(
        "--verify",
        action="store_true",
        help=f"write nothing; recompute the report in DIR from the store, and end with {DIFFERS} where a value differs",
    )
    ignore_closed_output()
    options = parser.parse_args(arguments)
    uri = options.tracking_uri or default_tracking_uri()
    try:
        study_id = options.study
        if study_id is None:
            study_id = study_ids(uri)[0]
            print(f"Newest study in {without_secrets(uri)}: {study_id}")
        out = options.out or Path("mlruns/reports") / study_id
        if options.verify:
            return _verify(uri, study_id, out)
        report = write_report(uri, study_id, out, log=not options.no_log)
    except InputError as error:
        for line in error.errors:
            print(line, file=sys.stderr)
        return error.exit_status
    except OSError as error:  # a folder that cannot be written
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    for line in report.left_out:
        print(f"WARNING: {line}", file=sys.stderr)
    print(report.terminal_table(colour=sys.stdout.isatty()))
    print(f"Report: {(report.folder / 'report.html').resolve()}")
    return 0


def _verify(uri: str, study_id: str, out: Path) -> int:
    """Print the differences and return the exit status."""
    began = time.monotonic()
    found, store = verify_report(uri, study_id, out), without_secrets(uri)
    for line in found[:MOST_DIFFERENCES]:
        print(line, file=sys.stderr)
    if found:
        print(f"{out}: {len(found)} differences from study {study_id} in {store}.", file=sys.stderr)
        return DIFFERS
    print(f"{out}: every value is what study {study_id} in {store} gives ({time.monotonic() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
