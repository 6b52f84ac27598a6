from pathlib import Path

import pytest

from jointnet.data.patient_roles import not_drawn_text, roles_of
from jointnet.preparation.patient_files import PatientFiles
from jointnet.structures import STRUCTURES

SCAN = Path("scan.nii.gz")


def patient(name, cine=True, lge=True, unlabelled=()):
    return PatientFiles(
        name, SCAN, SCAN, SCAN if cine else None, SCAN if lge else None, unlabelled=frozenset(unlabelled)
    )


def all_of(scan):
    return [(scan, name) for name in STRUCTURES]


@pytest.mark.parametrize(
    ("files", "structures", "role"),
    [
        (patient("p"), STRUCTURES, "whole"),
        (patient("p", unlabelled=[("cine", "rv")]), STRUCTURES, "whole"),
        (patient("p", unlabelled=[("cine", "rv"), ("lge", "rv")]), STRUCTURES, "whole"),
        (patient("p", unlabelled=[("cine", "rv"), ("lge", "lv"), ("lge", "myo")]), STRUCTURES, "partly"),
        (patient("p", unlabelled=[("cine", "lv"), ("lge", "rv")]), ("lv", "rv"), "partly"),
        (patient("p", unlabelled=[("cine", "rv")]), ("rv",), "partly"),
        (patient("p", cine=False), STRUCTURES, "partly"),
        (patient("p", lge=False), STRUCTURES, "partly"),
        (patient("p", unlabelled=all_of("lge")), STRUCTURES, "partly"),
        (patient("p", lge=False, unlabelled=all_of("cine")), STRUCTURES, "unlabelled"),
        (patient("p", cine=False, lge=False), STRUCTURES, "unlabelled"),
    ],
)
def test_who_can_be_what_follows_from_the_labels(files, structures, role):
    roles = roles_of([files], structures)
    assert {name: getattr(roles, name) for name in roles._fields} == {
        name: ("p",) if name == role else () for name in roles._fields
    }


def test_a_text_lists_who_can_only_train_and_who_is_left_unused():
    assert roles_of([patient("a"), patient("b")]).text() == ()
    found = roles_of(
        [patient("a"), patient("b", lge=False), patient("c", cine=False, lge=False), patient("d", cine=False)]
    )
    assert found.text() == (
        "2 patients can only train, and only a model that segments, because not both scans are labelled: [b, d]",
        "1 patient is left unused, because nothing is labelled (see --unlabelled of jointnet.train and study.run): [c]",
    )
    assert roles_of([patient("b", lge=False)]).text()[0].startswith("1 patient can only train, and")
    assert roles_of([patient(name, False, False) for name in "cd"]).text()[0].startswith("2 patients are left unused")


def test_structures_that_are_not_drawn_in_some_patients_are_named():
    of_both, of_lge = [("cine", "rv"), ("lge", "rv")], [("lge", "rv"), ("lge", "lv")]
    files = [patient("a"), patient("b", unlabelled=of_both), patient("c", unlabelled=of_lge)]
    assert not_drawn_text([*files, patient("d", lge=False, unlabelled=of_lge)]) == (
        "lv is not drawn in 1 patient, whose other structures count: [c]",
        "rv is not drawn in 2 patients, whose other structures count: [b, c]",
    )
    assert not_drawn_text(files, ("myo",)) == ()
