"""What the content of the files adds to a description: label values, structures, frame, and what is doubtful."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jointnet.data.description import SCANS
from jointnet.data.ed_frame import ed_frame, ed_table
from jointnet.data.init.label_meaning import MOST_VALUES, Meaning, meaning, regions
from jointnet.data.init.scan_files import MOST_COMPARED, ScanFiles, spread
from jointnet.structures import STRUCTURE_TITLES, STRUCTURES

FRAMES_COMPARED = 3
"""Number of 4D label files whose frames are counted."""
MOST_FRAMES = 60
MOST_NAMED = 6
"""Largest number of patients that a remark names."""
Files = Mapping[str, Mapping[str, str]]
"""The path of each file in the folder, by patient and role."""


@dataclass(frozen=True)
class Answers:
    """The user's options: pattern by role, meaning of the label values, and frame of a 4D cine, from 0 or `ed`."""

    patterns: Mapping[str, str] = field(default_factory=dict)
    meaning: Meaning | None = None
    frame: int | str | None = None


@dataclass(frozen=True)
class ScanLabels:
    """The label files of a scan: the values that they hold by patient, and the meaning of the values."""

    held: Mapping[str, frozenset[int]]
    meaning: Meaning

    def lacking(self, structure: str) -> list[str]:
        """Return the patients whose label file does not hold a structure."""
        values = set(self.meaning.structures.get(structure, ()))
        return [patient for patient, held in self.held.items() if not held & values]


@dataclass(frozen=True)
class Findings:
    """The part of a description that follows from the files' content.

    Attributes:
        labels: the labels by scan, for scans with label files.
        structures: the structures that the labels of both scans hold.
        unlabelled: patients by scan ("" for both) and structure whose label file lacks a structure that others hold.
        frame: frame of a 4D cine, counted from 0, or `ed`; None for 3D cines.
        unsure: what is doubtful, each a sentence.
        questions: what could not be determined, each a sentence that names the option that states it.
    """

    labels: Mapping[str, ScanLabels]
    structures: tuple[str, ...]
    unlabelled: Mapping[tuple[str, str], tuple[str, ...]]
    frame: int | str | None
    unsure: tuple[str, ...]
    questions: tuple[str, ...]


def find_content(files: Files, scans: ScanFiles, answers: Answers, known: Meaning | None = None) -> Findings:
    """Return what the files hold. `known` is the meaning of a convention's label values; None if it has none."""
    unsure: list[str] = []
    questions: list[str] = []
    frame = _frame(files, scans, answers.frame, unsure, questions)
    labels: dict[str, ScanLabels] = {}
    for scan in SCANS:
        paths = {patient: own[f"{scan}_label"] for patient, own in files.items() if f"{scan}_label" in own}
        of_frame = frame if scan == "cine" and isinstance(frame, int) else 0
        held = {
            patient: frozenset(np.unique(values).tolist()) - {0}
            for patient, path in paths.items()
            if (values := scans.labels(path, of_frame)) is not None
        }
        if unread := [path for patient, path in paths.items() if patient not in held]:
            unsure.append(f"{len(unread)} label files cannot be read, such as {unread[0]}; `check` says why")
        if lacking := [patient for patient, own in files.items() if scan in own and patient not in paths]:
            unsure.append(f"labels of {scan}: no file for {_listed(lacking)}; these scans count as not labelled")
        if held and answers.meaning is not None:
            labels[scan] = ScanLabels(held, answers.meaning)
        elif held:
            seen = _with_all_values(held)
            found = meaning(
                regions([array for one in seen if (array := scans.labels(paths[one], of_frame)) is not None])
            )
            labels[scan] = ScanLabels(held, _meaning_in(scan, held, found, known, unsure, questions))
    if not labels and known is None and any(f"{scan}_label" in own for own in files.values() for scan in SCANS):
        questions.append(f"{scans.folder}: must hold a segmentation that can be read, but none of them can be")
    structures = _structures(labels, unsure if not questions else [])
    unlabelled = {} if questions else _unlabelled(structures, labels, unsure)
    return Findings(labels, structures, unlabelled, frame, tuple(unsure), tuple(questions))


def _frame(
    files: Files, scans: ScanFiles, given: int | str | None, unsure: list[str], questions: list[str]
) -> int | str | None:
    """Return the frame of 4D cines; if it cannot be determined, add a question."""
    series: dict[str, dict[str, str]] = {"cine": {}, "cine_label": {}}
    for role, patient, path in (
        (role, name, own[role]) for role in series for name, own in files.items() if role in own
    ):
        if (header := scans.header(path)) is not None and header.frames > 1:
            series[role][patient] = path
    if not series["cine"] or given is not None:
        return given if series["cine"] else None
    table = ed_table(scans.folder)
    if all(ed_frame(patient, scans.files[path], table, []) is not None for patient, path in series["cine"].items()):
        return "ed"
    labels = list(series["cine_label"].values())
    labelled = {_most_labelled(path, scans) for path in spread(labels, FRAMES_COMPARED)}
    if len(labelled) == 1:
        (frame,) = labelled
        unsure.append(
            f"frame {frame} (from 0) of the cine's 4D label files holds the most labels: taken as end diastole"
        )
        return frame
    example = next(iter(series["cine"].values()))
    questions.append(
        f"--frame: which frame of the 4D cines (such as {example}) do the labels and LGE belong to? "
        "Give its number, counted from 0; most exports begin with end diastole, 0"
    )
    return None


def _most_labelled(path: str, scans: ScanFiles) -> int:
    """Return the frame of a 4D label file that holds the most labelled voxels, counted from 0."""
    first = scans.header(path)
    frames = range(1 if first is None else min(first.frames, MOST_FRAMES))
    arrays = (scans.labels(path, frame) for frame in frames)
    return int(np.argmax([0 if array is None else int(np.count_nonzero(array)) for array in arrays]))


def _with_all_values(held: Mapping[str, frozenset[int]]) -> list[str]:
    """Return some patients whose label files together hold all values."""
    seen = spread(list(held), MOST_COMPARED)
    for value in sorted(set().union(*held.values()))[:MOST_VALUES]:
        if not any(value in held[patient] for patient in seen):
            seen.append(next(patient for patient in held if value in held[patient]))
    return seen


def _meaning_in(
    scan: str,
    held: Mapping[str, frozenset[int]],
    found: Meaning,
    known: Meaning | None,
    unsure: list[str],
    questions: list[str],
) -> Meaning:
    """Return the meaning of a scan's label values: that of a convention if it fits, else what was found."""
    if known is not None and set().union(*held.values()) <= known.values:
        if not found.is_clear or found.within(known):
            return known
        unsure.append(f"labels of {scan}: the positions of the labels contradict their names; the positions are used")
    if not found.is_clear:
        questions.append(
            f"--values: what do the labels of {scan} stand for? {found.unsure[0]}. "
            "Say it for both scans, such as: --values lv=1 myo=2,3 rv=4"
        )
        return found
    unsure += [f"labels of {scan}: {line}" for line in found.unsure]
    for value in found.ignored:
        unsure.append(f"labels of {scan}: {value} occurs in {_listed([one for one in held if value in held[one]])}")
    return found


def _structures(labels: Mapping[str, ScanLabels], unsure: list[str]) -> tuple[str, ...]:
    """Return the structures that the labels of both scans hold, or those of the only scan with labels."""
    structures = []
    for name in STRUCTURES:
        holding = [scan for scan, one in labels.items() if len(one.lacking(name)) < len(one.held)]
        if holding and len(holding) == len(labels):
            structures.append(name)
        elif holding:
            unsure.append(
                f"only the labels of {holding[0]} hold the {STRUCTURE_TITLES[name]}: not among the structures"
            )
    return tuple(structures)


def _unlabelled(
    structures: Sequence[str], labels: Mapping[str, ScanLabels], unsure: list[str]
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the patients by scan and structure whose label file lacks a structure that others hold."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for name in structures:
        lacking = {scan: one.lacking(name) for scan, one in labels.items()}
        both = [patient for patient in lacking.get("cine", ()) if patient in lacking.get("lge", ())]
        alone = {scan: [one for one in own if one not in both] for scan, own in lacking.items()}
        for where, patients in {"": both, **alone}.items():
            if patients:
                found[where, name] = tuple(patients)
                unsure.append(
                    f"labels of {where or 'both scans'}: no {STRUCTURE_TITLES[name]} in {_listed(patients)}: taken as "
                    "not drawn (unlabelled), since scans rarely miss it; remove the line if it is truly absent"
                )
    return found


def _listed(patients: Sequence[str]) -> str:
    """Return the number of patients and the names of the first."""
    more = ", ..." if len(patients) > MOST_NAMED else ""
    return f"{len(patients)} patient{'s' * (len(patients) > 1)} ({', '.join(patients[:MOST_NAMED])}{more})"
