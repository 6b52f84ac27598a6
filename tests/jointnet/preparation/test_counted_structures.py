import numpy as np
import pytest
from scans import easy_patients, heart, pair, whole_field, write_patient

from jointnet.preparation.counted_structures import cut_structures, drawn_structures, left_out_text
from jointnet.preparation.patient_files import PatientFiles
from jointnet.preparation.prepared_patient import prepare_patient
from jointnet.structures import CLASS_INDEX, STRUCTURES

SIZE = 12


def square(structure, rows, columns):
    """Return labels (1, 2, SIZE, SIZE) with a rectangle in cine only."""
    labels = np.zeros((1, 2, SIZE, SIZE), np.uint8)
    labels[0, 0, slice(*rows), slice(*columns)] = CLASS_INDEX[structure]
    return labels


def field_of(rows, columns):
    field = np.zeros((1, SIZE, SIZE), bool)
    field[0, slice(*rows), slice(*columns)] = True
    return field


@pytest.mark.parametrize(
    ("field", "cut"),
    [
        (field_of((2, 10), (2, 10)), False),
        (field_of((4, 8), (4, 8)), True),  # the field ends with the structure
        (field_of((3, 9), (3, 9)), False),  # one pixel between
        (field_of((4, 12), (0, 12)), True),
        (field_of((0, 12), (0, 8)), True),
        (field_of((0, 12), (0, 6)), True),  # half of it is outside
        (field_of((0, 3), (0, 3)), True),  # all of it is outside
        (field_of((0, 0), (0, 0)), True),
    ],
)
def test_a_structure_is_cut_where_it_touches_or_crosses_the_edge_of_the_field(field, cut):
    labels = square("rv", (4, 8), (4, 8))
    expected = [[cut and name == "rv" for name in STRUCTURES]]
    assert cut_structures(labels, field).tolist() == expected
    assert cut_structures(labels[:, ::-1], field).tolist() == expected, "LGE cuts as cine does"


def test_a_hole_in_the_field_beside_a_corner_cuts():
    field = field_of((0, 12), (0, 12))
    field[0, 8, 8] = False
    assert cut_structures(square("lv", (4, 8), (4, 8)), field).tolist() == [[True, False, False]]
    assert cut_structures(square("lv", (4, 7), (4, 8)), field).tolist() == [[False, False, False]]


def test_the_edge_of_the_image_is_an_edge_of_the_field():
    whole = field_of((0, 12), (0, 12))
    assert cut_structures(square("myo", (0, 4), (4, 8)), whole)[0].tolist() == [False, True, False]
    assert cut_structures(square("myo", (4, 8), (8, 12)), whole)[0].tolist() == [False, True, False]
    assert not cut_structures(square("myo", (1, 4), (8, 11)), whole).any()


def test_slices_are_judged_one_by_one():
    labels = np.stack([np.stack([heart(), heart((4, 0))])] * 3)
    field = whole_field(labels)
    assert not cut_structures(labels, field).any()
    field[1, :, :100] = False  # 9 mm left of the centre: through LV and myocardium, and all of the RV
    expected = np.zeros((3, 3), bool)
    expected[1] = True
    np.testing.assert_array_equal(cut_structures(labels, field), expected)
    assert cut_structures(labels[:0], field[:0]).shape == (0, 3)
    assert not cut_structures(np.zeros_like(labels), ~field).any()


@pytest.mark.parametrize(
    ("counts", "text"), [((7, 3), "7 structures of 3 patients"), ((1, 1), "1 structure of 1 patient")]
)
def test_what_is_left_out_is_said(counts, text):
    assert left_out_text(*counts) == f"left out: {text} that the common field cuts"


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
