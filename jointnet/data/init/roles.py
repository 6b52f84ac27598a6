"""Which series of files is the cine, the LGE and the label file of each, from words and from what the headers say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from jointnet.data.init.names import Series

SCANS = ("cine", "lge")
LABELS = ("cine_label", "lge_label")
TITLES = {"cine": "the cine", "lge": "LGE", "cine_label": "the cine's labels", "lge_label": "LGE's labels"}
MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Roles:
    """What each series is.

    Attributes:
        patterns: pattern by role, for the roles that were found.
        unsure: choices that no word tells, each a sentence.
        questions: what could not be told, each a sentence that names the option that tells it.
    """

    patterns: Mapping[str, str]
    unsure: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def find_roles(
    series: Sequence[Series],
    label_like: Collection[str],
    same_grid: Collection[tuple[str, str]],
    given: Mapping[str, str] | None = None,
) -> Roles:
    """Return what each series is.

    Args:
        series: the series of a folder, the largest first.
        label_like: patterns of the series whose files are label files.
        same_grid: pairs of patterns whose files have the same shape and place in the patients seen.
        given: pattern by role that the user gave.
    """
    patterns: dict[str, str] = dict(given or {})
    unsure: list[str] = []
    questions: list[str] = []
    free = [one for one in series if one.pattern not in patterns.values()]
    labels = [one for one in free if one.pattern in label_like]
    scans = [one for one in free if one not in labels]
    shown = [one for one in scans if "other" not in one.kinds]
    candidates = {
        scan: [one for one in shown if scan in one.kinds and (scan == "lge" or "lge" not in one.kinds)]
        for scan in SCANS
    }
    for role in sorted(SCANS, key=lambda role: not candidates[role]):
        if role in patterns:
            continue
        found = [one for one in candidates[role] if one.pattern not in patterns.values()]
        rest = [one for one in shown if one.pattern not in patterns.values() and not one.kinds & set(SCANS)]
        if not found and any(scan in patterns for scan in SCANS) and len(rest) == 1:
            found = rest
            unsure.append(
                f"{rest[0].pattern} is taken as {TITLES[role]}, because no other scan is left; no word says so"
            )
        largest = [one for one in found if len(one.files) == len(found[0].files)]
        if len(largest) == 1:
            patterns[role] = largest[0].pattern
            unsure += [
                f"{one.pattern} ({len(one.files)} files) may be {TITLES[role]} too, fewer patients have it"
                for one in found[1:]
            ]
        else:
            questions.append(_question(role, largest or scans))
    for role, scan in zip(LABELS, SCANS, strict=True):
        if role in patterns or scan not in patterns:
            continue
        fitting = [one for one in labels if one.pattern not in patterns.values()]
        on_grid = [one for one in fitting if (patterns[scan], one.pattern) in same_grid]
        other = "lge" if scan == "cine" else "cine"
        not_other = [one for one in on_grid if not _says(one, other) and "other" not in one.kinds]
        named = [one for one in not_other if _says(one, scan)]
        largest = [one for one in named or not_other if len(one.files) == len((named or not_other)[0].files)]
        if len(largest) == 1:
            patterns[role] = largest[0].pattern
            if not named:
                unsure.append(f"{largest[0].pattern} is taken as {TITLES[role]}, because it has the same grid")
        elif largest:
            questions.append(_question(role, largest))
        else:
            near = [one for one in fitting if _says(one, scan) and not _says(one, other) and "other" not in one.kinds]
            unsure += [f"{one.pattern} is left out: its grid is not that of {patterns[scan]}" for one in near]
    if not any(role in patterns for role in LABELS) and not questions:
        unsure.append("no label files were found; training needs them for both scans of some patients")
    return Roles(patterns, tuple(unsure), tuple(questions))


def _says(one: Series, scan: str) -> bool:
    """Return whether words say that a series is of a scan. `SA` stands for the view in `SA_LGE`, so LGE decides."""
    return scan in one.kinds and (scan == "lge" or "lge" not in one.kinds)


def _question(role: str, candidates: Sequence[Series]) -> str:
    listed = ", ".join(f"{one.pattern} ({len(one.files)} files)" for one in candidates[:MOST_CANDIDATES])
    listed += ", ..." if len(candidates) > MOST_CANDIDATES else ""
    option = f"--{role.replace('_', '-')}"
    return f"{option}: which files are {TITLES[role]}? Give their pattern; candidates: {listed or 'none'}"
