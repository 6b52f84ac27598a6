"""Fixtures that the tests of both packages may use."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "jointnet"))

import pytest
import scans


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or fills the user's cache of prepared patients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOINTNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def scan_folder(tmp_path_factory):
    """A folder of five patients of analytic cylinders, LGE displaced by 6 mm; read it, never write to it."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(1, 6):
        scans.write_patient(folder, number, *scans.pair(seed=number, lge_shift_mm=(4.8, 3.6)))
    return folder


@pytest.fixture
def tiny_settings():
    """The real settings with the smallest networks that make sense."""
    return scans.tiny_settings()
