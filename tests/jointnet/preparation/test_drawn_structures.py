import numpy as np
from scans import easy_patients, pair, write_patient

from jointnet.preparation.drawn_structures import drawn_structures
from jointnet.preparation.patient_files import PatientFiles
from jointnet.preparation.prepared_patient import prepare_patient
from jointnet.structures import CLASS_INDEX


def test_a_structure_is_drawn_where_any_slice_shows_it():
    labels = np.zeros((3, 2, 4, 4), np.uint8)
    labels[2, 0, 1, 1], labels[0, 1, 2, 2] = CLASS_INDEX["rv"], CLASS_INDEX["lv"]
    assert drawn_structures(labels).tolist() == [[False, False, True], [True, False, False]]


def test_nothing_is_labelled_in_a_scan_without_a_segmentation(tmp_path):
    paths = write_patient(tmp_path, 1, *pair())
    files = PatientFiles("1", paths["cine"], paths["lge"], lge_label=paths["lge_label"])
    assert drawn_structures(prepare_patient(files).labels).tolist() == [[False] * 3, [True] * 3]


def test_all_is_labelled_in_a_patient_that_shows_all(tmp_path):
    (patient,) = easy_patients(tmp_path, 1)
    assert patient.labelled().tolist() == [[True] * 3] * 2
