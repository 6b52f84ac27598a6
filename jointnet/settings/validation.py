"""Validation of the tables of TOML files against pydantic dataclasses, and the JSON schema of such files.

Every error names the key, the whole rule of its value and the value received. The words of the rule come from the JSON
schema that `--schema` prints. pydantic's own messages are not used: they name one bound at a time and none of our
terms.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from jointnet.errors import short_repr
from jointnet.own_code import REFERENCE, REFERENCE_WORDS

T = TypeVar("T")
Schema = dict[str, Any]
SIMILAR = 0.75
"""Least similarity of a name that may have been meant (see difflib)."""
MOST_NAMES = 8
"""Number of keys up to which a message lists all keys of a table."""
Path = tuple[str, ...]
"""The keys that lead to a value."""


def validate(kind: type[T], content: Mapping[str, Any]) -> tuple[T | None, dict[Path, str]]:
    """Validate the content of a file.

    Args:
        kind: the pydantic dataclass.
        content: nested tables of plain values.

    Returns:
        The value and no errors, or None and one message per wrong key, in the order of the content.
    """
    try:
        return kind(**content), {}
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    schema = TypeAdapter(kind).json_schema()
    errors = dict(_error(schema, content, detail["loc"]) for detail in details)
    # A table that may also be a number has errors as either. Only those of its keys are kept.
    errors = {path: text for path, text in errors.items() if not any(_is_inside(other, path) for other in errors)}
    return None, _once({path: errors[path] for path in sorted(errors, key=lambda path: _position(content, path))})


def json_schema(kind: type[Any]) -> Schema:
    """Return the JSON schema of a file, as editors and validators read it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(kind).json_schema()}


def add_schema_option(options: argparse._ActionsContainer, file: str, schema: Callable[[], Schema]) -> None:
    """Add `--schema`, which prints a JSON schema and exits, without regard to required options.

    Args:
        options: the command line, or a group of its options.
        file: what the schema describes, such as `a settings file`.
        schema: function that returns it.
    """

    class PrintSchema(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
            print(json.dumps(schema(), indent=2))
            parser.exit()

    options.add_argument("--schema", action=PrintSchema, nargs=0, help=f"print the JSON schema of {file}, and exit")


def unknown(word: str, key: str, names: Iterable[str]) -> str:
    """Return the message about an unknown key, section or parameter: the name that was meant, or all names.

    A similar name stands for a list of more than MOST_NAMES.
    """
    listed = list(names)
    similar = get_close_matches(key, listed, 1, SIMILAR) if len(listed) > MOST_NAMES else []
    meant = f"did you mean {similar[0]}?" if similar else f"must be one of {', '.join(listed)}"
    return f"unknown {word} {short_repr(key)}, {meant}"


def _once(errors: Mapping[Path, str]) -> dict[Path, str]:
    """Return the messages with each long list of names once."""
    shown, short = set[str](), dict(errors)
    for path, text in errors.items():
        head, rule, rest = text.partition(", must be one of ")
        names, got, value = rest.rpartition(", got ")
        if rule and names in shown:
            short[path] = f"{head}{rule}the names above{got}{value}"
        if names.count(", ") >= MOST_NAMES:
            shown.add(names)
    return short


def _error(schema: Schema, content: Any, location: tuple[int | str, ...]) -> tuple[Path, str]:
    """Return the path and the message of one of pydantic's errors.

    The path ends at the innermost key: an error of an item of a list, or of one alternative of a value, belongs to the
    whole value.
    """
    path: Path = ()
    rule, value = schema, content
    for part in location:
        table = _table(schema, rule)
        if table is None or not isinstance(value, Mapping) or not isinstance(part, str):
            break
        properties, others = table.get("properties", {}), table.get("additionalProperties")
        keys = table.get("propertyNames", {})
        keys = [keys, *keys.get("anyOf", ())]
        names = next((each["enum"] for each in keys if "enum" in each), properties)
        free = names is properties or any(re.search(each["pattern"], part) for each in keys if "pattern" in each)
        if part in names or (part in value and isinstance(others, dict) and free):
            path, rule = (*path, part), properties.get(part, others)
            if part not in value:
                return path, f"is missing; must be {_words(schema, rule)}"
            value = value[part]
        elif part in value:
            word = "section" if properties and all("$ref" in each for each in properties.values()) else "key"
            received = f", got {short_repr(value[part])}" if word == "key" else ""
            return (*path, part), unknown(word, part, names) + received
        # Otherwise the part is pydantic's name of an alternative.
    return path, f"must be {_words(schema, rule)}, got {short_repr(value)}"


def _words(schema: Schema, rule: Schema) -> str:
    """Return the rule of a value in words, such as `a whole number between 1 and 8`."""
    if "anyOf" in rule:
        return ", or ".join(_words(schema, each) for each in rule["anyOf"] if each.get("type") != "null")
    table = _table(schema, rule)
    if table is not None:
        names = table.get("propertyNames", {}).get("enum") or list(table.get("properties", ()))
        least = "with at least one" if "minProperties" in table else ""
        if 0 < len(names) <= MOST_NAMES:
            return f"a table {least or 'of'} {'of ' if least else ''}{', '.join(names)}"
        return f"a table {least} key" if least else "a table"
    if "const" in rule:
        return json.dumps(rule["const"])
    if "enum" in rule:
        return f"one of {', '.join(rule['enum'])}"
    if "type" not in rule:
        return "a valid value"  # of a dataclass of the user's own
    if rule["type"] == "boolean":
        return "true or false"
    if rule["type"] == "string":
        return REFERENCE_WORDS if REFERENCE.pattern in rule.get("pattern", "") else "text that is not blank"
    if rule["type"] == "array":
        if "minItems" not in rule:
            return f"a list of {', '.join(rule['items']['enum'])}" if "enum" in rule["items"] else "a list"
        least = {1: "one", 2: "two"}[rule["minItems"]]
        if not rule["items"]:
            return f"a list of at least {least} values"
        item = _words(schema, rule["items"])
        if item.startswith("one of "):
            return f"a list of at least {least} {item.removeprefix('one ')}, each once"
        if "maxItems" in rule:
            return f"a list of {rule['minItems']} to {rule['maxItems']} different values"
        return f"at least {least} {item.removeprefix('a ').replace('number', 'numbers')}"
    number = "a whole number" if rule["type"] == "integer" else "a number"
    if "minimum" in rule:
        return f"{number} between {rule['minimum']} and {rule['maximum']}"
    above = f" above {rule['exclusiveMinimum']}" if "exclusiveMinimum" in rule else ""
    return number + above + (f", at most {rule['maximum']}" if "maximum" in rule else "")


def _table(schema: Schema, rule: Schema) -> Schema | None:
    """Return the rule of a table, with its reference followed; None for a value that cannot be a table."""
    if "$ref" in rule:
        rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
    options = [_table(schema, each) for each in rule.get("anyOf", ())]
    return rule if rule.get("type") == "object" else next(filter(None, options), None)


def _is_inside(path: Path, other: Path) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _position(content: Any, path: Path) -> list[int]:
    """Return the position of a key in nested tables, for sorting. Missing keys come last."""
    places = []
    for part in path:
        keys = list(content) if isinstance(content, Mapping) else []
        places.append(keys.index(part) if part in keys else len(keys))
        content = content[part] if part in keys else None
    return places
