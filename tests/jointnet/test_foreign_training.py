"""Ten foreign folders from `init` to a trained model, whose rows are those of the challenge's layout."""

import json
from pathlib import Path

import pandas as pd
import pytest
from foreign_folders import LAYOUTS, foreign_names, reference_description, write_foreign, write_reference

import jointnet.evaluate.__main__
import jointnet.train.__main__
from jointnet.data.__main__ import main

TINY = """
[model]
widths = [4, 8, 8]
neighbours = 0
hidden = 8
guide_steps = 3
[training]
downsampling = 4
epochs = 2
validate_every = 1
"""
SEED = "3"
"""Draws a validation patient of whom everything is labelled in each folder."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    path.write_text(TINY)
    return path


def measured(data: Path, settings: Path, out: Path) -> pd.DataFrame:
    """Train a tiny joint model on a folder, and return its rows for the patients that have both labels."""
    common = ["--data", str(data), "--device", "cpu"]
    training = ["--model", "joint", "--settings", str(settings), "--train", "4", "--val", "1", "--seed", SEED]
    assert jointnet.train.__main__.main([*common, *training, "--out", str(out), "--threads", "1"]) == 0
    facts = json.loads((out.parent / "check.json").read_text())["patients"]
    labelled = [one["patient"] for one in facts if one["cine"]["label"] is not None and one["lge"]["label"] is not None]
    assert len(labelled) >= 2
    (out / "patients.txt").write_text("\n".join(labelled))
    measuring = ["--model", str(out), "--out", str(out / "rows.csv"), "--patients", f"@{out / 'patients.txt'}"]
    assert jointnet.evaluate.__main__.main([*common, *measuring]) == 0
    return pd.read_csv(out / "rows.csv", dtype={"patient": str})


def checked(data: Path, out: Path) -> None:
    """Check a folder."""
    out.mkdir()
    assert main(["check", str(data), "--json", str(out / "check.json")]) == 0


@pytest.fixture(scope="module")
def reference_rows(scan_folder, settings, tmp_path_factory):
    """Return the rows of the challenge's layout by layout; folders with the same labels share one training."""
    known: dict[str, pd.DataFrame] = {}

    def rows(name: str) -> pd.DataFrame:
        layout = LAYOUTS[name]
        described = reference_description(scan_folder, layout)
        key = "complete" if described is None else name
        if key not in known:
            folder = tmp_path_factory.mktemp(key)
            write_reference(scan_folder, folder / "scans", layout)
            if described is not None:
                (folder / "scans" / "dataset.toml").write_text(described)
            checked(folder / "scans", folder / "out")
            known[key] = measured(folder / "scans", settings, folder / "out" / "model")
        return known[key]

    return rows


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_foreign_folder_gives_the_same_rows(scan_folder, settings, tmp_path, reference_rows, name, capsys):
    layout, folder = LAYOUTS[name], tmp_path / "scans"
    write_foreign(scan_folder, folder, layout)
    assert main(["init", str(folder), "--write"]) == 0
    checked(folder, tmp_path / "out")
    found = measured(folder, settings, tmp_path / "out" / "model")
    expected = reference_rows(name)
    names = {str(number): foreign for number, foreign in foreign_names(scan_folder, layout).items()}
    assert len(expected) > 50
    pd.testing.assert_frame_equal(found, expected.assign(patient=expected["patient"].map(names)), check_exact=True)
    capsys.readouterr()
