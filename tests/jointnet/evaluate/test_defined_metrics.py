"""Data are refused before training exactly if the objective would be undefined."""

import math
from itertools import combinations

import numpy as np
import pytest
from scans import heart, prepared, whole_field

from jointnet.evaluate.aggregation import ENDPOINTS, measured_endpoints, registration_ratio
from jointnet.evaluate.metrics import defined_metrics, labelled_structures, undefined_metric_errors
from jointnet.evaluate.rows import evaluate
from jointnet.structures import CLASS_INDEX, STRUCTURES


def labels_of(*slices):
    """Return labels (slice, 2, row, column) from tuples (structures of cine, of LGE, LGE's shift in mm) per slice."""
    stacked = []
    for cine, lge, shift_mm in slices:
        pair = heart(), heart((shift_mm, 0))
        shown = [[0, *(CLASS_INDEX[name] for name in names)] for names in (cine, lge)]
        stacked.append(np.stack([np.where(np.isin(one, kept), one, 0) for one, kept in zip(pair, shown, strict=True)]))
    return np.stack(stacked).astype(np.uint8)


ALL, NO_RV, RV = STRUCTURES, ("lv", "myo"), ("rv",)
PATIENTS = {
    1: labels_of((ALL, ALL, 4.5), (ALL, ALL, 3.0)),
    2: labels_of((NO_RV, NO_RV, 4.5)),
    3: labels_of((RV, RV, 4.5)),
    4: labels_of((ALL, NO_RV, 4.5), (NO_RV, ALL, 4.5)),  # no slice shows the RV in both
    5: labels_of((ALL, ALL, 0.0)),
    6: labels_of((ALL, ALL, 0.0), (RV, RV, 3.0)),
}


@pytest.mark.parametrize("numbers", [c for n in (1, 2, 3) for c in combinations(PATIENTS, n)], ids=str)
def test_patients_are_refused_exactly_where_the_objective_has_no_value(tmp_path, numbers):
    patients = [prepared(tmp_path, number, PATIENTS[number]) for number in numbers]
    found = {patient.patient: defined_metrics(patient.labels(), patient.field()) for patient in patients}
    errors = undefined_metric_errors("--val: patients", found, "measured", STRUCTURES)
    rows = evaluate(None, patients)
    complete = measured_endpoints(rows) == ENDPOINTS
    assert bool(errors) == (not complete or math.isnan(registration_ratio(rows)))
    who = "patient " if len(numbers) == 1 else "patients "
    assert all(f"slice of {who}{', '.join(map(str, numbers))}" in error for error in errors)


def test_structures_are_named_and_what_is_only_learned_need_not_be_apart():
    found = {str(number): defined_metrics(labels, whole_field(labels)) for number, labels in PATIENTS.items()}
    assert [labelled_structures(patient) for patient in found.values()] == [ALL, NO_RV, RV, NO_RV, ALL, ALL]
    assert undefined_metric_errors("--train: patients", {"2": found["2"], "4": found["4"]}, "learned", STRUCTURES) == [
        "--train: patients must show rv in both segmentations of a slice, wholly in the common field; no slice of "
        "patients 2, 4 does, so that rv cannot be learned; add patients or choose others (--seed changes the draw)"
    ]
    assert undefined_metric_errors("--train: patients", {"5": found["5"]}, "learned", STRUCTURES) == []
    (error,) = undefined_metric_errors("--val: patients", {"5": found["5"]}, "measured", STRUCTURES)
    assert (
        "cd_mm of lv and asd_mm of lv and asd_mm of myo and cd_mm of rv and asd_mm of rv is 0 in every slice" in error
    )
    (error,) = undefined_metric_errors("--val: patients", {"6": found["6"]}, "measured", STRUCTURES)
    assert "LGE; cd_mm of lv and asd_mm of lv and asd_mm of myo is 0 in every slice of patient 6, so" in error
    assert len(undefined_metric_errors("--val: patients", {"2": found["2"]}, "measured", STRUCTURES)) == 1


@pytest.mark.parametrize(
    ("numbers", "structures", "lacking"),
    [
        ((2,), NO_RV, None),
        ((2, 4), NO_RV, None),
        ((3,), RV, None),
        ((3,), NO_RV, "lv and myo"),
        ((2, 3), ALL, None),  # each structure in one patient at least
        ((2, 4), ALL, "rv"),
        ((1,), ("lv",), None),
    ],
)
def test_only_the_structures_of_the_data_must_be_measurable(numbers, structures, lacking):
    found = {str(number): defined_metrics(PATIENTS[number], whole_field(PATIENTS[number])) for number in numbers}
    for purpose in ("learned", "measured"):
        errors = undefined_metric_errors("--val: patients", found, purpose, structures)
        assert len(errors) == (lacking is not None)
        assert all(f"must show {lacking} in both segmentations" in error for error in errors)
