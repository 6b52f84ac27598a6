"""Patterns of file names: what they match, what nearly matches, and which are refused."""

import time
import unicodedata

import pytest

from jointnet.data.patterns import LONGEST_PATTERN, match, nearly_matches, pattern_errors

MATCHES = {
    "in the name": ("{id}.nii.gz", "case_004.nii.gz", ("case_004", None)),
    "twice": ("{id}/cine/{id}_sax.nii.gz", "a b/cine/a b_sax.nii.gz", ("a b", None)),
    "two patients": ("{id}/cine/{id}_sax.nii.gz", "a/cine/b_sax.nii.gz", None),
    "no slash in the name": ("{id}.nii.gz", "a/b.nii.gz", None),
    "a dot is a dot": ("{id}.nii.gz", "aXnii.gz", None),
    "the whole path": ("{id}.nii.gz", "a.nii.gz.part", None),
    "another case": ("{id}_SAX.nii.gz", "a_sax.nii.gz", None),
    "any text": ("{id}/*_sax_*.nii.gz", "a/2024_sax_7.nii.gz", ("a", None)),
    "any folders": ("**/patient{id}_C0.nii.gz", "x/y/patient3_C0.nii.gz", ("3", None)),
    "no folder": ("**/patient{id}_C0.nii.gz", "patient3_C0.nii.gz", ("3", None)),
    "no part of a folder": ("**/patient{id}_C0.nii.gz", "xpatient3_C0.nii.gz", None),
    "a frame": ("patient{id}/patient{id}_frame{ed}_gt.nii.gz", "patient7/patient7_frame01_gt.nii.gz", ("7", 1)),
    "a frame that is no number": ("{id}_frame{ed}_gt.nii.gz", "7_frameES_gt.nii.gz", None),
    "brackets": ("{id}[1](x)+.nii.gz", "a[1](x)+.nii.gz", ("a", None)),
}


@pytest.mark.parametrize("name", MATCHES)
def test_matches(name):
    pattern, path, expected = MATCHES[name]
    assert match(pattern, path) == expected


def test_composed_and_decomposed_letters_are_the_same():
    composed, decomposed = (unicodedata.normalize(form, "Jürgen/Säx.nii.gz") for form in ("NFC", "NFD"))
    assert composed != decomposed
    expected = ("Jürgen", None)
    for pattern in ("{id}/Säx.nii.gz", unicodedata.normalize("NFD", "{id}/Säx.nii.gz")):
        assert match(pattern, composed) == match(pattern, decomposed) == expected


NEAR = {
    "case": ("{id}/{id}_SAX.nii.gz", "p1/P1_sax.nii.gz", "p1"),
    "separators": ("{id}/{id}_sax.nii.gz", "p1/p1-sax.nii.gz", "p1"),
    "not compressed": ("{id}_sax.nii.gz", "p1_sax.nii", "p1"),
    "compressed": ("{id}_sax.nii", "p1_sax.nii.gz", "p1"),
    "in another folder": ("{id}/cine/{id}_sax.nii.gz", "p1/p1_sax.nii.gz", None),
    "another word": ("{id}_sax.nii.gz", "p1_lax.nii.gz", None),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_misses(name):
    pattern, path, expected = NEAR[name]
    assert match(pattern, path) is None
    assert nearly_matches(pattern, path) == expected


ERRORS = {
    "no text": (3, "must be text"),
    "no patient": ("cine/sax.nii.gz", "must contain {id}"),
    "no scan": ("{id}.dcm", "must end in .nii or .nii.gz"),
    "absolute": ("/{id}.nii.gz", "must be a path relative"),
    "home": ("~/{id}.nii.gz", "must be a path relative"),
    "a drive": ("C:/{id}.nii.gz", "must be a path relative"),
    "backslashes": ("a\\{id}.nii.gz", "must be a path relative"),
    "up": ("../{id}.nii.gz", "must not leave the folder"),
    "up and down": ("a/../../{id}.nii.gz", "must not leave the folder"),
    "here": ("./{id}.nii.gz", "must not leave the folder"),
    "an empty part": ("a//{id}.nii.gz", "must not leave the folder"),
    "stars in a name": ("a**/{id}.nii.gz", "must have `**` as a whole part"),
    "another placeholder": ("{id}_{name}.nii.gz", "must not have {name}; {id}"),
    "half a placeholder": ("{id}_{id.nii.gz", "must not have {id.nii.gz"),
    "a frame": ("{id}_{ed}.nii.gz", "must not have {ed} without"),
    "long": ("{id}" + "a" * LONGEST_PATTERN + ".nii.gz", "must have at most"),
    "many stars": ("{id}" + "*a" * 9 + ".nii.gz", "must have at most"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    pattern, rule = ERRORS[name]
    (error,) = pattern_errors(pattern, ed_allowed=False)
    assert error.startswith(rule)


def test_all_errors_of_a_pattern_are_told():
    assert len(pattern_errors("/../x_{ed}.dcm", ed_allowed=False)) == 5


def test_a_valid_pattern_is_compared_in_a_moment():
    pattern = "{id}*{id}*{id}*.nii.gz"
    assert pattern_errors(pattern, ed_allowed=False) == []
    start = time.perf_counter()
    match(pattern, "a" * 250)
    assert time.perf_counter() - start < 5
