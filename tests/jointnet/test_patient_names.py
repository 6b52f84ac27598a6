import hashlib
import itertools
import random

import pytest

from jointnet.errors import SettingsError
from jointnet.patient_names import (
    LARGEST_LIST_BYTES,
    MOST_PATIENTS,
    name_error,
    names_text,
    natural_key,
    near_names,
    near_names_text,
    normal_name,
    parse_patients,
    shareable_name,
)


@pytest.mark.parametrize(
    "ordered",
    [
        ["1", "2", "10", "25", "100"],
        ["case_9", "case_10", "case_010b"],
        ["Case_1", "case_1", "CASE_2"],
        ["P-9-1", "P-9-10", "P-10-1"],
        ["0", "00", "01", "1", "02", "2"],
        ["", "1", "1a", "2", "a", "a1", "b"],
        ["a", "b", "ä"],
        ["9" * 5000, "1" + "0" * 5000],
        ["7", "٣"],
    ],
)
def test_natural_order(ordered):
    shuffled = random.Random(0).sample(ordered, len(ordered))
    assert sorted(shuffled, key=natural_key) == ordered


def test_the_order_of_numbers_is_that_of_their_values():
    numbers = random.Random(1).sample(range(2000), 300)
    assert sorted(map(str, numbers), key=natural_key) == [str(number) for number in sorted(numbers)]


def test_the_order_is_total():
    names = ["1", "01", "001", "a1", "A1", "a01", "A01", "ß", "ss", "", " ", "1 ", "é", "e\u0301"]
    keys = [natural_key(name) for name in names]
    for (one, first), (other, second) in itertools.permutations(zip(names, keys, strict=True), 2):
        assert (first < second) != (second < first), (one, other)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1", ("1",)),
        ("1-5,8,12", ("1", "2", "3", "4", "5", "8", "12")),
        ("8-11", ("8", "9", "10", "11")),
        ("8,1-3", ("1", "2", "3", "8")),
        ("3-3", ("3",)),
        ("2,2,1-2", ("1", "2")),
        (" 4 , 6-7 ", ("4", "6", "7")),
        (" 6 - 7 ", ("6", "7")),
        ("007", ("007",)),
        ("008-011", ("008", "009", "010", "011")),
        ("0-2", ("0", "1", "2")),
        ("00-02", ("00", "01", "02")),
        ("case_10,case_9", ("case_9", "case_10")),
        ("sub-01,1-2", ("1", "2", "sub-01")),
        ("Ana Müller , 王", ("Ana Müller", "王")),
        ("Mu\u0308ller", ("M\u00fcller",)),
        ("a@b,#1", ("#1", "a@b")),
        ("2026-01-31", ("2026-01-31",)),
    ],
)
def test_lists_of_patients(text, names):
    assert parse_patients(text) == names


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "can name a file"),
        (",", "can name a file"),
        ("1,", "can name a file"),
        ("1,..", "can name a file"),
        ("a/b", "slash"),
        ("a\nb", "control character"),
        ("a\x00b", "control character"),
        ("x" * 201, "at most 200 bytes"),
        ("é" * 101, "at most 200 bytes"),
        ("\udcff", "UTF-8"),
        ("3-1", "larger number"),
        ("01-100", "same length"),
        ("010-9", "same length"),
        ("1-1000000000", f"at most {MOST_PATIENTS}"),
        ("1-" + "9" * 5000, f"at most {MOST_PATIENTS}"),
        ("9" * 5000 + "-" + "9" * 5000, f"at most {MOST_PATIENTS}"),
        (f"1-{MOST_PATIENTS + 1}", f"at most {MOST_PATIENTS}"),
        (f"1-{MOST_PATIENTS},{MOST_PATIENTS + 1}", f"at most {MOST_PATIENTS}"),
    ],
)
def test_what_is_no_list_of_patients_is_refused(text, rule):
    with pytest.raises(SettingsError, match=rule) as caught:
        parse_patients(text, "--unlabelled")
    assert all(line.startswith("--unlabelled: ") and len(line) < 500 for line in caught.value.errors)


def test_all_errors_of_a_list_come_together():
    with pytest.raises(SettingsError) as caught:
        parse_patients("3-1,a/b,7,01-100")
    assert len(caught.value.errors) == 3


def test_a_file_has_any_names(tmp_path):
    file = tmp_path / "patients of 2026.txt"
    file.write_text("\ufeff# ours\n\n 1-5 \nMüller, Ana\r\n@home\n1-5\n   \n  # not this one\n10\n9\n", "utf-8")
    assert parse_patients(f"@{file}") == ("1-5", "9", "10", "@home", "Müller, Ana")


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "readable file"),
        (b"", "has none"),
        (b"# none\n\n", "has none"),
        (b"\xff\xfe1\n", "UTF-8"),
        (b"1\na/b\nc\td\n", "line 2"),
        (b"1" * (LARGEST_LIST_BYTES + 1), "bytes"),
    ],
)
def test_what_is_no_file_of_names_is_refused(tmp_path, content, rule):
    file = tmp_path / "patients.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=rule) as caught:
        parse_patients(f"@{file}")
    assert all(str(file) in line for line in caught.value.errors)
    assert len(caught.value.errors) == (2 if content == b"1\na/b\nc\td\n" else 1)


@pytest.mark.parametrize("path", ["@", "@/", "@a\x00b"])
def test_a_folder_and_a_path_that_cannot_be_are_refused(path):
    with pytest.raises(SettingsError, match="--patients"):
        parse_patients(path)


def test_a_file_with_too_many_names_is_refused(tmp_path):
    file = tmp_path / "many.txt"
    file.write_text("\n".join(map(str, range(MOST_PATIENTS + 1))))
    with pytest.raises(SettingsError, match=f"at most {MOST_PATIENTS} patients"):
        parse_patients(f"@{file}")


@pytest.mark.parametrize(
    ("name", "names", "near"),
    [
        ("3", ["003", "30", "4"], ["003"]),
        ("case_1", ["CASE_01", "case_2", "x"], ["CASE_01", "case_2"]),
        ("7", ["a", "b"], []),
        ("3", ["3"], []),
    ],
)
def test_near_names(name, names, near):
    assert near_names(name, names)[: len(near) or None] == near


def test_texts_about_names_are_short():
    assert names_text(["1", "case 9"]) == "[1, case 9]"
    assert names_text([]) == "[]"
    assert names_text(map(str, range(1000))).endswith("48, 49 and 950 more]")
    assert near_names_text(["3", "x"], ["003", "4"]) == "; is 003 meant by 3?"
    assert near_names_text(["x"], ["003"]) == ""
    assert near_names_text([f"1{number}" for number in range(1000)], ["1"]).count("?") <= 5


@pytest.mark.parametrize("name", ["3", "case 9", "Ana Müller", "a,b", "1-5", "<b>&\"'", "...", "王"])
def test_any_text_that_can_name_a_file_is_a_name(name):
    assert name_error(name) == ""
    assert normal_name(f" {name} ") == name


def test_a_name_that_is_given_away_is_a_number_or_a_digest():
    assert shareable_name("12") == "12"
    digest = hashlib.sha256("M\u00fcller".encode()).hexdigest()
    assert shareable_name("M\u00fcller") == f"sha256:{digest[:12]}"
