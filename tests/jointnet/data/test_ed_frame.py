"""The ED frame by M&Ms' table and by ACDC's Info.cfg, and what of them is no frame."""

import pytest

from jointnet.data.ed_frame import ed_frame, ed_table

HEAD = ",External code,VendorName,Vendor,Centre,ED,ES,Age\n"
"""The head of the challenge's table, whose first column has no name."""


def table(folder, text, name="201014_M&Ms_Dataset_Information_-_opendataset.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return ed_table(folder)


def test_the_table_is_found_among_others_and_counts_from_0(tmp_path):
    (tmp_path / "a.csv").write_text("patient,ED\nA0S9V9,7\n")
    (tmp_path / "b.csv").write_bytes(b"\xff\x00" * 100)
    (tmp_path / "c.csv").mkdir()
    found = table(tmp_path, HEAD + "0,A0S9V9,Siemens,A,1,0,9,40\n1,A1D0Q7,Siemens,A,1,24,9,\n")
    assert found.file.name.startswith("201014")
    errors = []
    assert [ed_frame(name, tmp_path / f"{name}_sa.nii.gz", found, errors) for name in ("A0S9V9", "A1D0Q7")] == [0, 24]
    assert errors == []


def test_info_cfg_beside_the_cine_comes_before_the_table_and_counts_from_1(tmp_path):
    found = table(tmp_path, HEAD + "0,x,Siemens,A,1,5,9,40\n")
    (tmp_path / "Info.cfg").write_text("ED: 3\n")
    assert ed_frame("x", tmp_path / "x_sa.nii.gz", found, []) == 2


@pytest.mark.parametrize(
    ("row", "received"),
    [
        ("0,other,S,A,1,5,9,40", "got no such row"),
        ("0,x,S,A,1,,9,40", "got ''"),
        ("0,x,S,A,1,first,9,40", "got 'first'"),
        ("0,x,S,A,1,-1,9,40", "got '-1'"),
        ("0,x,S,A,1,1.5,9,40", "got '1.5'"),
        ("0,x", "got ''"),
    ],
)
def test_what_is_no_frame_is_an_error_with_file_rule_and_value(tmp_path, row, received):
    errors = []
    found = table(tmp_path, f"{HEAD}{row}\n")
    assert ed_frame("x", tmp_path / "x_sa.nii.gz", found, errors) is None
    (error,) = errors
    assert error.startswith(f"{found.file}: must have a row with External code x and a whole number from 0 in ED")
    assert error.endswith(received)


@pytest.mark.parametrize(
    "text", ["", HEAD, "External code;ED\nx;1\n", "External code\nx\n", "a" * 2_000_000, '"' * 200_001]
)
def test_files_that_are_no_table(tmp_path, text):
    assert table(tmp_path, text) is None
    errors = []
    assert ed_frame("x", tmp_path / "x_sa.nii.gz", None, errors) is None
    assert "A CSV file in the folder with the columns External code and ED would do" in errors[0]
