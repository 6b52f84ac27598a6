"""The description of a folder: `dataset.toml` says which files are which, and what the label values mean.

A folder without the file has the layout of MS-CMRSeg 2019. All errors of a description are raised together, each with
the file, the key, the rule and the value.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from jointnet.data.patterns import pattern_errors
from jointnet.errors import SettingsError, short_repr
from jointnet.patient_names import name_error, normal_name
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.structures import STRUCTURES
from jointnet.system.toml_file import parse_toml, read_toml

FILE = "dataset.toml"
SCANS = ("cine", "lge")
ROLES = ("cine", "lge", "cine_label", "lge_label")
"""What a file of a patient may be."""
MSCMRSEG = "mscmrseg"
LARGEST_VALUE = 2**24
"""Largest label value: whole numbers up to it are exact in single precision."""
LARGEST_FRAME = 100_000
LONGEST_NAME = 200
TABLES: Mapping[str, tuple[str, ...]] = {
    "": ("name", "preset", "structures", "unlabelled", "files", "labels", "cine"),
    "files": ROLES,
    "labels": (*STRUCTURES, "ignore", "scar", *SCANS),
    "labels.cine": (*STRUCTURES, "ignore", "scar"),
    "labels.lge": (*STRUCTURES, "ignore", "scar"),
    "cine": ("frame",),
    "unlabelled": (*STRUCTURES, *SCANS),
    "unlabelled.cine": STRUCTURES,
    "unlabelled.lge": STRUCTURES,
}
"""The keys of each table."""


@dataclass(frozen=True)
class Dataset:
    """The description of a folder's files.

    Attributes:
        name: the folder's name for readers; "" if it has none.
        patterns: pattern of the file names by role, relative to the folder; a segmentation may have none.
        cine_values, lge_values: the label values of the manual segmentations. The values of a structure that is not in
            `structures` count as background.
        structures: the structures that are learned and measured, in the order of `structures.STRUCTURES`.
        unlabelled: scan, structure and patient of each structure that was not drawn.
        frame: the frame of a 4D cine, counted from 0; `ed` for the end-diastolic one, as Info.cfg or a table states.
        file: the file of the description; None for a folder without one.
    """

    name: str
    patterns: Mapping[str, str]
    cine_values: LabelValues = CHALLENGE_VALUES
    lge_values: LabelValues = CHALLENGE_VALUES
    structures: tuple[str, ...] = STRUCTURES
    unlabelled: frozenset[tuple[str, str, str]] = frozenset()
    frame: int | Literal["ed"] | None = None
    file: Path | None = field(default=None, compare=False)

    @property
    def in_challenge_layout(self) -> bool:
        """Whether the files are found by the challenge's names, in any subfolder."""
        return dict(self.patterns) == preset_content(MSCMRSEG)["files"]

    def summary(self) -> str:
        """Return a line about the description: name, file, structures and frame."""
        name = f"{self.name}, " if self.name else ""
        frame = "" if self.frame is None else f"; frame {self.frame} of the cine"
        return f"{name}described by {self.file}; structures {', '.join(self.structures)}{frame}"

    def unlabelled_of(self, patient: str) -> frozenset[tuple[str, str]]:
        """Return scan and structure of each structure that was not drawn in a patient."""
        return frozenset((scan, structure) for scan, structure, name in self.unlabelled if name == patient)


def load_dataset(folder: Path, file: Path | None = None) -> Dataset:
    """Return the description of a folder.

    Args:
        folder: the folder of the scans.
        file: the file of the description; `dataset.toml` in the folder if None and there is one.

    Raises:
        SettingsError: with all errors of the description.
    """
    if file is None:
        file = folder / FILE
        if not os.path.lexists(file):
            return Dataset("", preset_content(MSCMRSEG)["files"])
    return dataset_from_content(read_toml(file, str(file)), file)


def presets() -> tuple[str, ...]:
    """Return the names of the presets."""
    shipped = (item.name for item in (resources.files("jointnet.data") / "presets").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in shipped if name.endswith(".toml")))


def preset_content(name: str) -> dict[str, Any]:
    """Return what a preset fixes, as nested tables like those of a `dataset.toml`."""
    content = (resources.files("jointnet.data") / "presets" / f"{name}.toml").read_bytes()
    return parse_toml(content, f"preset {name}")


def dataset_from_content(content: Mapping[str, Any], file: Path) -> Dataset:
    """Return the description that the content of a TOML file gives; `file` is named in messages.

    Raises:
        SettingsError: with all errors.
    """
    reader = _Reader(file)
    dataset = reader.dataset(content)
    if reader.errors:
        raise SettingsError(reader.errors)
    return dataset


class _Reader:
    """Reads a description and collects its errors."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.errors: list[str] = []

    def dataset(self, content: Mapping[str, Any]) -> Dataset:
        """Return the description, which is not to be used if there are errors."""
        own = self._known(content)
        preset = self._preset(own)
        whole = _merged({} if preset is None else preset_content(preset), own)
        fixed = "" if preset is None else f" (preset {preset} has none)"
        patterns = self._patterns(whole.get("files", {}), "frame" in whole.get("cine", {}), fixed)
        values = self._values(whole.get("labels", {}))
        structures = self._structures(whole, values, patterns, fixed)
        return Dataset(
            self._text(whole, "name", LONGEST_NAME) or "",
            patterns,
            _kept(values["cine"], structures),
            _kept(values["lge"], structures),
            structures,
            self._unlabelled(whole.get("unlabelled", {})),
            self._frame(whole.get("cine", {})),
            self.file,
        )

    def _add(self, key: str, rule: str, value: Any) -> None:
        self.errors.append(f"{self.file}: {key}: {rule}, got {short_repr(value)}")

    def _lacks(self, key: str, rule: str, fixed: str) -> None:
        self.errors.append(f"{self.file}: {key}: {rule}, got none{fixed}")

    def _known(self, content: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """Return the known keys with valid tables. The others are errors."""
        known = {}
        for key, value in content.items():
            dotted = f"{where}.{key}" if where else key
            if key not in TABLES[where]:
                near = difflib.get_close_matches(key, TABLES[where], 1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"the keys are {', '.join(TABLES[where])}"
                self._add(dotted, f"must be a known key; {hint}", value)
            elif dotted not in TABLES:
                known[key] = value
            elif isinstance(value, Mapping):
                known[key] = self._known(value, dotted)
            else:
                self._add(dotted, f"must be a table with keys of {', '.join(TABLES[dotted])}", value)
        return known

    def _text(self, table: Mapping[str, Any], key: str, longest: int) -> str | None:
        value = table.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.isprintable() or len(value) > longest:
            self._add(key, f"must be printable text of at most {longest} characters", value)
            return None
        return value

    def _preset(self, own: Mapping[str, Any]) -> str | None:
        name = own.get("preset")
        if name is None or (isinstance(name, str) and name in presets()):
            return name
        near = difflib.get_close_matches(name, presets(), 1) if isinstance(name, str) else []
        hint = f"; did you mean {near[0]}?" if near else ""
        self._add("preset", f"must be one of {', '.join(presets())}{hint}", name)
        return None

    def _frame(self, table: Mapping[str, Any]) -> int | Literal["ed"] | None:
        frame = table.get("frame")
        if frame is None or frame == "ed":
            return "ed" if frame == "ed" else None
        if _is_whole(frame) and 0 <= frame <= LARGEST_FRAME:
            return int(frame)
        self._add("cine.frame", f'must be a whole number from 0 to {LARGEST_FRAME}, counted from 0, or "ed"', frame)
        return None

    def _patterns(self, table: Mapping[str, Any], framed: bool, fixed: str) -> dict[str, str]:
        """Return the patterns by role, in the order of `ROLES`."""
        patterns: dict[str, str] = {}
        for role in ROLES:
            if role not in table:
                if role in SCANS:
                    self._lacks(
                        f"files.{role}", 'must be a pattern of the scans\' names, such as "{id}/scan.nii.gz"', fixed
                    )
                continue
            rules = pattern_errors(table[role], framed and role in ("cine", "cine_label"))
            for rule in rules:
                self._add(f"files.{role}", rule, table[role])
            if not rules:
                patterns[role] = table[role]
        for role, pattern in patterns.items():
            same = [other for other in patterns if other != role and patterns[other] == pattern]
            if same and not (role.endswith("_label") and same[0].endswith("_label")):
                self._add(f"files.{role}", f"must differ from files.{same[0]}", pattern)
        return patterns

    def _values(self, labels: Mapping[str, Any]) -> dict[str, LabelValues]:
        """Return the label values by scan. A table of a scan's own replaces the values of both scans."""
        tables = {"labels": labels, **{f"labels.{scan}": labels[scan] for scan in SCANS if scan in labels}}
        read = {where: self._table_values(where, own) for where, own in tables.items()}
        return {scan: read.get(f"labels.{scan}", read["labels"]) for scan in SCANS}

    def _table_values(self, where: str, own: Mapping[str, Any]) -> LabelValues:
        keys = [key for key in (*STRUCTURES, "ignore", "scar") if key in own]
        lists = {key: self._value_list(f"{where}.{key}", own[key]) for key in keys}
        structures = tuple((name, lists[name]) for name in STRUCTURES if lists.get(name))
        values = LabelValues(structures, lists.get("ignore", ()), lists.get("scar", ()))
        self._check_values(where, own, values)
        return values

    def _check_values(self, where: str, own: Mapping[str, Any], values: LabelValues) -> None:
        """Add an error for each value with two meanings, and for scar outside the myocardium."""
        first: dict[int, str] = {}
        for key, numbers in (*values.structures, ("ignore", values.ignored)):
            for number in numbers:
                if first.setdefault(number, key) != key:
                    self._add(f"{where}.{key}", f"must not hold value {number} of {where}.{first[number]}", own[key])
        if outside := set(values.scar) - set(dict(values.structures).get("myo", ())):
            rule = f"must be among the values of {where}.myo, which lacks {', '.join(map(str, sorted(outside)))}"
            self._add(f"{where}.scar", rule, own["scar"])

    def _value_list(self, key: str, value: Any) -> tuple[int, ...]:
        numbers = value if isinstance(value, list) else [value]
        valid = all(_is_whole(number) and number and abs(number) <= LARGEST_VALUE for number in numbers)
        if not valid or (not numbers and not key.endswith(("ignore", "scar"))):
            rule = f"must be a whole number or a list of them, up to {LARGEST_VALUE} in size; 0 is background"
            self._add(key, rule, value)
            return ()
        return tuple(dict.fromkeys(int(number) for number in numbers))

    def _structures(
        self, whole: Mapping[str, Any], values: Mapping[str, LabelValues], patterns: Mapping[str, str], fixed: str
    ) -> tuple[str, ...]:
        """Return the structures: those stated, or those with values in every segmented scan."""
        segmented = [scan for scan in SCANS if f"{scan}_label" in patterns]
        valued = {scan: [name for name, _ in values[scan].structures] for scan in SCANS}
        stated = whole.get("structures")
        if stated is None:
            without = [f"files.{scan}_label" for scan in segmented if not valued[scan]]
            if without and not any(": labels" in error for error in self.errors):
                rule = f"must give the values of {', '.join(STRUCTURES)} in {' and '.join(without)}"
                self._lacks("labels", rule, fixed)
            common = [name for name in STRUCTURES if all(name in valued[scan] for scan in segmented)]
            if segmented and not common and all(valued[scan] for scan in segmented):
                rule = "must give values of at least one structure in both scans"
                self._add("labels", rule, {scan: valued[scan] for scan in segmented})
            return tuple(common)
        if not (isinstance(stated, list) and stated and all(name in STRUCTURES for name in stated)):
            self._add("structures", f"must be a list of one or more of {', '.join(STRUCTURES)}", stated)
            return STRUCTURES
        for name in stated:
            if segmented and not any(name in valued[scan] for scan in segmented):
                self._add("structures", f"must be structures with values in [labels], which has none of {name}", stated)
        return tuple(name for name in STRUCTURES if name in stated)

    def _unlabelled(self, table: Mapping[str, Any]) -> frozenset[tuple[str, str, str]]:
        """Return scan, structure and patient of each structure that was not drawn."""
        named = [("", table), *((scan, table[scan]) for scan in SCANS if scan in table)]
        found = set()
        for scan, own in named:
            for structure in (name for name in STRUCTURES if name in own):
                patients, key = own[structure], f"unlabelled.{scan}.{structure}" if scan else f"unlabelled.{structure}"
                if not isinstance(patients, list) or not all(isinstance(one, str) for one in patients):
                    self._add(key, 'must be a list of patients\' names, each a text such as "case_004"', patients)
                    continue
                for patient in map(normal_name, patients):
                    if rule := name_error(patient):
                        self._add(key, f"each name {rule}", patient)
                    found |= {(one, structure, patient) for one in ([scan] if scan else SCANS)}
        return frozenset(found)


def _kept(values: LabelValues, structures: tuple[str, ...]) -> LabelValues:
    """Return label values in which those of other structures count as background."""
    dropped = [number for name, numbers in values.structures if name not in structures for number in numbers]
    kept = tuple((name, numbers) for name, numbers in values.structures if name in structures)
    scar = values.scar if "myo" in structures else ()
    return LabelValues(kept, (*values.ignored, *dropped), scar)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested tables in which each key of `changes` replaces that of `base`."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
