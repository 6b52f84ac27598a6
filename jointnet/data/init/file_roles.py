"""Which series of files is the cine, the LGE and the label file of each, from words and from what the headers say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from jointnet.data.description import SCANS
from jointnet.data.init.series import Series

TITLES = {"cine": "the cine", "lge": "LGE", "cine_label": "the cine's labels", "lge_label": "LGE's labels"}
MOST_CANDIDATES = 8


@dataclass(frozen=True)
class FileRoles:
    """What each series is.

    Attributes:
        patterns: pattern by role, for the roles that were found.
        unsure: choices that no word in a name supports, each a sentence.
        questions: what could not be determined, each a sentence that names the option that states it.
    """

    patterns: Mapping[str, str]
    unsure: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


def find_roles(
    series: Sequence[Series],
    label_like: Collection[str],
    same_grid: Collection[tuple[str, str]],
    given: Mapping[str, str] | None = None,
) -> FileRoles:
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

    def left(label: bool) -> list[Series]:
        free = (one for one in series if one.pattern not in patterns.values() and "other" not in one.kinds)
        return [one for one in free if (one.pattern in label_like) == label]

    for role in sorted(SCANS, key=lambda role: not any(one.is_of(role) for one in left(label=False))):
        if role in patterns:
            continue
        found = [one for one in left(label=False) if one.is_of(role)]
        rest = [one for one in left(label=False) if not one.kinds & set(SCANS)]
        if not found and len(rest) == 1 and patterns.keys() & set(SCANS):
            found = rest
            unsure.append(
                f"{rest[0].pattern} is taken as {TITLES[role]}, because no other scan is left; its name does not say so"
            )
        if len(largest := _largest(found)) == 1:
            patterns[role] = largest[0].pattern
            unsure += [
                f"{one.pattern} ({len(one.files)} files) may be {TITLES[role]} too, fewer patients have it"
                for one in found[1:]
            ]
        else:
            questions.append(_question(role, largest or [one for one in series if one.pattern not in label_like]))
    for scan, other in (SCANS, SCANS[::-1]):
        role = f"{scan}_label"
        if role in patterns or scan not in patterns:
            continue
        fitting = [one for one in left(label=True) if not one.is_of(other)]
        on_grid = [one for one in fitting if (patterns[scan], one.pattern) in same_grid]
        named = [one for one in on_grid if one.is_of(scan)]
        if len(largest := _largest(named or on_grid)) == 1:
            patterns[role] = largest[0].pattern
            if not named:
                unsure.append(f"{largest[0].pattern} is taken as {TITLES[role]}, because it has the same grid")
        elif largest:
            questions.append(_question(role, largest))
        else:
            far = [one.pattern for one in fitting if one.is_of(scan)]
            unsure += [f"{pattern} is left out: its grid is not that of {patterns[scan]}" for pattern in far]
    if patterns.keys() <= set(SCANS) and not questions:
        unsure.append("no label files were found; training needs them for both scans of some patients")
    return FileRoles(patterns, tuple(unsure), tuple(questions))


def _largest(series: Sequence[Series]) -> list[Series]:
    """Return the series that have as many files as the first."""
    return [one for one in series if len(one.files) == len(series[0].files)]


def _question(role: str, candidates: Sequence[Series]) -> str:
    listed = ", ".join(f"{one.pattern} ({len(one.files)} files)" for one in candidates[:MOST_CANDIDATES])
    listed += ", ..." if len(candidates) > MOST_CANDIDATES else ""
    option = f"--{role.replace('_', '-')}"
    return f"{option}: which files are {TITLES[role]}? Give their pattern; candidates: {listed or 'none'}"
