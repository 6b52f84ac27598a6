"""A search file of a test's own, read from a folder, and its errors."""

from pathlib import Path

import pytest

from jointnet.errors import SettingsError
from study.search.file.reading import load_spaces
from study.search.space import SearchSpace


def read(folder: Path, text: str) -> SearchSpace:
    (folder / "own.toml").write_text(text)
    return load_spaces([str(folder / "own.toml")])[0]


def errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    return [error.removeprefix("own.toml: ") for error in caught.value.errors]
