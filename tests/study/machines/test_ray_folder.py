"""The folder of Ray's files: a path that is too long, a folder that cannot be created, a full disk."""

import os
import shutil
import socket
from pathlib import Path

import pytest

import study.machines.ray_folder
from jointnet.errors import SettingsError
from study.machines.ray_folder import LONGEST_FOLDER_BYTES, SOCKET_IN_FOLDER, ray_folder, ray_options


@pytest.fixture
def short(tmp_path: Path):
    """Return a folder with a short path, independent of pytest's folder."""
    folder = Path(f"/tmp/s{os.getpid()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def _of_length(folder: Path, length: int) -> Path:
    return folder / ("x" * (length - len(f"{folder}/")))


def test_the_longest_folder_takes_the_longest_socket_and_a_longer_one_does_not(short: Path):
    for length, fits in ((LONGEST_FOLDER_BYTES, True), (LONGEST_FOLDER_BYTES + 1, False)):
        base = _of_length(short, length - len("/ray"))
        path = Path(f"{base}/ray{SOCKET_IN_FOLDER}")
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as server:
            if fits:
                server.bind(str(path))
                assert ray_folder({"RAY_TMPDIR": str(base)}) == base / "ray"
                continue
            with pytest.raises(OSError, match="too long"):
                server.bind(str(path))
        with pytest.raises(SettingsError, match="RAY_TMPDIR: must be at most 39 bytes long, for Ray's sockets"):
            ray_folder({"RAY_TMPDIR": str(base)})


def test_a_temporary_folder_that_does_not_do_is_passed_over(short: Path):
    fallback = ray_folder({})
    assert fallback.parent == Path("/tmp")
    assert ray_folder({"TMPDIR": str(short)}) == short / "ray"
    assert ray_folder({"TMPDIR": str(_of_length(short, 60))}) == fallback
    (short / "file").touch()
    assert ray_folder({"TMPDIR": str(short / "file")}) == fallback
    with pytest.raises(SettingsError, match=f"RAY_TMPDIR: must be a folder that can be written, got {short}/file"):
        ray_folder({"RAY_TMPDIR": str(short / "file"), "TMPDIR": str(short)})


def test_rays_usual_folder_may_be_another_users(short: Path, monkeypatch: pytest.MonkeyPatch):
    (short / "ray").mkdir()
    monkeypatch.setattr(study.machines.ray_folder, "can_write", lambda folder: folder != short / "ray")
    assert ray_folder({"TMPDIR": str(short)}) == short / f"ray-{os.getuid()}"


def test_a_full_disk_is_named_with_what_is_free_and_what_to_do(short: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(SettingsError) as caught:
        ray_folder({"TMPDIR": str(short)})
    assert caught.value.errors == (
        f"TMPDIR: must have 200 MB free, got 1 MB in {short}",
        "/tmp: must have 200 MB free, got 1 MB in /tmp; RAY_TMPDIR=DIR names another folder, on a disk of this machine",
    )


def test_without_shared_memory_the_objects_are_in_rays_folder(monkeypatch: pytest.MonkeyPatch):
    assert "_plasma_directory" not in ray_options(Path("/tmp/ray"))
    monkeypatch.setattr(study.machines.ray_folder, "SHARED_MEMORY", Path("/nonexistent"))
    assert ray_options(Path("/tmp/ray"))["_plasma_directory"] == "/tmp/ray"
