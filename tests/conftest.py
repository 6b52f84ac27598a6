"""Fixtures for the tests of both packages."""

import hashlib
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "jointnet"))

import pytest
import scans


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Use a temporary cache of prepared patients instead of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOINTNET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def scan_folder(tmp_path_factory):
    """A read-only folder of five patients of analytic cylinders, with LGE displaced by 6 mm."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(1, 6):
        scans.write_patient(folder, number, *scans.pair(seed=number, lge_shift_mm=(4.8, 3.6)))
    return folder


@pytest.fixture
def tiny_settings():
    """The default settings with very small networks."""
    return scans.tiny_settings()


@pytest.fixture
def file_reads(monkeypatch):
    """Count the parsed headers and the computed hashes by file. Files count as settled as soon as they are written."""
    from jointnet.preparation import scan_file
    from jointnet.system import file_version

    parsed, hashed = Counter(), Counter()
    parse, file_digest = scan_file._parsed, hashlib.file_digest

    def counting_parse(path, block):
        parsed[path.name] += 1
        return parse(path, block)

    def counting_digest(stream, *rest):
        hashed[Path(stream.name).name] += 1
        return file_digest(stream, *rest)

    monkeypatch.setattr(file_version, "SETTLED_SECONDS", -1.0)
    monkeypatch.setattr(scan_file, "_parsed", counting_parse)
    monkeypatch.setattr(hashlib, "file_digest", counting_digest)
    return parsed, hashed
