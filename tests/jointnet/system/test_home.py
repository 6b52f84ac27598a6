"""A user without a home folder or a name, as in a container run with `--user 12345`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jointnet.preparation.cache import default_cache
from jointnet.system.home import nearest_folder, writable_home

ROOT = Path(__file__).parents[3]
NAMELESS = ("unshare", "--user", "--map-user=12345", "--map-group=12345", "env", "-i")
ASKED = """
import getpass, os
from pathlib import Path
import jointnet
import mlflow.environment_variables
print(getpass.getuser(), Path.home(), os.environ.get("MPLCONFIGDIR"))
"""


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"jointnet-{os.getuid()}"


def test_a_home_that_can_be_written_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("JOINTNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert writable_home() == tmp_path
    assert default_cache() == tmp_path / ".cache" / "jointnet"


def test_without_one_a_folder_of_the_users_own_takes_its_place(homeless: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("JOINTNET_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert default_cache() == homeless / ".cache" / "jointnet"
    assert homeless.stat().st_mode & 0o777 == 0o700
    assert writable_home() == homeless
    assert os.environ["HOME"] == "/nonexistent"  # a read-only home may hold credentials


def test_a_folder_that_another_made_in_its_place_is_refused(homeless: Path, tmp_path: Path):
    (tmp_path / "trap").mkdir()
    homeless.symlink_to(tmp_path / "trap")
    with pytest.raises(PermissionError, match="HOME: must be a folder that can be written, got /nonexistent"):
        writable_home()


def test_the_nearest_folder_that_exists(tmp_path: Path):
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path


def test_a_user_without_home_and_name_can_import_what_asks_for_them(tmp_path: Path):
    own = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    command = [*NAMELESS, *(f"{name}={value}" for name, value in own.items()), sys.executable, "-c"]
    if subprocess.run([*command, "pass"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    printed = subprocess.run([*command, ASKED], check=False, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    user, home, matplotlib = printed.stdout.split()
    assert (user, home) == ("uid-12345", "/")
    assert matplotlib == "None" or Path(matplotlib) == tmp_path / "jointnet-12345" / "matplotlib"
