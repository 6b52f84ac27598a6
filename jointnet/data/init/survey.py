"""The survey of a folder: its patients and files, by a convention's names or by names alone, and its description."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jointnet.data.description import LONGEST_NAME, MSCMRSEG, ROLES, SCANS, preset_content, presets
from jointnet.data.init.content import Answers, Files, Findings, find_content
from jointnet.data.init.file_roles import FileRoles, find_roles
from jointnet.data.init.label_meaning import meaning_of
from jointnet.data.init.nnunet import Declared, declared
from jointnet.data.init.scan_files import ScanFiles, label_patterns, pairs_on_one_grid
from jointnet.data.init.series import Series, as_series, group_by_patient, series_of_patients
from jointnet.data.init.toml_text import description_text, label_tables
from jointnet.data.patterns import literal_length, match
from jointnet.errors import short_repr
from jointnet.patient_names import items_in_order

NNUNET = "nnunet"
COVERED = 0.5
"""Least share of a folder's scans that belong to patients of a convention, for the folder to be of that convention."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        scans: its files.
        preset: the convention that it follows, or None.
        files: path by patient and role, patients in natural order.
        roles: which files are what.
        content: what the files hold.
        text: text of the proposed `dataset.toml`.
    """

    scans: ScanFiles
    preset: str | None
    files: Files
    roles: FileRoles
    content: Findings
    text: str

    @property
    def unsure(self) -> tuple[str, ...]:
        """What is doubtful, each a sentence."""
        return (*self.roles.unsure, *self.content.unsure)

    @property
    def questions(self) -> tuple[str, ...]:
        """What could not be determined, each a sentence that names the option that states it."""
        return (*self.roles.questions, *self.content.questions)

    @property
    def unused(self) -> dict[str, int]:
        """The number of scans that no pattern matches, by their pattern, or by their path if they are no patient's."""
        named = {path: pattern for pattern, own in _more(self.scans.files, self.files).items() for path in own.values()}
        used = _paths(self.files)
        return Counter(named.get(path, path) for path in self.scans.files if path not in used)

    @property
    def needs_no_description(self) -> bool:
        """Whether the folder is in the challenge's layout with nothing to add, and no file is missing."""
        added = len([line for line in self.text.splitlines() if " = " in line]) > 2
        return self.preset == MSCMRSEG and not added and all(len(own) == len(ROLES) for own in self.files.values())


def survey(folder: Path, answers: Answers) -> Survey:
    """Return what a folder holds.

    Raises:
        DataError: if there is no such folder, or no scan in it.
    """
    scans = ScanFiles(folder)
    preset = None if answers.patterns else _preset(scans.files)
    fixed = {} if preset is None else preset_content(preset)
    said = declared(folder) if preset == NNUNET else Declared({}, None, ())
    patterns = {**fixed.get("files", {}), **said.patterns, **answers.patterns}
    series = _series(scans.files, patterns)
    labels = label_patterns(series, scans)
    roles = find_roles(series, labels, pairs_on_one_grid(series, labels, scans), patterns)
    files = _files(scans.files, roles.patterns)
    unmatched = [
        f"--{role.replace('_', '-')}: must match files of {folder}, got {short_repr(pattern)}, which matches none"
        for role, pattern in answers.patterns.items()
        if not any(role in own for own in files.values())
    ]
    roles = replace(roles, unsure=(*said.unsure, *roles.unsure), questions=(*unmatched, *roles.questions))
    known = meaning_of(fixed["labels"]) if "labels" in fixed else said.values
    content = find_content(files, scans, answers, known)
    tables = label_tables(content)
    if tables and not fixed.get("labels", {}).keys() <= tables["labels"].keys():  # some of its values would remain
        preset, fixed = None, {}
    name = "".join(letter for letter in folder.resolve().name if letter.isprintable())[:LONGEST_NAME]
    text = description_text(name, roles.patterns, content, preset, fixed)
    return Survey(scans, preset, files, roles, content, text)


def _series(paths: Iterable[str], patterns: Mapping[str, str]) -> tuple[Series, ...]:
    """Return the series of the files; those of the given patterns, and of their patients, if there are any."""
    if not patterns:
        return group_by_patient(paths)
    files = _files(paths, patterns)
    given = {
        pattern: {name: own[role] for name, own in files.items() if role in own} for role, pattern in patterns.items()
    }
    return as_series(given | _more(paths, files))


def _files(paths: Iterable[str], patterns: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the path by patient and role, patients in natural order. Of patterns that fit, the longest counts."""
    files: dict[str, dict[str, str]] = {}
    roles = sorted((role for role in ROLES if role in patterns), key=lambda role: -literal_length(patterns[role]))
    for path in paths:
        fits = ((role, match(patterns[role], path)) for role in roles)
        role, matched = next(((role, one) for role, one in fits if one is not None), ("", None))
        if matched is not None:
            files.setdefault(matched[0], {}).setdefault(role, path)
    return {patient: {role: own[role] for role in ROLES if role in own} for patient, own in items_in_order(files)}


def _more(paths: Iterable[str], files: Files) -> dict[str, dict[str, str]]:
    """Return the other paths of the patients, by pattern and patient."""
    used = _paths(files)
    return series_of_patients((path for path in paths if path not in used), files)


def _paths(files: Files) -> set[str]:
    return {path for own in files.values() for path in own.values()}


def _preset(paths: Mapping[str, Path]) -> str | None:
    """Return the convention whose names the files have, or None."""
    matched: dict[str, int] = {}
    for name in presets():
        patterns = preset_content(name)["files"]
        files = _files(paths, patterns)
        scans = [role for role in SCANS if role in patterns]
        roles = {role for own in files.values() for role in own}
        if roles.issuperset(scans) and (len(scans) == len(SCANS) or roles - set(SCANS)):
            count = len(_paths(files))
            if count + sum(map(len, _more(paths, files).values())) >= COVERED * len(paths):
                matched[name] = count
    return max(matched, key=lambda name: matched[name], default=None)
