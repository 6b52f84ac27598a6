"""Patterns of file names, such as `{id}/cine/{id}_sax.nii.gz`, relative to the folder of the scans.

`{id}` stands for the patient: any text without a slash, the same wherever it stands in a pattern. `{ed}` stands for the
number of the end-diastolic frame, `*` for any text without a slash, and `**/` for any folders or none.
"""

import re
import unicodedata
from functools import lru_cache
from pathlib import PurePosixPath

ENDINGS = (".nii", ".nii.gz")
LONGEST_PATTERN = 200
MOST_WILDCARDS = 6
"""Largest number of placeholders and wildcards of a pattern, which bounds the time of a comparison."""
TOKEN = re.compile(r"\{id\}|\{ed\}|\*\*/|\*")
ID = "{id}"
ED = "{ed}"


def pattern_errors(pattern: object, ed_allowed: bool) -> list[str]:
    """Return the rules that a pattern breaks, each beginning with `must`.

    Args:
        pattern: the value given for the pattern.
        ed_allowed: whether `{ed}` may stand in it.
    """
    if not isinstance(pattern, str):
        return ["must be text"]
    errors = []
    if ID not in pattern:
        errors.append(f"must contain {ID}, which stands for the patient")
    if not pattern.endswith(ENDINGS):
        errors.append(f"must end in {' or '.join(ENDINGS)}")
    if pattern.startswith(("/", "~")) or "\\" in pattern or re.match(r"[A-Za-z]:", pattern):
        errors.append("must be a path relative to the folder, with / between its parts")
    if {"", ".", ".."} & set(pattern.strip("/").split("/")):
        errors.append("must not leave the folder, so its parts must be names, not `..`, `.` or empty")
    if any("**" in part and part != "**" for part in pattern.split("/")):
        errors.append("must have `**` as a whole part of the path only")
    if unknown := re.findall(r"\{[^{}]*\}?|\}", TOKEN.sub("", pattern)):
        errors.append(f"must not have {unknown[0]}; {ID} is the placeholder there is")
    if ED in pattern and not ed_allowed:
        errors.append(f"must not have {ED} without [cine] frame, and not in the names of LGE")
    if len(pattern) > LONGEST_PATTERN or len(TOKEN.findall(pattern)) > MOST_WILDCARDS:
        errors.append(f"must have at most {LONGEST_PATTERN} characters and {MOST_WILDCARDS} placeholders")
    return errors


def match(pattern: str, path: str) -> tuple[str, int | None] | None:
    """Return the patient and the number of the end-diastolic frame, if any, of a path that fits a pattern.

    Args:
        pattern: a valid pattern.
        path: the file's path relative to the folder, with slashes.
    """
    found = _exact(normal(pattern)).fullmatch(normal(path))
    if found is None:
        return None
    number = found.groupdict().get("ed")
    return found["id"], None if number is None else int(number)


def nearly_matches(pattern: str, path: str) -> str | None:
    """Return the patient, in lower case without separators, of a path that nearly fits a pattern; None if it does not.

    Case, separators, and `.nii` for `.nii.gz` make no difference.
    """
    found = _loose(pattern).fullmatch(loose_text(path))
    return None if found is None else found["id"]


def literal_length(pattern: str) -> int:
    """Return the number of characters of a pattern that are not placeholders; more make it more specific."""
    return len(TOKEN.sub("", pattern))


def filled(pattern: str, patient: str) -> str:
    """Return a pattern with a patient's name in place of `{id}`."""
    return pattern.replace(ID, patient)


def normal(text: str) -> str:
    """Return text in composed Unicode (NFC). A file's name may be stored in composed or decomposed form."""
    return unicodedata.normalize("NFC", text)


def loose_text(path: str) -> str:
    """Return a path in lower case, without separators and without its ending."""
    parts = [re.sub(r"[\W_]", "", part) for part in PurePosixPath(normal(path).casefold()).parts]
    return re.sub(r"nii(gz)?$", "", "/".join(parts))


@lru_cache(maxsize=64)
def _exact(pattern: str) -> re.Pattern[str]:
    named = {ID: r"(?P<id>[^/]+?)", ED: r"(?P<ed>[0-9]{1,6})", "*": r"[^/]*", "**/": r"(?:[^/]+/)*"}
    return _compiled(pattern, named, re.escape)


@lru_cache(maxsize=64)
def _loose(pattern: str) -> re.Pattern[str]:
    named = {ID: r"(?P<id>[^/]+?)", ED: r"(?P<ed>[0-9]{1,6})", "*": r"[^/]*", "**/": r"(?:[^/]+/)*"}
    ending = next(ending for ending in reversed(ENDINGS) if pattern.endswith(ending))
    return _compiled(pattern.removesuffix(ending), named, lambda text: re.sub(r"[^\w/]|_", "", normal(text).casefold()))


def _compiled(pattern: str, named: dict[str, str], literal: object) -> re.Pattern[str]:
    """Return the regular expression of a pattern. A repeated placeholder must match the same text."""
    assert callable(literal)
    parts, end, seen = [], 0, set()
    for token in TOKEN.finditer(pattern):
        parts.append(literal(pattern[end : token.start()]))
        name = token[0].strip("{}")
        parts.append(f"(?P={name})" if token[0] in seen else named[token[0]])
        if token[0] in (ID, ED):
            seen.add(token[0])
        end = token.end()
    return re.compile("".join([*parts, literal(pattern[end:])]))
