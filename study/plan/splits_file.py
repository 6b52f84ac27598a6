"""Splits that a file states by the patients' names: training, validation and test patients.

The file is JSON, `{"train": [...], "validation": [...], "test": [...]}` or a list of these, or TOML with the same keys
in tables `[[split]]`. Entries with the same test patients are splits of one fold, each of which gives arms of its own.
Entries with other test patients are other folds.

nnU-Net's `splits_final.json`, a list of `{"train": [...], "val": [...]}`, is read as folds. nnU-Net has no sealed test
patients, so its `val` becomes the test set of its fold, and validation patients are drawn from its `train`.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jointnet.errors import SettingsError, short_repr
from jointnet.patient_names import in_natural_order, name_error, names_text, near_names_text, normal_name
from jointnet.system.toml_file import LARGEST_BYTES, parse_toml
from study.plan.splits import Folds, Split
from study.search.file.split_counts import Counts

PARTS = ("train", "validation", "test")
NNUNET_PARTS = ("train", "val")
TABLE = "split"
"""Name of the TOML tables."""
DRAWN_SHARE = 5
"""One in this many of nnU-Net's training patients becomes a validation patient."""
MOST_SPLITS = 1000


class StatedSplits(NamedTuple):
    """The splits of a file, and remarks about them for the plan."""

    folds: Folds
    remarks: tuple[str, ...]


class _Entry(NamedTuple):
    """One entry of a file: where it is, for error messages, and the patients of its parts."""

    where: str
    parts: dict[str, tuple[str, ...]]


def read_splits_file(
    path: Path, patients: Collection[str], seed: int, train_only: Collection[str] = ()
) -> StatedSplits:
    """Return the splits that a file states.

    Args:
        path: a JSON file, or a TOML file, whose name then ends in `.toml`.
        patients: the patients that can take part.
        seed: seed by which validation patients are drawn where the file is nnU-Net's.
        train_only: patients that can only train.

    Raises:
        SettingsError: with all errors of the file.
    """
    name = f"--splits-file: {path}"
    items = _items(path, name)
    is_nnunet = all(isinstance(item, Mapping) and set(item) == set(NNUNET_PARTS) for item in items)
    errors: list[str] = []
    known = set(patients)
    entries = []
    for number, item in enumerate(items, start=1):
        where = name if len(items) == 1 else f"{name}: split {number}"
        entry = _entry(where, item, NNUNET_PARTS if is_nnunet else PARTS, known, errors)
        if entry is not None:
            entries.append(entry)
    if not errors and is_nnunet:
        entries = _with_validation(entries, seed, train_only)
    if not errors:
        errors += [*_role_errors(entries, train_only), *_design_errors(entries, name)]
    if errors:
        raise SettingsError(errors)
    folds = _folds(entries)
    used = {patient for entry in entries for part in entry.parts.values() for patient in part}
    remarks = [f"the splits are those of {path}: {len(folds)} fold{'s' if len(folds) > 1 else ''}"]
    if is_nnunet:
        counts = in_natural_order(str(len(entry.parts["validation"])) for entry in entries)
        remarks.append(
            f"nnU-Net's `val` is the test set of its fold; {' or '.join(counts)} of its training patients are drawn by "
            "the seed to validate"
        )
    if unused := in_natural_order(known - used):
        remarks.append(f"patients in no split of the file, left unused: {len(unused)} {names_text(unused)}")
    return StatedSplits(folds, tuple(remarks))


def _items(path: Path, name: str) -> Sequence[Any]:
    """Return the entries of a file as they are in it.

    Raises:
        SettingsError: if the file cannot be read, is too large, or holds no entries.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: must be a readable file: {getattr(error, 'strerror', error)}") from None
    if len(content) > LARGEST_BYTES:
        raise SettingsError(f"{name}: must have at most {LARGEST_BYTES} bytes")
    if path.suffix.lower() == ".toml":
        read: Any = parse_toml(content, name)
        if set(read) != {TABLE} or not isinstance(read[TABLE], list):
            raise SettingsError(
                f"{name}: must have tables [[{TABLE}]] and nothing else, got {short_repr(sorted(read))}"
            )
        read = read[TABLE]
    else:
        try:
            read = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{name}: must be JSON, or TOML in a file named .toml: {str(error)[:100]}") from None
        read = [read] if isinstance(read, dict) else read
    if not isinstance(read, list) or not 1 <= len(read) <= MOST_SPLITS:
        rule = f"must be a list of 1 to {MOST_SPLITS} splits, each with {', '.join(PARTS)}"
        raise SettingsError(f"{name}: {rule}, got {short_repr(read)}")
    return read


def _entry(where: str, item: Any, parts: Sequence[str], known: Collection[str], errors: list[str]) -> _Entry | None:
    """Return an entry's patients, or None after adding its errors to `errors`."""
    if not isinstance(item, Mapping) or set(item) != set(parts):
        got = short_repr(sorted(item, key=str) if isinstance(item, Mapping) else item)
        errors.append(f"{where}: must have {', '.join(PARTS)} (or train and val in every split, as nnU-Net), got {got}")
        return None
    own: list[str] = []
    read = {part: _names(f"{where}, {part}", item[part], own) for part in parts}
    for part, names in read.items():
        if unknown := [name for name in names if name not in known]:
            near = near_names_text(unknown, known)
            there = names_text(in_natural_order(known))
            own.append(f"{where}, {part}: must be patients of the data, {there}, got {names_text(unknown)}{near}")
    for place, part in enumerate(parts):
        for other in parts[place + 1 :]:
            if both := in_natural_order(set(read[part]) & set(read[other])):
                own.append(f"{where}: a patient must be in one part, got {names_text(both)} in {part} and {other}")
    errors += own
    return None if own else _Entry(where, read)


def _names(where: str, value: Any, errors: list[str]) -> tuple[str, ...]:
    """Return the patients of a part in natural order, after adding its errors to `errors`."""
    if not isinstance(value, list) or not value:
        errors.append(f"{where}: must be a list of at least one patient, got {short_repr(value)}")
        return ()
    wrong = [name for name in value if isinstance(name, bool) or not isinstance(name, str | int)]
    names = [normal_name(str(name)) for name in value if name not in wrong]
    wrong += [name for name in names if name_error(name)]
    if wrong:
        errors.append(f"{where}: must be names of patients, got {short_repr(wrong)}")
        return ()
    if twice := [name for name in in_natural_order(names) if names.count(name) > 1]:
        errors.append(f"{where}: must have each patient once, got {names_text(twice)} more than once")
    return tuple(in_natural_order(names))


def _with_validation(entries: Sequence[_Entry], seed: int, train_only: Collection[str]) -> list[_Entry]:
    """Return nnU-Net's folds with validation patients, drawn from its training patients.

    All folds keep the same number of training patients, because an arm is named after it.
    """
    least = min(len(entry.parts["train"]) for entry in entries)
    kept = max(1, least - max(1, round(least / DRAWN_SHARE)))
    found = []
    for fold, (where, parts) in enumerate(entries, start=1):
        order = np.random.default_rng([seed, fold]).permutation(len(parts["train"]))
        drawn = [parts["train"][place] for place in order]
        drawn.sort(key=lambda name: name not in train_only)  # these come first and train
        train, validation = (tuple(in_natural_order(part)) for part in (drawn[:kept], drawn[kept:]))
        found.append(_Entry(where, {"train": train, "validation": validation, "test": parts["val"]}))
    return found


def _role_errors(entries: Sequence[_Entry], train_only: Collection[str]) -> Iterator[str]:
    """Yield an error for each part whose patients can only train."""
    for entry in entries:
        for part in PARTS[1:]:
            if wrong := [name for name in entry.parts[part] if name in train_only]:
                yield (
                    f"{entry.where}, {part}: must be patients of whom both scans are labelled, got {names_text(wrong)}"
                )


def _design_errors(entries: Sequence[_Entry], name: str) -> Iterator[str]:
    """Yield the reasons why entries are no design: folds and their arms."""
    for entry in entries:
        for part in PARTS:
            if not entry.parts[part]:  # nnU-Net's, with one training patient
                yield f"{entry.where}, train: must have at least two patients, one of them to validate, got one"
    tested: dict[str, _Entry] = {}
    reported: set[tuple[str, str]] = set()
    for entry in entries:
        for patient in entry.parts["test"]:
            first = tested.setdefault(patient, entry)
            pair = (first.where, entry.where)
            if set(first.parts["test"]) != set(entry.parts["test"]) and pair not in reported:
                reported.add(pair)
                both = in_natural_order(set(first.parts["test"]) & set(entry.parts["test"]))
                yield (
                    f"{entry.where}, test: must be the test patients of {first.where.rpartition(': ')[2]}, in another "
                    f"split of the same fold, or have none of them, in another fold, got {names_text(both)} in both"
                )
    by_fold = [[len(entry.parts["train"]) for entry in entries] for entries in _by_fold(entries)]
    for counts in by_fold:
        if twice := sorted({count for count in counts if counts.count(count) > 1}):
            yield (
                f"{name}: splits with the same test patients must train on different numbers of patients, after which "
                f"arms are named, got {twice[0]} twice"
            )
    if len({tuple(sorted(counts)) for counts in by_fold}) > 1:
        got = ", ".join(" and ".join(map(str, counts)) for counts in by_fold)
        yield (
            f"{name}: all folds must train on the same numbers of patients, after which arms are named, got {got}; "
            "move patients from train to validation"
        )


def _by_fold(entries: Sequence[_Entry]) -> list[list[_Entry]]:
    """Return the entries of each fold: those with the same test patients, in the order of the file."""
    folds: dict[tuple[str, ...], list[_Entry]] = {}
    for entry in entries:
        folds.setdefault(entry.parts["test"], []).append(entry)
    return list(folds.values())


def _folds(entries: Sequence[_Entry]) -> Folds:
    return tuple(tuple(_split(entry.parts) for entry in fold) for fold in _by_fold(entries))


def _split(parts: Mapping[str, tuple[str, ...]]) -> Split:
    return Split(Counts(*(len(parts[part]) for part in PARTS)), *(parts[part] for part in PARTS))
