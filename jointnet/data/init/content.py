"""What the content of the files adds to a description: label values, structures, frame, and what is doubtful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jointnet.data.init.look import MOST_COMPARED, Headers, all_have_info, read_labels, spread
from jointnet.data.init.roles import SCANS
from jointnet.data.init.values import MOST_VALUES, Meaning, meaning, regions
from jointnet.errors import DataError
from jointnet.preparation.scan_file import ScanHeader
from jointnet.structures import STRUCTURE_TITLES, STRUCTURES

FRAMES_COMPARED = 3
"""Number of 4D label files whose frames are counted."""
MOST_FRAMES = 60
MOST_NAMED = 6
"""Number of patients that a remark names."""


@dataclass(frozen=True)
class Answers:
    """What the user says.

    Attributes:
        patterns: pattern of the files by role.
        values: label values by structure, with `ignore` and `scar`; empty if not given.
        frame: frame of a 4D cine, counted from 0, or `ed`; None if not given.
    """

    patterns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    frame: int | str | None = None


@dataclass(frozen=True)
class ScanLabels:
    """The label files of a scan.

    Attributes:
        held: label values by patient.
        meaning: what the values stand for.
    """

    held: Mapping[str, frozenset[int]]
    meaning: Meaning

    def lacking(self, structure: str) -> list[str]:
        """Return the patients whose label file does not hold a structure."""
        values = set(self.meaning.structures.get(structure, ()))
        return [patient for patient, held in self.held.items() if not held & values]


@dataclass(frozen=True)
class Findings:
    """What of a description follows from the files' content.

    Attributes:
        labels: the labels by scan, for scans with label files.
        structures: the structures that the labels of both scans hold.
        unlabelled: patients by scan ("" for both) and structure whose label file lacks a structure that others hold.
        frame: frame of a 4D cine, counted from 0, or `ed`; None for 3D cines.
        unsure: what is doubtful, each a sentence.
        questions: what could not be told, each a sentence that names the option that tells it.
    """

    labels: Mapping[str, ScanLabels]
    structures: tuple[str, ...]
    unlabelled: Mapping[tuple[str, str], tuple[str, ...]]
    frame: int | str | None
    unsure: tuple[str, ...]
    questions: tuple[str, ...]


def find_content(
    files: Mapping[str, Mapping[str, str]], headers: Headers, answers: Answers, known: Meaning | None = None
) -> Findings:
    """Return what the files hold.

    Args:
        files: path in the folder by patient and role.
        headers: the headers of the files.
        answers: what the user says.
        known: the label values that a convention fixes, if any.
    """
    unsure: list[str] = []
    questions: list[str] = []
    frame = _frame(files, headers, answers, unsure, questions)
    labels: dict[str, ScanLabels] = {}
    for scan in SCANS:
        paths = {patient: own[f"{scan}_label"] for patient, own in files.items() if f"{scan}_label" in own}
        read = _LabelReader(paths, headers, frame if scan == "cine" and isinstance(frame, int) else 0)
        held = read.held(unsure)
        if lacking := [patient for patient, own in files.items() if scan in own and patient not in paths]:
            unsure.append(f"labels of {scan}: no file for {_listed(lacking)}; these scans count as not labelled")
        if held:
            meant = (
                values_given(answers.values) if answers.values else _told(scan, held, read, known, unsure, questions)
            )
            labels[scan] = ScanLabels(held, meant)
    held_by = {
        name: [scan for scan, one in labels.items() if len(one.lacking(name)) < len(one.held)] for name in STRUCTURES
    }
    structures = tuple(name for name, scans in held_by.items() if scans and len(scans) == len(labels))
    for name, scans in held_by.items():
        if scans and name not in structures and not questions:
            unsure.append(f"only the labels of {scans[0]} hold the {STRUCTURE_TITLES[name]}: not among the structures")
    unlabelled = {} if questions else _unlabelled(structures, labels, unsure)
    return Findings(labels, structures, unlabelled, frame, tuple(unsure), tuple(questions))


class _LabelReader:
    """Reads the label files of a scan: path by patient, and the frame of 4D files."""

    def __init__(self, paths: Mapping[str, str], headers: Headers, frame: int) -> None:
        self.paths, self.headers, self.frame = paths, headers, frame

    def __call__(self, patient: str) -> NDArray[np.int64] | None:
        """Return the label values (I, J, K) of a patient; None if the file is invalid."""
        header = self.headers.frame(self.paths[patient], self.frame)
        try:
            return None if header is None else read_labels(header)
        except DataError:
            return None

    def held(self, unsure: list[str]) -> dict[str, frozenset[int]]:
        """Return the label values by patient of the readable files."""
        arrays = ((patient, self(patient)) for patient in self.paths)
        held = {patient: frozenset(np.unique(one).tolist()) - {0} for patient, one in arrays if one is not None}
        if unread := [self.paths[patient] for patient in self.paths if patient not in held]:
            unsure.append(f"{len(unread)} label files cannot be read, such as {unread[0]}; `check` says why")
        return held


def _frame(
    files: Mapping[str, Mapping[str, str]],
    headers: Headers,
    answers: Answers,
    unsure: list[str],
    questions: list[str],
) -> int | str | None:
    """Return the frame of 4D cines; if it is open, add a question."""
    several = {role: _several_frames(files, role, headers) for role in ("cine", "cine_label")}
    if not several["cine"]:
        return None
    if answers.frame is not None:
        return answers.frame
    if all_have_info(headers.files[path] for path in several["cine"]):
        return "ed"
    labelled = {_most_labelled(path, headers) for path in spread(several["cine_label"], FRAMES_COMPARED)}
    if len(labelled) == 1:
        (frame,) = labelled
        unsure.append(
            f"frame {frame} (from 0) of the cine's 4D label files holds the most labels: taken as end diastole"
        )
        return frame
    questions.append(
        f"--frame: which frame of the 4D cines (such as {several['cine'][0]}) do the labels and LGE belong to? "
        "Give its number, counted from 0; most exports begin with end diastole, 0"
    )
    return None


def _several_frames(files: Mapping[str, Mapping[str, str]], role: str, headers: Headers) -> list[str]:
    paths = [own[role] for own in files.values() if role in own]
    return [path for path in paths if (header := headers[path]) is not None and header.frames > 1]


def _most_labelled(path: str, headers: Headers) -> int:
    """Return the frame of a 4D label file that holds the most labelled voxels, counted from 0."""
    first = headers[path]
    frames = range(0 if first is None else min(first.frames, MOST_FRAMES))
    counts = [_labelled_voxels(headers.frame(path, frame)) for frame in frames]
    return int(np.argmax(counts)) if counts else 0


def _labelled_voxels(header: ScanHeader | None) -> int:
    try:
        return 0 if header is None else int(np.count_nonzero(read_labels(header)))
    except DataError:
        return 0


def _told(
    scan: str,
    held: Mapping[str, frozenset[int]],
    read: _LabelReader,
    known: Meaning | None,
    unsure: list[str],
    questions: list[str],
) -> Meaning:
    """Return what the values of a scan's labels stand for, from some patients that hold all values between them."""
    values = set().union(*held.values())
    seen = spread(list(held), MOST_COMPARED)
    for value in sorted(values)[:MOST_VALUES]:
        if not any(value in held[patient] for patient in seen):
            seen.append(next(patient for patient in held if value in held[patient]))
    meant = meaning(regions([array for patient in seen if (array := read(patient)) is not None]))
    if known is not None and values <= _named(known) and (not meant.told or _agree(meant, known)):
        return known
    if not meant.told:
        questions.append(
            f"--values: what do the labels of {scan} stand for? {meant.unsure[0]}. "
            "Say it for both scans, such as: --values lv=1 myo=2,3 rv=4"
        )
        return meant
    unsure += [f"labels of {scan}: {line}" for line in meant.unsure]
    for value in meant.ignored:
        unsure.append(f"labels of {scan}: {value} occurs in {_listed([one for one in held if value in held[one]])}")
    return meant


def _agree(meant: Meaning, known: Meaning) -> bool:
    """Return whether the structures found are parts of those that a convention names."""
    return all(set(values) <= set(known.structures.get(name, ())) for name, values in meant.structures.items())


def _unlabelled(
    structures: Sequence[str], labels: Mapping[str, ScanLabels], unsure: list[str]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the patients by scan and structure whose label file lacks a structure that others hold."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for name in structures:
        lacking = {scan: one.lacking(name) for scan, one in labels.items()}
        both = [patient for patient in lacking.get("cine", ()) if patient in lacking.get("lge", ())]
        for where, patients in (
            ("", both),
            *((scan, [one for one in own if one not in both]) for scan, own in lacking.items()),
        ):
            if patients:
                found[where, name] = tuple(patients)
                unsure.append(
                    f"labels of {where or 'both scans'}: no {STRUCTURE_TITLES[name]} in {_listed(patients)}: taken as "
                    "not drawn (unlabelled), since scans rarely miss it; remove the line if it is truly absent"
                )
    return found


def values_given(values: Mapping[str, tuple[int, ...]]) -> Meaning:
    """Return the meaning of values by structure, `ignore` and `scar`."""
    structures = {name: own for name, own in values.items() if name in STRUCTURES}
    return Meaning(structures, values.get("scar", ()), values.get("ignore", ()))


def _named(meant: Meaning) -> set[int]:
    return {value for own in meant.structures.values() for value in own} | set(meant.ignored)


def _listed(patients: Sequence[str]) -> str:
    """Return the number of patients and the names of the first."""
    more = ", ..." if len(patients) > MOST_NAMED else ""
    return f"{len(patients)} patient{'s' * (len(patients) > 1)} ({', '.join(patients[:MOST_NAMED])}{more})"
