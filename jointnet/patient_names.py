"""Patients' names: their natural order, the lists of them that a user gives, and what may be a name.

A name is the user's own text, such as `3`, `case_10` or `Ana Müller`. It is never renumbered. It may be any text that
can be the name of a file.
"""

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from jointnet.errors import DataError, SettingsError, short_repr

MOST_PATIENTS = 100_000
"""Largest number of patients of a list."""
LARGEST_LIST_BYTES = 10_000_000
"""Largest size of a file with names."""
LONGEST_NAME_BYTES = 200
"""Longest name in UTF-8. Files and folders are named after patients."""
LONGEST_NUMBER = 18
"""Largest number of digits at the ends of a range."""
MOST_SHOWN = 50
"""Largest number of names that a message shows."""
MOST_NEAR_NAMES = 3
MOST_SEARCHED = 5
"""Largest number of unknown names for which similar names are looked for, because that takes long."""
Value = TypeVar("Value")
RANGE = re.compile(r"([0-9]+)\s*-\s*([0-9]+)")


@lru_cache(maxsize=MOST_PATIENTS)
def natural_key(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """Return the key by which names are sorted: numbers in a name count by value, so `case_9` comes before `case_10`.

    Case is ignored, as are leading zeros, except between names that are otherwise equal.
    """
    parts = re.split(r"([0-9]+)", name.casefold())
    texts: list[str | tuple[int, str]] = list(parts)
    for place in range(1, len(parts), 2):
        digits = parts[place].lstrip("0")
        texts[place] = (len(digits), digits)
    return tuple(texts), name


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Return the names, each once, in natural order."""
    return sorted(set(names), key=natural_key)


def items_in_order(by_name: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Return the items of a mapping by patients' names, in natural order."""
    return [(name, by_name[name]) for name in in_natural_order(by_name)]


def normal_name(text: str) -> str:
    """Return a name in composed Unicode (NFC), without spaces at its ends.

    The same letter may be one character or a letter with an accent after it; macOS names files in the second way.
    """
    return unicodedata.normalize("NFC", text.strip())


def name_error(name: str) -> str:
    """Return the rule that a name breaks; "" for a valid name."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "must be in UTF-8"
    if not name or name in (".", ".."):
        return "must be a text that can name a file"
    if "/" in name or not name.isprintable():
        return "must hold neither a slash nor a control character"
    if size > LONGEST_NAME_BYTES:
        return f"must have at most {LONGEST_NAME_BYTES} bytes"
    return ""


def shareable_name(name: str) -> str:
    """Return a name for files that are shared: a number as it is, other names as a part of their SHA-256."""
    return name if name.isdecimal() else f"sha256:{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def patient_folders(out: Path, names: Iterable[str], known_errors: Iterable[str] = ()) -> dict[str, Path]:
    """Return each patient's folder in `out`: the patient's name, after `patient` where it is only a number.

    Raises:
        DataError: if two patients would have the same folder, such as 3 and patient3; with `known_errors` before it.
    """
    folders = {name: out / (f"patient{name}" if name.isdecimal() else name) for name in names}
    if twice := [name for name in folders if name.isdecimal() and f"patient{name}" in folders]:
        rule = "must have patients whose folders have different names"
        listed = ", ".join(f"{name} and patient{name}" for name in twice)
        raise DataError([*known_errors, f"{out}: {rule}, got {listed}"])
    return folders


def parse_patients(text: str, option: str = "--patients") -> tuple[str, ...]:
    """Return the patients of a list, each once, in natural order.

    Args:
        text: names and ranges of numbers, separated by commas, such as `1-25,case_30`; a range such as `001-025` keeps
            its zeros. Or `@FILE`, a text file with one name per line; empty lines and lines that begin with # are
            skipped. A name that has a comma or looks like a range can only be in a file.
        option: the option whose value the list is.

    Raises:
        SettingsError: with all errors of the list.
    """
    errors: list[str] = []
    if text.startswith("@"):
        found = list(_lines(Path(text[1:]), option, errors))
    else:
        found = []
        for part in (part.strip() for part in text.split(",")):
            match = RANGE.fullmatch(part)
            if match is not None:
                found += _range(match[1], match[2], part, option, errors)
            elif rule := name_error(normal_name(part)):
                errors.append(f"{option}: each name {rule}, got {short_repr(part)} in {short_repr(text)}")
            else:
                found.append(normal_name(part))
            if len(found) > MOST_PATIENTS:
                break
    if len(found) > MOST_PATIENTS:
        errors.append(f"{option}: must be at most {MOST_PATIENTS} patients, got {short_repr(text)}")
    if errors:
        raise SettingsError(errors)
    return tuple(in_natural_order(found))


def near_names(name: str, names: Collection[str]) -> list[str]:
    """Return the names that `name` may stand for, such as `3` for `003`, the most similar first."""
    parts, _ = natural_key(name)
    same = [other for other in names if natural_key(other)[0] == parts and other != name]
    similar = difflib.get_close_matches(name, names, MOST_NEAR_NAMES)
    return list(dict.fromkeys([*same, *(other for other in similar if other != name)]))[:MOST_NEAR_NAMES]


def names_text(names: Iterable[str]) -> str:
    """Return names as a text for a message, such as `[1, 2, case_9]`, at most `MOST_SHOWN` of them."""
    every = list(names)
    more = len(every) - MOST_SHOWN
    return f"[{', '.join(every[:MOST_SHOWN])}{f' and {more} more' if more > 0 else ''}]"


def near_names_text(unknown: Iterable[str], names: Collection[str]) -> str:
    """Return a text about what unknown names may stand for, such as `; is 003 meant by 3?`; "" if there is none."""
    near = {name: near_names(name, names) for name in list(unknown)[:MOST_SEARCHED]}
    return "".join(f"; is {' or '.join(found)} meant by {name}?" for name, found in near.items() if found)


def _range(first: str, last: str, part: str, option: str, errors: list[str]) -> list[str]:
    """Return the numbers of a range as names. If it is invalid, add the error to `errors` and return none."""
    padded = first.startswith("0") and len(first) > 1
    if padded and len(last) != len(first):
        errors.append(f"{option}: a range with leading zeros must have two numbers of the same length, got {part!r}")
    elif max(len(first), len(last)) > LONGEST_NUMBER or int(last) - int(first) >= MOST_PATIENTS:
        errors.append(f"{option}: a range must be at most {MOST_PATIENTS} patients, got {short_repr(part)}")
    elif int(last) < int(first):
        errors.append(f"{option}: a range must end with the larger number (a name goes in a file, @FILE), got {part!r}")
    else:
        return [str(number).zfill(len(first) if padded else 0) for number in range(int(first), int(last) + 1)]
    return []


def _lines(path: Path, option: str, errors: list[str]) -> Iterator[str]:
    """Yield the names of a file, and add all its errors to `errors`."""
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_LIST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        errors.append(f"{option}: must be a readable file after @, got {short_repr(str(path))}: {error.strerror}")
        return
    except (ValueError, UnicodeDecodeError):  # a path with a null character, or another encoding
        errors.append(f"{option}: must be a text file in UTF-8 after @, got {short_repr(str(path))}")
        return
    if len(content) > LARGEST_LIST_BYTES:
        errors.append(f"{option}: must be a file of at most {LARGEST_LIST_BYTES} bytes after @, got {path}")
        return
    empty = True
    for number, line in enumerate(text.splitlines(), start=1):
        name = normal_name(line)
        if not name or name.startswith("#"):
            continue
        empty = False
        if rule := name_error(name):
            errors.append(f"{option}: {path}, line {number}: a name {rule}, got {short_repr(name)}")
        else:
            yield name
    if empty:
        errors.append(f"{option}: must be a file with a patient's name on each line after @, {path} has none")
