"""Patients without labels in a study: the rules for the teacher of their pseudo-labels, and labels predicted once.

The labels are kept in the study's folder, so that all trials, and a continued study, learn from the same ones.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jointnet.errors import SettingsError
from jointnet.model_file import load_model
from jointnet.model_path import model_file
from jointnet.patient_names import in_natural_order, names_text
from jointnet.preparation.cache import CachedPatient
from jointnet.system.atomic_file import write_whole
from jointnet.system.quota import torch_threads
from jointnet.train.pseudo_labels import PseudoLabelledPatient, pseudo_label, seen_patients, teacher_errors
from study.plan.plan import Plan, PseudoLabels
from study.plan.splits import Split
from study.selection.held_out import device_here
from study.store_names import PSEUDO_LABELLED_SLICES, TEACHER_PATIENTS, TEACHER_SHA256, UNLABELLED_PATIENTS
from study.trials.progress import StudyProgress

PSEUDO_LABELS_FILE = "pseudo_labels.npz"
"""File in the folder of a study with patients without labels."""


@dataclass(frozen=True)
class PreparedPatients:
    """What the trainings of a study learn from and validate on.

    Attributes:
        labelled: the prepared training and validation patients, by name.
        pseudo_labelled: the patients without labels, which every model that segments is trained on too.
    """

    labelled: Mapping[str, CachedPatient]
    pseudo_labelled: tuple[PseudoLabelledPatient, ...] = ()


def plan_pseudo_labels(
    teacher: Path, unlabelled: Sequence[str], splits: Iterable[Split], models: Sequence[str] = ()
) -> PseudoLabels:
    """Return the patients who get pseudo-labels and the teacher, after a check of the teacher's own patients.

    Args:
        teacher: the model file or its folder.
        unlabelled: the patients without labels.
        splits: the splits of all folds.
        models: the models of the study's arms, whose code may be run where the teacher's file names it.

    Raises:
        InputError: if the file is missing or damaged.
        SettingsError: if the teacher does not segment, or was trained on an unlabelled patient or on one that is
            validated or tested on.
    """
    path = model_file(teacher).absolute()
    model = load_model(path, allow_code=models)
    seen = seen_patients(model)
    held_out = {name for split in splits for name in (*split.validation, *split.test)}
    errors = teacher_errors(model, unlabelled)
    if overlap := in_natural_order(held_out & set(seen)):
        errors.append(
            "--teacher: must not have been trained or validated on validation or test patients of any split or fold, "
            f"got {names_text(overlap)}; train it on patients that --patients leaves out, or that --splits-file only "
            "trains on"
        )
    if errors:
        raise SettingsError(errors)
    return PseudoLabels(tuple(unlabelled), path, hashlib.sha256(path.read_bytes()).hexdigest(), tuple(seen))


def predicted_once(
    plan: Plan, prepared: Mapping[str, CachedPatient], progress: StudyProgress
) -> tuple[PseudoLabelledPatient, ...]:
    """Return the study's patients without labels with their pseudo-labels, predicted where they are not kept yet.

    Raises:
        SettingsError: if no slice has pseudo-labels, so that nothing could be learned from these patients.
    """
    planned = plan.data.pseudo_labels
    if planned is None:
        return ()
    patients, path = [prepared[name] for name in planned.patients], plan.folder / PSEUDO_LABELS_FILE
    labelled = _kept(path, patients)
    if not labelled:
        device = device_here(plan.resources.device)
        progress.phase("predicting the pseudo-labels")
        teacher = load_model(planned.teacher, device, [arm.model for arm in plan.arms])
        with torch_threads(plan.resources.threads):
            labelled = tuple(pseudo_label(teacher.model, patients, device))
        if not any(patient.labelled_slices for patient in labelled):
            raise SettingsError(
                "--teacher: its segmentations of both scans must agree in at least one slice of the unlabelled "
                f"patients, got {used_slices(labelled)}; train it longer or on more patients"
            )
        _keep(path, labelled)
    progress.note(f"Pseudo-labels in {used_slices(labelled)} slices of {len(labelled)} unlabelled patients.")
    return labelled


def used_slices(labelled: Iterable[PseudoLabelledPatient]) -> str:
    """Return how many slices have pseudo-labels, such as `43 of 52`."""
    counts = [(patient.labelled_slices, patient.prepared.slices) for patient in labelled]
    used, every = map(sum, zip(*counts, strict=True))
    return f"{used} of {every}"


def pseudo_label_tags(plan: Plan, labelled: Sequence[PseudoLabelledPatient]) -> dict[str, str]:
    """Return the tags of all runs of a study with pseudo-labels; none for another."""
    planned = plan.data.pseudo_labels
    if planned is None:
        return {}
    return {
        UNLABELLED_PATIENTS: str(len(planned.patients)),
        PSEUDO_LABELLED_SLICES: used_slices(labelled),
        TEACHER_SHA256: planned.sha256,
        TEACHER_PATIENTS: str(len(planned.seen)),
    }


def _keep(path: Path, labelled: Sequence[PseudoLabelledPatient]) -> None:
    packed = io.BytesIO()
    arrays = {str(place): patient.predicted for place, patient in enumerate(labelled)}
    np.savez_compressed(packed, structures=np.array(labelled[0].structures), **arrays)  # type: ignore[arg-type]
    write_whole(path, packed.getvalue())


def _kept(path: Path, patients: Sequence[CachedPatient]) -> tuple[PseudoLabelledPatient, ...]:
    """Return the patients with the labels of a file; none where it is missing, damaged or of other scans."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            structures = tuple(map(str, arrays["structures"]))
            predicted = [arrays[str(place)] for place in range(len(patients))]
    except Exception:  # a damaged archive can raise any exception
        return ()
    if any(own.shape != patient.labels().shape for own, patient in zip(predicted, patients, strict=True)):
        return ()
    pairs = zip(patients, predicted, strict=True)
    return tuple(PseudoLabelledPatient(patient, own, structures) for patient, own in pairs)
