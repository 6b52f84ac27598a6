"""Which part of the names is the patient, from names alone."""

import pytest
from foreign_folders import LAYOUTS, ROLES

from jointnet.data.init.series import group_by_patient, readings, series_of_patients, words_of


def paths_of(patterns, patients):
    return [pattern.replace("{id}", patient) for pattern in patterns for patient in patients]


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "acdc"])
@pytest.mark.parametrize("count", [2, 12])
def test_the_patients_of_the_foreign_folders(name, count):
    layout = LAYOUTS[name]
    patients = [layout.name(number) for number in range(1, count + 1)]
    patterns = [*layout.files.values(), *layout.more]
    found = group_by_patient(paths_of(patterns, patients))
    # the name may have more in front: `sub-01` for `01`, unless a preset says so
    expected = {tuple(paths_of([pattern], patients)) for pattern in patterns}
    assert {tuple(one.files.values()) for one in found} == expected
    assert all(shown.endswith(patient) for one in found for shown, patient in zip(one.files, patients, strict=True))


def test_frames_with_numbers_of_their_own_are_series_of_their_own():
    layout = LAYOUTS["acdc"]
    found = group_by_patient(layout.path(role, number) for role in ROLES.values() for number in range(1, 6))
    assert {one.pattern: len(one.files) for one in found} == {
        "{id}/{id}_4d.nii.gz": 5,
        "{id}/{id}_lge.nii.gz": 5,
        "{id}/{id}_lge_gt.nii.gz": 5,
        "{id}/{id}_frame01_gt.nii.gz": 2,
        "{id}/{id}_frame02_gt.nii.gz": 3,
    }


@pytest.mark.parametrize(
    ("patterns", "patients"),
    [
        (["{id}_cine.nii", "{id}_lge.nii"], ["DE-01", "FR-02", "LGE-03"]),  # words of scans in the names
        (["{id}_sa_cine.nii.gz", "{id}_sa_lge.nii.gz"], ["1", "2", "10"]),  # the same word in all files is no name
        (["x/{id}_study_cine.nii.gz", "x/{id}_study_lge.nii.gz"], ["case1", "case2"]),
        (["{id}/a.nii.gz", "{id}/b.nii.gz"], ["one", "two", "three"]),  # no word says what is what
        (["cine/{id}.nii.gz", "lge/{id}.nii.gz", "masks/cine/{id}.nii.gz"], ["2024-01-05_1", "2024-01-05_2"]),
        (["cine{id}.nii.gz", "lge{id}.nii.gz"], ["7", "12"]),  # digits right after the word
        (["{id}/{id}.cine.nii.gz", "{id}/{id}.lge.nii.gz"], ["ü b", "ö c", "ñ d"]),
    ],
)
def test_the_patient_is_what_varies_and_ends_differently(patterns, patients):
    found = group_by_patient(paths_of(patterns, patients))
    assert {one.pattern: set(one.files) for one in found} == {pattern: set(patients) for pattern in patterns}


@pytest.mark.parametrize("paths", [[], ["one.nii.gz"], ["a/b.nii.gz"]])
def test_one_file_tells_no_patients(paths):
    assert group_by_patient(paths) == ()


def test_a_patient_without_a_file_is_in_the_other_series():
    patients = [f"p{number}" for number in range(1, 8)]
    paths = [*paths_of(["{id}_cine.nii.gz", "{id}_lge.nii.gz"], patients), "p3_lge_mask.nii.gz"]
    found = {one.pattern: list(one.files) for one in group_by_patient(paths)}
    assert found["{id}_lge_mask.nii.gz"] == ["p3"]
    assert found["{id}_lge.nii.gz"] == patients


def test_series_of_known_patients():
    paths = ["a1/cine.nii.gz", "a1/lge.nii.gz", "b/cine.nii.gz"]
    assert series_of_patients(paths, ["a1"]) == {
        "{id}/cine.nii.gz": {"a1": "a1/cine.nii.gz"},
        "{id}/lge.nii.gz": {"a1": "a1/lge.nii.gz"},
    }


def test_words_have_no_case_and_no_accents():
    assert words_of("Ciné_SA/LGE Spätaufnahme-01.NII.gz") == {"cine", "sa", "lge", "spataufnahme", "01"}
    assert words_of("imagesTr/P1 CineSeg LGESeg2") == {"images", "tr", "p1", "p", "cine", "seg", "lge", "seg2"}


def test_readings_fill_every_place_of_the_same_text():
    assert dict(readings("p1/p1_cine.nii.gz"))["p1"] == "{id}/{id}_cine.nii.gz"
    assert dict(readings("p1/p1_cine.nii.gz"))["1"] == "p{id}/p{id}_cine.nii.gz"


def test_numbers_that_differ_from_file_to_file_are_left_open():
    rows = [("P01", "20190102113000", 12, 31), ("P02", "20190511091500", 9, 27), ("P03", "20200211101010", 12, 30)]
    paths = [
        path
        for patient, date, cine, lge in rows
        for path in (f"{patient}/{date}/cine_sax_{date}_{cine}.nii.gz", f"{patient}/{date}/psir_{date}_{lge}.nii.gz")
    ]
    assert {one.pattern: list(one.files) for one in group_by_patient(paths)} == {
        "{id}/*/cine_sax_*_*.nii.gz": ["P01", "P02", "P03"],
        "{id}/*/psir_*_*.nii.gz": ["P01", "P02", "P03"],
    }


def test_folders_above_the_patient_are_left_open():
    paths = [
        f"{group}/{group}_{number}/{kind}.nii.gz"
        for group in ("HCM", "DCM")
        for number in (1, 2)
        for kind in ("cine", "lge")
    ]
    assert {one.pattern: list(one.files) for one in group_by_patient(paths)} == {
        "**/{id}/cine.nii.gz": ["DCM_1", "DCM_2", "HCM_1", "HCM_2"],
        "**/{id}/lge.nii.gz": ["DCM_1", "DCM_2", "HCM_1", "HCM_2"],
    }


def test_a_second_file_of_a_patient_keeps_an_open_pattern_from_being_used():
    paths = [f"P{number}_{kind}_{7 * number}.nii.gz" for number in range(1, 5) for kind in ("cine", "lge")]
    assert len(group_by_patient(paths)) == 2
    assert "{id}_lge_*.nii.gz" not in {one.pattern for one in group_by_patient([*paths, "P2_lge_99.nii.gz"])}
