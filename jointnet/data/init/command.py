"""The command `python -m jointnet.data init`: prints what a folder holds, and proposes or writes its description."""

import argparse
import os
import re
import sys

from jointnet.data.description import FILE, ROLES, dataset_from_content
from jointnet.data.init.content import Answers
from jointnet.data.init.label_meaning import meaning_of
from jointnet.data.init.survey import Survey, survey
from jointnet.data.init.toml_text import patients_table
from jointnet.data.patterns import pattern_errors
from jointnet.errors import DataError, SettingsError, short_repr
from jointnet.structures import STRUCTURES
from jointnet.system.atomic_file import write_whole
from jointnet.system.toml_file import parse_toml

VALUE_KEYS = (*STRUCTURES, "ignore", "scar")
MOST_SHOWN = 5
"""Number of kinds of files that match no pattern, and of errors, that are shown."""


def run_init(options: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        SettingsError: if an option is invalid, or the file to write exists.
        DataError: if there are no scans, or something cannot be determined; the messages name the options that state
            it.
    """
    to = options.folder / FILE if options.dataset is None else options.dataset
    answers = _answers(options)
    if options.write and os.path.lexists(to):
        raise SettingsError(
            f"--write: must name a file that does not exist, {to} does; move it, or give --dataset FILE"
        )
    result = survey(options.folder, answers)
    print(_report(result), flush=True)
    if result.questions:
        raise DataError(result.questions)
    dataset_from_content(parse_toml(result.text.encode(), str(to)), to)
    print(f"\n{to}:\n\n{result.text}", flush=True)
    if result.needs_no_description:
        print("The folder has the layout of MS-CMRSeg 2019 and needs no description.")
    elif options.write:
        try:
            write_whole(to, result.text.encode())
        except OSError as error:
            rule = "must be a file that can be written; --dataset FILE names another"
            raise SettingsError(f"{to}: {rule}, got {error.strerror}") from None
        print(f"written: {to}")
    else:
        print("Nothing was written. Repeat the command with --write to write it.", file=sys.stderr)
        return
    where = "" if options.dataset is None else f" --dataset {options.dataset}"
    print(f"next: python -m jointnet.data check {options.folder}{where}")


def _answers(options: argparse.Namespace) -> Answers:
    """Return the values of the options.

    Raises:
        SettingsError: with all errors in them.
    """
    errors: list[str] = []
    given = {role: getattr(options, role) for role in ROLES}
    patterns = {role: pattern for role, pattern in given.items() if pattern is not None}
    for role, pattern in patterns.items():
        rules = pattern_errors(pattern, ed_allowed=role.startswith("cine"))
        errors += [f"--{role.replace('_', '-')}: {rule}, got {short_repr(pattern)}" for rule in rules]
    values: dict[str, tuple[int, ...]] = {}
    for text in options.values or ():
        name, _, numbers = text.partition("=")
        listed = [part.strip() for part in numbers.split(",")]
        if name in VALUE_KEYS and name not in values and all(re.fullmatch(r"-?[0-9]{1,9}", part) for part in listed):
            values[name] = tuple(map(int, listed))
        else:
            rule = f"must be one of {', '.join(VALUE_KEYS)}, each once, with whole numbers, such as myo=2,3"
            errors.append(f"--values: {rule}, got {short_repr(text)}")
    frame = options.frame
    if frame is not None and not re.fullmatch(r"ed|[0-9]{1,6}", frame):
        errors.append(f"--frame: must be a number from 0, or ed, got {short_repr(frame)}")
    if errors:
        raise SettingsError(errors)
    meaning = meaning_of(values) if values else None
    return Answers(patterns, meaning, frame if frame is None or frame == "ed" else int(frame))


def _report(result: Survey) -> str:
    """Return the text about what was found and what is doubtful."""
    scans = result.scans
    count = f"{len(result.files)} patient{'s' * (len(result.files) != 1)}, {len(scans.files)} NIfTI files"
    kind = f", named as in {result.preset}" if result.preset is not None else ""
    lines = [f"{scans.folder}: {count}{kind}; others: {scans.others}"]
    if result.files:
        lines += ["", patients_table(result.files, result.content, scans)]
    if unused := result.unused:
        shown = [pattern if count == 1 else f"{pattern} ({count})" for pattern, count in unused.items()][:MOST_SHOWN]
        listed = ", ".join(shown) + ", ..." * (len(unused) > MOST_SHOWN)
        lines += ["", f"not used: {sum(unused.values())} files: {listed}"]
    lines += [""] * bool(result.unsure) + [f"unsure: {line}" for line in result.unsure]
    lines += [f"unsure: {error}" for error in list(scans.errors.values())[:MOST_SHOWN]]
    return "\n".join(lines)
