"""Reads one table of a TOML file key by key and collects all errors, each with its key and value."""

from collections.abc import Callable
from typing import Any

from jointnet.errors import short_repr

Check = Callable[[Any], bool]
REQUIRED = object()


class TomlTable:
    """A TOML table whose keys are read and checked one by one. Errors are added to `errors`, none is raised."""

    def __init__(self, where: str, content: Any, errors: list[str]) -> None:
        self.where, self.errors = where, errors
        self._content = dict(content or {})
        self._absent = content is None
        self._taken: list[str] = []

    def take(self, key: str, check: Check, rule: str, default: Any = REQUIRED) -> Any:
        """Return the value of a key, its default where it is absent, or None where it is invalid."""
        self._taken.append(key)
        if key not in self._content:
            if default is REQUIRED and not self._absent:
                self.errors.append(f"{self.where}{key}: is missing; {rule}")
            return None if default is REQUIRED else default
        value = self._content[key]
        if check(value):
            return value
        self.errors.append(f"{self.where}{key}: {rule}, got {short_repr(value)}")
        return None

    def finish(self) -> None:
        """Add an error for every key that was not read."""
        for key in self._content:
            if key not in self._taken:
                self.errors.append(
                    f"{self.where}{key}: unknown key, must be one of {', '.join(self._taken)}, "
                    f"got {short_repr(self._content[key])}"
                )


def is_text(value: Any) -> bool:
    """Return whether a value is a string that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_texts(value: Any) -> bool:
    """Return whether a value is a list of at least one string, none of them blank."""
    return isinstance(value, list) and bool(value) and all(is_text(item) for item in value)


def is_table(value: Any) -> bool:
    """Return whether a value is a table."""
    return isinstance(value, dict)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def is_positive(value: Any) -> bool:
    """Return whether a value is a finite number above 0."""
    return is_number(value) and value > 0


def is_count(least: int, most: int) -> Check:
    """Return a check for integers from `least` to `most`, both inclusive."""
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
