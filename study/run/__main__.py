"""`python -m study.run --search joint`: plan a study, print the plan, run the study and write its report.

Repeating the command resumes the study.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jointnet.data.cache import default_cache, fingerprint_of_files
from jointnet.data.folder import PatientFiles, check_headers, scan_folder, select
from jointnet.errors import DataError, InputError, SettingsError
from jointnet.phantom.writer import write_phantom
from jointnet.system.quota import limit_threads
from jointnet.system.terminal import ignore_closed_output
from study.machines.cluster import is_client, resolve_address, survey
from study.machines.handover import run_on_head
from study.plan.capacity import Request, resource_errors, resources_of
from study.plan.environment import settle
from study.plan.folds import Folds, fold_errors, make_folds, proportional, same_validation
from study.plan.identity import with_identity
from study.plan.plan import Data, Design, Node, Plan, make_arms, make_plan
from study.plan.plan_text import render
from study.plan.search_file import load_spaces
from study.plan.search_space import SearchSpace, with_overrides
from study.plan.splits import DEFAULT_SPLITS, Counts, Split, make_splits, parse_counts
from study.report.write import write_report
from study.run.command_line import option_errors, parser, shared_folders
from study.run.conduct import conduct
from study.run.ending import EXIT_HALTED, EXIT_NO_FINISHED_TRIAL, FAILURES, ending_of, full_disks
from study.run.interruption import StudyHaltedError, heed_signals
from study.run.searching import OPTUNA_FILE
from study.store_address import ui_command
from study.tracking.open_store import check_experiment, resolve_tracking_uri

PHANTOM_PATIENTS = 45
PHANTOM_SEED = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study and return the exit status.

    0: done. 2: usage error, or the machine cannot run the study. 3: data error. 4: an arm has no finished trial. 5: the
    disk is full, or the tracking store is unreachable or refused an entry. 130: interrupted. After 5 and 130 repeating
    the command resumes the study.
    """
    ignore_closed_output()
    heed_signals()
    limit_threads()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    again = (
        f"Nothing is lost. To go on: {shlex.join(['python', '-m', 'study.run', *(a for a in given if a != '--new')])}"
    )
    try:
        if is_client(options.address):
            return run_on_head(str(resolve_address(options.address)), given)
        settle()
        return _run(options)
    except FAILURES as error:
        ending = ending_of(error)
        for line in full_disks(_written(options)) if ending.status == EXIT_HALTED else ():
            print(line, file=sys.stderr)
        print(*ending.lines, sep="\n", end=f" {again}\n" if ending.goes_on else "\n", file=sys.stderr)
        return ending.status


def _run(options: argparse.Namespace) -> int:
    plan = with_identity(plan_of(options), new=options.new, named=options.study)
    heed_signals()  # Ray replaces the SIGTERM handler when a cluster's nodes are surveyed
    print(render(plan), flush=True)
    check_experiment(plan.tracking_uri)
    if options.dry_run:
        return 0
    if plan.data.kind == "phantom":
        if not plan.data.folder.exists():
            print("Writing the phantom, once: about a second for each patient ...", flush=True)
        write_phantom(plan.data.folder, patients=plan.data.patients, seed=PHANTOM_SEED)
    outcome = conduct(plan, _checked(plan.data.folder))
    try:
        report = write_report(plan.tracking_uri, plan.study_id, plan.folder / "report")
    except InputError as error:
        if outcome.refused:
            raise StudyHaltedError(f"{outcome.refused}; so there is no report: {error}", by_user=False) from error
        raise
    except OSError as error:
        raise StudyHaltedError(str(error), by_user=False) from error
    minutes = (datetime.now(UTC) - plan.started).total_seconds() / 60
    print(f"\n{report.terminal_table(colour=sys.stdout.isatty())}")
    print(f"Study      {plan.study_id}, {minutes:.1f} minutes of this command")
    print(f"Report     {plan.folder / 'report'}")
    print(f"Trials     {plan.folder / OPTUNA_FILE} (for optuna-dashboard)")
    print(f"MLflow UI  {ui_command(plan.tracking_uri)}")
    for line in [*outcome.left_out, *report.left_out]:
        print(f"WARNING: {line}. The same command tries it again.", file=sys.stderr)
    for line in outcome.missing:
        print(line, file=sys.stderr)
    if outcome.refused:
        raise StudyHaltedError(f"{outcome.refused}. The report has what the store holds", by_user=False)
    return EXIT_NO_FINISHED_TRIAL if outcome.missing else 0


def _written(options: argparse.Namespace) -> list[Path]:
    """Return the folders that a study writes to. Ray and the tracking store use the temporary folders."""
    folders = [Path(), options.out, *(Path(os.environ.get(name, "/tmp")) for name in ("RAY_TMPDIR", "TMPDIR"))]
    with suppress(OSError):  # without a home folder the default is in the temporary one, which may be full
        folders.append(options.cache or default_cache())
    return folders


def plan_of(options: argparse.Namespace) -> Plan:
    """Create the plan for the command's options, without the study's id.

    For a user's folder of scans, all headers are checked and the training and validation patients' files are hashed.

    Raises:
        SettingsError: with the errors of all options and search spaces.
        DataError: if the folder of scans breaks a rule.
    """
    started = datetime.now(UTC)
    errors = option_errors(options)
    request = Request(options.device, options.cpus_per_trial, options.gpus_per_trial, options.concurrent)
    spaces: tuple[SearchSpace, ...] = ()
    try:
        spaces = tuple(
            with_overrides(space, options.num_samples, options.max_epochs, options.minutes, options.equal_compute)
            for space in load_spaces(options.search, options.settings)
        )
    except SettingsError as error:
        errors += error.errors
    counts: tuple[Counts, ...] = ()
    try:
        counts = _counts(options, spaces)
    except SettingsError as error:
        errors += [f"--splits: {line}" for line in error.errors]
    tracking_uri = ""
    try:
        tracking_uri = resolve_tracking_uri()
    except SettingsError as error:
        errors += error.errors
    address: str | None = None
    nodes: tuple[Node, ...] = ()
    try:
        address = resolve_address(options.address)
        nodes, found = survey(address, shared_folders(options))
        errors += [*found, *resource_errors(request, nodes)]
    except SettingsError as error:
        errors += error.errors
    if errors:
        raise SettingsError(errors)
    data, files = _data(options, spaces)
    numbers = list(files) if files else list(range(1, data.patients + 1))
    dealt, remarks = _dealt(options, numbers, counts)
    arms = tuple(
        arm
        for fold, splits in enumerate(dealt, start=1)
        for arm in make_arms(spaces, splits, fold=fold, folds=options.folds)
    )
    return make_plan(
        arms,
        data=replace(data, fingerprint=_fingerprint(files, [arm.split for arm in arms])) if files else data,
        resources=resources_of(request, nodes),
        seed=options.seed,
        out=options.out,
        cache=options.cache or default_cache(),
        tracking_uri=tracking_uri,
        now=started,
        address=address,
        nodes=nodes,
        design=Design(options.folds, options.same_validation, options.seeds),
        remarks=remarks,
    )


def _counts(options: argparse.Namespace, spaces: Sequence[SearchSpace]) -> tuple[Counts, ...]:
    """Return the split counts: the command's, else those of the search files, else the paper's."""
    if options.splits:
        return parse_counts(options.splits, test_optional=options.folds > 1)
    own = {space.splits for space in spaces if space.splits}
    if len(own) > 1:
        raise SettingsError(f"must be given where the searches bring different ones, {' and '.join(map(str, own))}")
    return parse_counts(own.pop() if own else DEFAULT_SPLITS)


def _dealt(
    options: argparse.Namespace, numbers: Sequence[int], counts: tuple[Counts, ...]
) -> tuple[Folds, tuple[str, ...]]:
    """Assign the patients to splits and return them with remarks for the plan.

    With folds, default split sizes are scaled to fit. Sizes given on the command line are not.
    """
    remarks: tuple[str, ...] = ()
    if options.folds > 1 and not options.splits and not fold_errors(len(numbers), options.folds):
        given, counts = counts, proportional(counts, len(numbers), options.folds)
        if [(c.train, c.validation) for c in given] != [(c.train, c.validation) for c in counts]:
            told = " and ".join(map(str, given)), " and ".join(map(str, counts))
            remarks = (f"the splits {told[0]} do not fit beside the folds and were shrunk to {told[1]} (see --splits)",)
    if options.same_validation:
        counts = same_validation(counts)
    if options.folds > 1:
        return make_folds(numbers, options.folds, counts, options.seed), remarks
    return (make_splits(numbers, counts, options.seed),), remarks


def _data(options: argparse.Namespace, spaces: Sequence[SearchSpace]) -> tuple[Data, Mapping[int, PatientFiles]]:
    """Return the data and the files of each patient. There are none for the phantom, which is written later."""
    if options.data is not None:
        folder = options.data.absolute()
        files = _checked(folder)
        return Data("folder", folder, len(files), ""), files
    own = {space.phantom_patients for space in spaces if space.phantom_patients}
    if len(own) > 1:
        raise SettingsError(f"--search: the searches must agree on phantom_patients, got {sorted(map(str, own))}")
    patients = own.pop() if own else PHANTOM_PATIENTS
    name = f"phantom-{patients}-{PHANTOM_SEED}"
    return Data("phantom", Path("data").absolute() / name, patients, name), {}


def _fingerprint(files: Mapping[int, PatientFiles], splits: Sequence[Split]) -> str:
    """Return the fingerprint of the training and validation patients. The test patients' files are not hashed."""
    return fingerprint_of_files(
        select(dict(files), sorted({number for split in splits for number in (*split.train, *split.validation)}))
    )


def _checked(folder: Path) -> Mapping[int, PatientFiles]:
    """Return the patients of a folder after a check of all headers, including the test patients'. No voxels are read.

    Raises:
        DataError: if the folder or a header breaks a rule.
    """
    patients, errors = scan_folder(folder)
    errors += check_headers(patients.values())
    if errors:
        raise DataError(errors)
    return patients


if __name__ == "__main__":
    sys.exit(main())
