"""A function of a file runs once for each version of the file, and again after every change."""

import os
import shutil
import time
from pathlib import Path

import pytest

from jointnet.system import file_version
from jointnet.system.file_version import once_per_version


@pytest.fixture
def text(tmp_path, monkeypatch):
    """Return a path, a function that reads it, and the list of the texts that were really read."""
    monkeypatch.setattr(file_version, "SETTLED_SECONDS", -1.0)
    path, read = tmp_path / "text", []
    path.write_text("one")

    @once_per_version
    def content(path):
        read.append(path.read_text())
        return read[-1]

    return path, content, read


def rewritten(path):
    path.write_text("two")


def replaced(path):
    path.with_name("other").write_text("two")
    path.with_name("other").replace(path)


def with_the_old_times(path):
    found = path.stat()
    time.sleep(0.02)  # beyond the resolution of the times
    path.write_text("two")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_an_unchanged_file_is_read_once(text):
    path, content, read = text
    assert [content(path), content(path)] == ["one", "one"]
    assert read == ["one"]


@pytest.mark.parametrize("change", [rewritten, replaced, with_the_old_times])
def test_a_changed_file_of_the_same_size_is_read_again(text, change):
    path, content, read = text
    content(path)
    time.sleep(0.02)
    change(path)
    assert content(path) == "two"
    assert read == ["one", "two"]


def test_a_file_that_was_just_changed_is_not_kept(text, monkeypatch):
    path, content, read = text
    monkeypatch.setattr(file_version, "SETTLED_SECONDS", 60.0)
    content(path), content(path)
    assert read == ["one", "one"]


def test_errors_are_not_kept(text, tmp_path):
    _, content, _ = text
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            content(tmp_path / "absent")
    shutil.copy(tmp_path / "text", tmp_path / "absent")
    assert content(tmp_path / "absent") == "one"


def test_what_is_no_file_is_not_opened(text, tmp_path):
    """Opening a pipe would wait for its writer."""
    _, content, _ = text
    os.mkfifo(tmp_path / "pipe")
    assert file_version._version(tmp_path / "pipe") is None
    with pytest.raises(IsADirectoryError):
        content(tmp_path)


def test_a_relative_path_is_that_of_the_working_directory(text, tmp_path, monkeypatch):
    _, content, _ = text
    (tmp_path / "below").mkdir()
    (tmp_path / "below/text").write_text("two")
    read = []
    for folder in (tmp_path, tmp_path / "below", tmp_path):
        monkeypatch.chdir(folder)
        read.append(content(Path("text")))
    assert read == ["one", "two", "one"]
