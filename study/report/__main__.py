"""The report of a study, rebuilt from its tracking store alone: `python -m study.report`."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jointnet.errors import EXIT_USAGE, InputError
from jointnet.system.terminal import command_name, ignore_closed_output
from study.store_address import default_tracking_uri, without_secrets

FOLDERS_HELP = (
    "report folder (default: mlruns/reports/ID; with --verify that or runs/ID/report, whichever was written last)"
)
DIFFERS = 1
"""Exit status of `--verify` where the written report differs from the store."""
MOST_DIFFERENCES = 50
"""Largest number of differences that are printed."""
EXAMPLES = """\
examples:
  python -m study.report
      the report of the newest study
  python -m study.report --study 20260101-120000-0123abcd --verify
      check every value of the study's written report against the store
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    ignore_closed_output()
    options = _parser().parse_args(arguments)
    uri = options.tracking_uri or default_tracking_uri()
    try:
        # MLflow, pandas and matplotlib take seconds to import, so --help does without them.
        from study.report.store.reader import study_ids
        from study.report.write import write_report

        study_id = options.study
        if study_id is None:
            study_id = study_ids(uri)[0]
            print(f"Newest study in {without_secrets(uri)}: {study_id}")
        if options.verify:
            return _verify(uri, study_id, options.out or _written_last(study_id))
        out = options.out or Path("mlruns/reports") / study_id
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
    print(f"Report: {(report.folder / 'report.html').resolve()}\n\n{report.terminal_answer()}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_name("study.report"),
        description="Write the report of a study from its tracking store, or check a written report against the store.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_argument_group("which study")
    which.add_argument("--study", metavar="ID", help="id of the study (default: the newest in the store)")
    which.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow store (default: MLFLOW_TRACKING_URI, else mlruns/mlflow.db)"
    )
    written = parser.add_argument_group("what is written")
    written.add_argument("--out", type=Path, metavar="DIR", help=FOLDERS_HELP)
    written.add_argument("--no-log", action="store_true", help="do not copy the report to the study's MLflow run")
    written.add_argument(
        "--verify",
        action="store_true",
        help=f"write nothing; compare the report in DIR with the store; exit status {DIFFERS} if a value differs",
    )
    return parser


def _written_last(study_id: str) -> Path:
    """Return the folder of the study's newest report: rebuilt by this command, or written by the study itself."""
    folders = (Path("mlruns/reports") / study_id, Path("runs") / study_id / "report")
    written = [folder for folder in folders if (folder / "report.html").is_file()]
    if not written:
        raise InputError(
            f"{folders[0]}, {folders[1]}: one must hold a report; give --out of the one to verify, or write one with "
            f"`python -m study.report --study {study_id}`"
        )
    return max(written, key=lambda folder: (folder / "report.html").stat().st_mtime)


def _verify(uri: str, study_id: str, out: Path) -> int:
    """Print the differences and return the exit status."""
    from study.report.write import verify_report

    began = time.monotonic()
    differences, store = verify_report(uri, study_id, out), without_secrets(uri)
    if differences:
        counts = Counter(line.partition(":")[0] for line in differences)
        files = ", ".join(f"{name} {count}" for name, count in counts.items())
        number = "1 difference" if len(differences) == 1 else f"{len(differences)} differences"
        print(f"{out}: {number} from study {study_id} in {store}: {files}.", file=sys.stderr)
        for line in differences[:MOST_DIFFERENCES]:
            print(line, file=sys.stderr)
        if (more := len(differences) - MOST_DIFFERENCES) > 0:
            print(f"... and {more} more.", file=sys.stderr)
        return DIFFERS
    print(f"{out}: every value is what study {study_id} in {store} gives ({time.monotonic() - began:.0f} s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
