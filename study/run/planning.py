"""The plan of a study from the options of the command, after all of them and all nodes are checked."""

import argparse
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jointnet.data import DEFAULT_SPLITS
from jointnet.data.description import Dataset, load_dataset
from jointnet.data.folder import files_by_patient, not_read, scan_folder, select
from jointnet.data.patient_roles import not_drawn_text, roles_of
from jointnet.errors import DataError, SettingsError, short_repr
from jointnet.patient_names import in_natural_order, names_text, parse_patients
from jointnet.preparation.cache import default_cache, fingerprint_of_files
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.settings import for_data
from jointnet.system.commands import LARGEST_SEED
from jointnet.train.pseudo_labels import unlabelled_patients
from study.machines.address import resolve_address
from study.machines.cluster import survey
from study.machines.node_check import SharedFolder
from study.plan.capacity import Request, resource_errors, resources_of
from study.plan.plan import WAIT_MINUTES, Data, Design, Node, Plan, Transfer, make_arms, make_plan
from study.plan.splits import Folds, Split, fold_errors, make_folds, make_splits, same_validation, scaled_counts
from study.plan.splits_file import read_splits_file
from study.run.pseudo_labels import plan_pseudo_labels
from study.search.file.objective_rules import check_objective
from study.search.file.reading import MOST_MINUTES, MOST_PATIENTS, MOST_TRIALS, load_spaces
from study.search.file.split_counts import Counts, parse_counts
from study.search.space import MOST_EPOCHS, SearchSpace, with_overrides
from study.tracking.open_store import resolve_tracking_uri

PHANTOM_PATIENTS = 45
PHANTOM_SEED = 0


def plan_from_options(options: argparse.Namespace) -> Plan:
    """Create the plan for the command's options, without the study's id.

    For a user's folder of scans, all headers are checked and the training and validation patients' files are hashed.

    Raises:
        SettingsError: with the errors of all options and search spaces.
        DataError: if the folder of scans breaks a rule.
    """
    started = datetime.now(UTC)
    errors = _option_errors(options)
    waits = options.wait_for_nodes is not None
    request = Request(options.device, options.cpus_per_trial, options.gpus_per_trial, options.concurrent, waits)
    spaces: tuple[SearchSpace, ...] = ()
    try:
        spaces = tuple(
            with_overrides(space, options.num_samples, options.max_epochs, options.minutes, options.equal_compute)
            for space in load_spaces(options.search, options.settings)
        )
    except SettingsError as error:
        errors += error.errors
    chosen: tuple[str, ...] | None = None
    unlabelled: tuple[str, ...] = ()
    try:
        chosen = chosen_patients(options)
        unlabelled = unlabelled_patients(options.unlabelled, options.teacher, chosen)
    except SettingsError as error:
        errors += error.errors
    counts: tuple[Counts, ...] = ()
    try:
        counts = () if options.splits_file else _counts(options, spaces)
    except SettingsError as error:
        errors += [f"--splits: {line}" for line in error.errors]
    tracking_uri = ""
    try:
        tracking_uri = resolve_tracking_uri()
    except SettingsError as error:
        errors += error.errors
    address: str | None = None
    nodes: tuple[Node, ...] = ()
    transfer, autoscaler = Transfer(), None
    try:
        address = resolve_address(options.address)
        if waits and address is None:
            errors.append(f"--wait-for-nodes: must be given with a cluster (--address), got {options.wait_for_nodes:g}")
        nodes, node_errors, transfer, autoscaler = survey(address, _shared_folders(options))
        errors += [*node_errors, *resource_errors(request, nodes, autoscaler)]
    except SettingsError as error:
        errors += error.errors
    if errors:
        raise SettingsError(errors)
    data, files = _data(options, spaces, chosen, unlabelled)
    spaces = tuple(replace(space, base=for_data(space.base, data.structures)) for space in spaces)
    check_objective(spaces, data.structures)
    roles = roles_of((own for name, own in files.items() if name not in unlabelled), data.structures)
    patients = [name for name in files if name not in {*roles.unlabelled, *unlabelled}]
    if not files:
        patients = _phantom_patients(data, chosen, unlabelled)
    same = options.same_validation or not _stated_splits(options, spaces)
    folds, remarks = _assign_patients(options, patients, counts, same, roles.partly)
    if chosen is not None:
        remarks = (f"only these patients take part (--patients): {len(chosen)} {names_text(chosen)}", *remarks)
    arms = tuple(
        arm
        for fold, splits in enumerate(folds, start=1)
        for arm in make_arms(spaces, splits, fold=fold, folds=len(folds))
    )
    data = replace(data, partly=roles.partly)
    if options.teacher is not None:
        pseudo_labels = plan_pseudo_labels(
            options.teacher, unlabelled, [arm.split for arm in arms], [arm.model for arm in arms]
        )
        data = replace(data, pseudo_labels=pseudo_labels)
    if files:
        data = replace(data, fingerprint=_fingerprint(files, [arm.split for arm in arms], unlabelled))
    return make_plan(
        arms,
        data=data,
        resources=resources_of(request, nodes, autoscaler),
        seed=options.seed,
        out=options.out,
        cache=options.cache or default_cache(),
        tracking_uri=tracking_uri,
        now=started,
        address=address,
        nodes=nodes,
        design=Design(len(folds), same, options.seeds, str(options.splits_file) if options.splits_file else None),
        transfer=transfer,
        remarks=(*remarks, *roles.text(), *not_drawn_text(files.values(), data.structures)),
        autoscaler=autoscaler,
        at_once=options.concurrent,
        wait_minutes=options.wait_for_nodes if waits else WAIT_MINUTES,
    )


def _option_errors(options: argparse.Namespace) -> list[str]:
    """Return the errors of the options that do not depend on the searches or the machine."""
    bounds: dict[str, tuple[float, float]] = {
        "num_samples": (1, MOST_TRIALS),
        "max_epochs": (1, MOST_EPOCHS),
        "minutes": (0.01, MOST_MINUTES),
        "concurrent": (1, MOST_TRIALS),
        "cpus_per_trial": (0.01, MOST_TRIALS),
        "gpus_per_trial": (0, MOST_TRIALS),
        "wait_for_nodes": (0, MOST_MINUTES),
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
    for name in ("splits", "same_validation"):
        if options.splits_file and getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            errors.append(f"{option}: must not be given with --splits-file, which states the patients")
    if options.new and options.study is not None:
        errors.append(f"--new: must not be given with --study, got --study {options.study}")
    for name in ("data", "dataset", "out", "cache", "splits_file", "teacher"):
        path = getattr(options, name)
        if path is not None and re.match(r"\w+:/", str(path)):
            option = f"--{name.replace('_', '-')}"
            kind = {"dataset": "file", "splits_file": "file", "teacher": "file or folder"}.get(name, "folder")
            errors.append(f"{option}: must be a {kind}, if need be on mounted storage, not an address, got {path}")
    paths = {"--data": options.data, "--out": options.out, "--cache": options.cache, "--settings": options.settings}
    paths |= {"--splits-file": options.splits_file, "--dataset": options.dataset, "--teacher": options.teacher}
    errors += [
        f"{name}: must be a path in UTF-8, because Ray accepts no others, got {short_repr(str(path))}"
        + ("" if name == "working folder" else "; a link to it may have such a name")
        for name, path in {"working folder": Path.cwd(), **paths, "--search": " ".join(options.search)}.items()
        if path is not None and not _is_utf8(str(path))
    ]
    if is_job_folder(Path.cwd()):
        lasting = {"--out": options.out.is_absolute(), "MLFLOW_TRACKING_URI": "MLFLOW_TRACKING_URI" in os.environ}
        errors += [
            f"{name}: must be given, and absolute, in a submitted job, whose working directory is deleted with the "
            "cluster"
            for name, is_lasting in lasting.items()
            if not is_lasting
        ]
    return errors


def _is_utf8(path: str) -> bool:
    """Return whether a path is valid UTF-8. Python represents other bytes by surrogates, which cannot be encoded."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_job_folder(folder: Path) -> bool:
    """Return whether a folder is in Ray's copy of a submitted job's files, which is deleted with the job or cluster."""
    return "runtime_resources" in folder.parts


def _shared_folders(options: argparse.Namespace) -> tuple[SharedFolder, ...]:
    """Return the folders of a study that the nodes of a cluster may share."""
    out, cache = options.out.absolute(), (options.cache or default_cache()).absolute()
    return SharedFolder("--out", out, written=True), SharedFolder("--cache", cache, written=False)


def chosen_patients(options: argparse.Namespace) -> tuple[str, ...] | None:
    """Return the patients of `--patients`; None without it.

    Raises:
        SettingsError: if it is no list of patients.
    """
    return None if options.patients is None else parse_patients(options.patients)


def _phantom_patients(data: Data, chosen: Sequence[str] | None, unlabelled: Sequence[str]) -> list[str]:
    """Return the phantom's patients that take part with their labels.

    Raises:
        SettingsError: if the phantom lacks a chosen or an unlabelled patient.
    """
    every = [str(number) for number in range(1, data.patients + 1)]
    errors = [
        f"{option}: must be the phantom's, 1-{data.patients}, got {names_text(absent)}"
        for option, names in (("--patients", chosen or ()), ("--unlabelled", unlabelled))
        if (absent := [name for name in names if name not in every])
    ]
    if errors:
        raise SettingsError(errors)
    return [name for name in every if name not in unlabelled] if chosen is None else list(chosen)


def _stated_splits(options: argparse.Namespace, spaces: Sequence[SearchSpace]) -> bool:
    """Return whether the command or a search file states splits, so that they are used as stated."""
    return bool(options.splits or options.splits_file) or any(space.splits for space in spaces)


def _counts(options: argparse.Namespace, spaces: Sequence[SearchSpace]) -> tuple[Counts, ...]:
    """Return the split sizes: the command's, else those of the search files, else DEFAULT_SPLITS."""
    if options.splits:
        return parse_counts(options.splits, test_optional=options.folds > 1)
    own = {space.splits for space in spaces if space.splits}
    if len(own) > 1:
        different = " and ".join(" ".join(splits) for splits in sorted(own))
        raise SettingsError(f"must be given where the search files have different splits, {different}, got none")
    return parse_counts(own.pop() if own else DEFAULT_SPLITS)


def _assign_patients(
    options: argparse.Namespace,
    patients: Sequence[str],
    counts: tuple[Counts, ...],
    same: bool,
    train_only: Collection[str],
) -> tuple[Folds, tuple[str, ...]]:
    """Assign the patients to the splits of each fold and return them with remarks for the plan.

    A file of splits states them. Otherwise the seed decides. With folds, default split sizes are scaled to fit. Sizes
    given on the command line are not. `same` gives all splits the same validation patients. Patients of `train_only`
    are neither validated nor tested on.
    """
    if options.splits_file is not None:
        stated = read_splits_file(options.splits_file, patients, options.seed, train_only)
        if options.folds not in (1, len(stated.folds)):
            rule = f"must be left out, or the {len(stated.folds)} of --splits-file {options.splits_file}"
            raise SettingsError(f"--folds: {rule}, got {options.folds}")
        return stated.folds, stated.remarks
    remarks: tuple[str, ...] = ()
    if options.folds > 1 and not options.splits and not fold_errors(len(patients), options.folds):
        defaults, counts = counts, scaled_counts(counts, len(patients), options.folds)
        if [(c.train, c.validation) for c in defaults] != [(c.train, c.validation) for c in counts]:
            before, after = " and ".join(map(str, defaults)), " and ".join(map(str, counts))
            remarks = (f"the splits {before} do not fit beside the folds and were shrunk to {after} (see --splits)",)
    if same:
        counts = same_validation(counts)
    if options.folds > 1:
        return make_folds(patients, options.folds, counts, options.seed, train_only), remarks
    return (make_splits(patients, counts, options.seed, train_only),), remarks


def _data(
    options: argparse.Namespace,
    spaces: Sequence[SearchSpace],
    chosen: Sequence[str] | None,
    unlabelled: Sequence[str],
) -> tuple[Data, Mapping[str, PatientFiles]]:
    """Return the data and the files of each patient. There are none for the phantom, which is written later."""
    if options.data is not None:
        folder = options.data.absolute()
        dataset = load_dataset(folder, options.dataset)
        files = checked_patients(folder, dataset, chosen, unlabelled)
        notes = tuple(not_read(folder, dataset, files_by_patient(folder, dataset)))
        return Data("folder", folder, len(files), "", dataset.structures, dataset, notes), files
    if options.dataset is not None:
        raise SettingsError(f"--dataset: must be given with --data, got {options.dataset}")
    own = {space.phantom_patients for space in spaces if space.phantom_patients}
    if len(own) > 1:
        raise SettingsError(
            f"--search: the search files must have the same phantom_patients, got {sorted(map(str, own))}"
        )
    patients = own.pop() if own else PHANTOM_PATIENTS
    name = f"phantom-{patients}-{PHANTOM_SEED}"
    return Data("phantom", Path("data").absolute() / name, patients, name), {}


def _fingerprint(files: Mapping[str, PatientFiles], splits: Sequence[Split], unlabelled: Sequence[str]) -> str:
    """Return the fingerprint of the training and validation patients, and of those without labels that are trained on.

    The test patients' files are not hashed.
    """
    searched = {name for split in splits for name in (*split.train, *split.validation)}
    return fingerprint_of_files(select(dict(files), in_natural_order({*searched, *unlabelled})))


def checked_patients(
    folder: Path,
    dataset: Dataset | None,
    chosen: Sequence[str] | None = None,
    unlabelled: Sequence[str] = (),
) -> Mapping[str, PatientFiles]:
    """Return the patients of a folder after a check of all headers, including the test patients'. No voxels are read.

    Args:
        folder: the folder.
        dataset: its description.
        chosen: the patients that take part; all if None. The files of others are not looked at.
        unlabelled: patients that take part without labels. Those that they have are not used.

    Raises:
        DataError: if the folder or a header breaks a rule.
    """
    wanted = None if chosen is None else (*chosen, *unlabelled)
    patients, errors = scan_folder(folder, unlabelled, wanted, dataset=dataset)
    found = select(patients, unlabelled if wanted is None else wanted, errors)
    if wanted is not None:
        patients = {files.patient: files for files in found}
    errors += check_headers(patients.values())
    if errors:
        raise DataError(errors)
    return patients
