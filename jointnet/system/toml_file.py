"""Strict reading of TOML files: limited size, printable strings and keys, and integers of at most 64 bits."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jointnet.errors import SettingsError, short_repr

LARGEST_BYTES = 256 * 1024
LONGEST_KEY = 100
LARGEST_WHOLE = 2**63 - 1


def is_file(path: str | Path) -> bool:
    """Return whether the file exists. An invalid name, or one that may not be looked up, counts as absent."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def read_toml(path: Path, name: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: the file.
        name: the file's name in error messages.

    Raises:
        SettingsError: if it cannot be read, is too large, is not TOML, or has values that no setting can have.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{name}: must be a readable file: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise SettingsError(f"{name}: must have at most {LARGEST_BYTES} bytes")
    return parse_toml(content, name)


def parse_toml(content: bytes, name: str) -> dict[str, Any]:
    """Parse the content of a TOML file; see `read_toml`."""
    try:
        values = tomllib.loads(content.decode("utf-8", errors="replace").replace("\r\n", "\n"))
        errors = [f"{name}: {line}" for line in _errors("", values)]
    except RecursionError:
        raise SettingsError(f"{name}: must be TOML without hundreds of tables inside each other") from None
    except ValueError as error:  # from tomllib, or from int() for numbers of thousands of digits
        raise SettingsError(f"{name}: must be TOML: {error}") from None
    if errors:
        raise SettingsError(errors)
    return values


def _errors(where: str, value: Any) -> Iterator[str]:
    """Yield an error for each key and value, at any depth, that no setting can have."""
    if isinstance(value, dict):
        for key, part in value.items():
            if not key.isprintable() or len(key) > LONGEST_KEY:
                yield f"{where}: must have printable keys of at most {LONGEST_KEY} characters, got {short_repr(key)}"
            else:
                yield from _errors(f"{where}.{key}" if where else key, part)
    elif isinstance(value, list):
        for part in value:
            yield from _errors(where, part)
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        yield f"{where}: must be a whole number of at most 64 bits, got one of {value.bit_length()}"
    elif isinstance(value, str) and not all(character.isprintable() or character in "\n\t" for character in value):
        yield f"{where}: must be printable text, got {short_repr(value)}"
