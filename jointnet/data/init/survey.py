"""The survey of a folder: its patients and files, by a convention's names or by names alone, and its description."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointnet.data.description import MSCMRSEG, ROLES, SCANS, preset_content, presets
from jointnet.data.init.content import Answers, Findings, find_content, values_given
from jointnet.data.init.look import Found, Headers, find_files, label_patterns, pairs_on_one_grid
from jointnet.data.init.names import Series, as_series, group_by_patient, series_of_patients
from jointnet.data.init.roles import find_roles
from jointnet.data.init.text import description_text, main_meaning
from jointnet.data.init.values import Meaning
from jointnet.data.patterns import literal_length, match
from jointnet.errors import DataError
from jointnet.patient_names import in_natural_order

COVERED = 0.5
"""Least share of a folder's scans that belong to patients of a convention, for the folder to be of that convention."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        folder: the folder.
        found: its files.
        headers: their headers.
        preset: the convention that it follows, or None.
        files: path by patient and role, patients in natural order.
        content: what the files hold.
        unsure: what is doubtful, each a sentence.
        questions: what could not be told, each a sentence that names the option that tells it.
        text: text of the proposed `dataset.toml`.
    """

    folder: Path
    found: Found
    headers: Headers
    preset: str | None
    files: Mapping[str, Mapping[str, str]]
    content: Findings
    unsure: tuple[str, ...]
    questions: tuple[str, ...]
    text: str

    @property
    def unused(self) -> dict[str, int]:
        """The number of scans that no pattern matches, by their pattern, or by their path if they are no patient's."""
        used = {path for own in self.files.values() for path in own.values()}
        rest = [path for path in self.found.scans if path not in used]
        named = {
            path: pattern for pattern, own in series_of_patients(rest, self.files).items() for path in own.values()
        }
        return Counter(named.get(path, path) for path in rest)

    @property
    def needs_no_description(self) -> bool:
        """Whether the folder is in the challenge's layout with nothing to add."""
        return self.preset == MSCMRSEG and len([line for line in self.text.splitlines() if " = " in line]) == 2


def survey(folder: Path, answers: Answers) -> Survey:
    """Return what a folder holds.

    Raises:
        DataError: if there is no such folder, or no scan in it.
    """
    found = find_files(folder)
    if not found.scans:
        raise DataError(f"{folder}: must hold scans in NIfTI files (.nii, .nii.gz), got {others_text(found)}")
    headers = Headers(found.scans)
    preset = None if answers.patterns else _preset(found)
    fixed = {} if preset is None else preset_content(preset)
    patterns = {**fixed.get("files", {}), **answers.patterns}
    series = _series(found, patterns)
    labels = label_patterns(series, headers)
    roles = find_roles(series, labels, pairs_on_one_grid(series, labels, headers), patterns)
    files = _files(found, roles.patterns)
    content = find_content(files, headers, answers, _fixed_values(fixed))
    if preset is not None and not _overrides(content, fixed):
        preset, fixed = None, {}
    text = description_text(
        folder.resolve().name,
        {role: own for role, own in roles.patterns.items() if own != fixed.get("files", {}).get(role)},
        content,
        preset,
        _fixed_values(fixed),
        fixed.get("cine", {}).get("frame"),
    )
    return Survey(
        folder,
        found,
        headers,
        preset,
        files,
        content,
        (*roles.unsure, *content.unsure),
        (*roles.questions, *content.questions),
        text,
    )


def _series(found: Found, patterns: Mapping[str, str]) -> tuple[Series, ...]:
    """Return the series of the files; those of the given patterns, and of their patients, if there are any."""
    if not patterns:
        return group_by_patient(found.scans)
    files = _files(found, patterns)
    given = {
        pattern: {name: own[role] for name, own in files.items() if role in own} for role, pattern in patterns.items()
    }
    used = {path for own in files.values() for path in own.values()}
    rest = series_of_patients([path for path in found.scans if path not in used], files)
    return as_series(given | rest)


def _files(found: Found, patterns: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the path by patient and role, patients in natural order. Of patterns that fit, the longest counts."""
    files: dict[str, dict[str, str]] = {}
    roles = sorted((role for role in ROLES if role in patterns), key=lambda role: -literal_length(patterns[role]))
    for path in found.scans:
        fits = ((role, match(patterns[role], path)) for role in roles)
        role, matched = next(((role, one) for role, one in fits if one is not None), ("", None))
        if matched is not None:
            files.setdefault(matched[0], {}).setdefault(role, path)
    ordered = {patient: files[patient] for patient in in_natural_order(files)}
    return {patient: {role: own[role] for role in ROLES if role in own} for patient, own in ordered.items()}


def _preset(found: Found) -> str | None:
    """Return the convention whose names the files have, or None."""
    matched: dict[str, int] = {}
    for name in presets():
        patterns = preset_content(name)["files"]
        files = _files(found, patterns)
        scans = [role for role in SCANS if role in patterns]
        roles = {role for own in files.values() for role in own}
        if roles.issuperset(scans) and (len(scans) == len(SCANS) or roles - set(SCANS)):
            used = {path for own in files.values() for path in own.values()}
            near = series_of_patients([path for path in found.scans if path not in used], files)
            used |= {path for own in near.values() for path in own.values()}
            if len(used) >= COVERED * len(found.scans):
                matched[name] = sum(len(own) for own in files.values())
    return max(matched, key=lambda name: matched[name], default=None)


def _fixed_values(fixed: Mapping[str, Any]) -> Meaning | None:
    """Return the label values that a convention fixes, or None."""
    table = {key: tuple(own) if isinstance(own, list) else (own,) for key, own in fixed.get("labels", {}).items()}
    return values_given(table) if table else None


def _overrides(content: Findings, fixed: Mapping[str, Any]) -> bool:
    """Return whether the label values found name all that a convention names, so that none of its values is left."""
    known = _fixed_values(fixed)
    if known is None or not content.labels:
        return True
    meant = main_meaning(content)
    return known.structures.keys() <= meant.structures.keys() and bool(known.scar) <= bool(meant.scar)


def others_text(found: Found) -> str:
    """Return the number of other files by suffix."""
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.others.items())) or "no file"
