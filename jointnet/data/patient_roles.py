"""Which patients of a folder can be trained on, and which can be validated and tested on, by their labels.

A training learns a scan's segmentation from that scan's labels, and registration from structures that both scans'
labels have. Validation and test measure registration, so they need both.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jointnet.patient_names import names_text
from jointnet.preparation.patient_files import PatientFiles
from jointnet.structures import STRUCTURES


class Roles(NamedTuple):
    """The patients of a folder by their labels, in the folder's order.

    Attributes:
        whole: a structure is labelled in both scans. They can train, validate and test.
        partly: only one scan is labelled, or the scans have no structure in common. They can only train, and only a
            model that segments.
        unlabelled: nothing is labelled. They can only take part with pseudo-labels.
    """

    whole: tuple[str, ...]
    partly: tuple[str, ...]
    unlabelled: tuple[str, ...]

    def text(self) -> tuple[str, ...]:
        """Return a sentence about each part with limits; none if all patients can train, validate and test."""
        lines = []
        if self.partly:
            lines.append(
                f"{_patients(self.partly)} can only train, and only a model that segments, because not both scans are "
                f"labelled: {names_text(self.partly)}"
            )
        if self.unlabelled:
            lines.append(
                f"{_patients(self.unlabelled)} {'is' if len(self.unlabelled) == 1 else 'are'} left unused, because "
                f"nothing is labelled (see --unlabelled of jointnet.train and study.run): {names_text(self.unlabelled)}"
            )
        return tuple(lines)


def roles_of(patients: Iterable[PatientFiles], structures: Sequence[str] = STRUCTURES) -> Roles:
    """Return the patients by their labels, from the files and their description. No file is opened.

    Args:
        patients: the files of each patient.
        structures: the structures of the data.
    """
    parts: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for files in patients:
        labelled = [
            {name for name in structures if label is not None and (scan, name) not in files.unlabelled}
            for scan, label in (("cine", files.cine_label), ("lge", files.lge_label))
        ]
        parts[0 if labelled[0] & labelled[1] else 1 if labelled[0] or labelled[1] else 2].append(files.patient)
    return Roles(*(tuple(names) for names in parts.values()))


def not_drawn_text(patients: Iterable[PatientFiles], structures: Sequence[str] = STRUCTURES) -> tuple[str, ...]:
    """Return a sentence about each structure that a description says is not drawn in some labelled scans."""
    lacking: dict[str, list[str]] = {name: [] for name in structures}
    for files in patients:
        labelled = [scan for scan, label in (("cine", files.cine_label), ("lge", files.lge_label)) if label is not None]
        for name in structures:
            if any((scan, name) in files.unlabelled for scan in labelled):
                lacking[name].append(files.patient)
    return tuple(
        f"{name} is not drawn in {_patients(names)}, whose other structures count: {names_text(names)}"
        for name, names in lacking.items()
        if names
    )


def _patients(names: Sequence[str]) -> str:
    return f"{len(names)} patient{'' if len(names) == 1 else 's'}"
