"""Mutations of TOML files: of their bytes, and of the values that are read from them."""

import copy
import json
import tomllib
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

STRANGE: tuple[Any, ...] = (
    *(0, 1, -1, 2, 2**31, 2**63 - 1, 2**63, -(2**70), 10**400, 0.0, -0.0, 1e-320, 1e308, float("nan"), float("inf")),
    *(-float("inf"), True, False, "", " ", "joint", "../../etc/passwd", "/dev/zero", "a" * 5000, "\x1b[31mred", "\n"),
    *("name\x00", "ä", "\u202e", "0.5", [], [[]], [1, "a"], ["joint", "joint"], {}, {"low": 1}, {"a": {"b": {}}}),
    *("ed", "acdc", "{id}", "{id}.nii.gz", "../{id}.nii.gz", "**/{id}_*{id}*.nii.gz", ["1"], [200, 500], 200, 600),
    *(date(2020, 1, 1), datetime(2020, 1, 1, 12), [0.1, 0.2], [2**40] * 3, ["25/15/5", "25/15/5"], ["1/1/1"]),
)
KEYS = (
    *("model", "loss", "name", "low", "high", "models", "splits", "a.b", "", " ", "x" * 3000),
    *("\x1b[2J", "../out", "ä", "alpha"),
)


def broken_toml(path: Path, rng: np.random.Generator) -> bytes:
    """Return the content of a TOML file with up to three mutations of its values, sometimes one of its bytes too."""
    values = _read(path)
    for _ in range(int(rng.integers(0, 4))):
        _structure(values, rng)
    data = bytearray(_written(values).encode("utf-8", "surrogatepass"))
    if rng.random() < 0.4:
        data = _bytes(data, rng)
    return bytes(data)


def _structure(table: dict[str, Any], rng: np.random.Generator) -> None:
    """Remove, add or change a random key of a random table."""
    while True:
        inner = [part for part in table.values() if isinstance(part, dict)]
        if not inner or rng.random() < 0.4:
            break
        table = inner[int(rng.integers(len(inner)))]
    keys = list(table)
    value = copy.deepcopy(STRANGE[int(rng.integers(len(STRANGE)))])  # later mutations may change a table in place
    key = keys[int(rng.integers(len(keys)))] if keys else "a"
    match rng.integers(0, 5):
        case 0:
            table.pop(key, None)
        case 1:
            table[KEYS[int(rng.integers(len(KEYS)))]] = value
        case 2 if isinstance(table.get(key), int | float) and abs(table[key]) < 1e300:  # larger integers are no floats
            table[key] = table[key] * float(rng.choice([-1, 10, 0.1, 1e6, 1e-6]))
        case _:
            table[key] = value


def _bytes(data: bytearray, rng: np.random.Generator) -> bytearray:
    match rng.integers(0, 8):
        case 0:
            return data[: int(rng.integers(len(data) + 1))]
        case 1:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        case 2:
            at = int(rng.integers(len(data)))
            data[at:at] = rng.bytes(int(rng.integers(1, 20)))
        case 3:
            deep = int(rng.integers(10, 20_000))
            data[:0] = f"deep = {'[' * deep}{']' * deep}\n".encode()
        case 4:
            data[:0] = f"long = {'9' * int(rng.integers(10, 20_000))}\n".encode()
        case 5:
            data[:0] = f"{'.'.join('a' * int(rng.integers(2, 3_000)))} = 1\n".encode()
        case 6:
            data += b"\n# " + b"x" * int(rng.integers(1, 600_000))
        case _:
            lines = data.split(b"\n")
            line = lines[int(rng.integers(len(lines)))]
            data = bytearray(b"\n".join([*lines, line]))
    return data


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(_text(path))


def _written(table: dict[str, Any]) -> str:
    return "\n".join(f"{json.dumps(key)} = {_value(value)}" for key, value in table.items()) + "\n"


def _value(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value)
        case date():
            return value.isoformat()
        case int():
            return hex(value) if value > 0 else str(value)
        case _:
            return repr(value)
