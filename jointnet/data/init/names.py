"""Which part of the files' names is the patient, from the names alone.

Files whose paths differ only in the patient are a series, such as all cines. A patient is a text that stands in the
paths of several series, so that the same texts fill the same place in each.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jointnet.patient_names import natural_key

ID = "{id}"
SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
PIECES = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
"""Digits, letters, or what stands between."""
MOST_WORDS = 16
"""Number of words of a folder's or file's name that are looked at."""
MOST_SEEDS = 200
WORDS = {
    "cine": "cine cines sa sax shortaxis ssfp bssfp trufi truefisp fiesta bffe c0 0000 kurzachse 4d ed",
    "lge": "lge de dege psir late delayed enhancement enhanced gadolinium c2 0001 narbe spat spatenhancement",
    "label": "gt seg segs segm segmentation segmentations dseg label labels labelstr labelsts manual mask masks maske "
    "masken masque contour contours annotation annotations groundtruth truth roi",
    "other": "la lax 2ch 3ch 4ch t1 t2 t1w t2w map maps scout localizer localiser loc es flow perfusion perf 0002",
}
"""Words that say what a file is. `other` are images of another kind, view or phase."""
KINDS = {word: kind for kind, words in WORDS.items() for word in words.split()}


@dataclass(frozen=True)
class Series:
    """Files whose paths differ in the patient only.

    Attributes:
        pattern: their path, with `{id}` for the patient.
        files: path by patient, in natural order.
        kinds: what the words of the path say that they are: of `cine`, `lge`, `label` and `other`.
    """

    pattern: str
    files: Mapping[str, str]
    kinds: frozenset[str]


def group_by_patient(paths: Iterable[str]) -> tuple[Series, ...]:
    """Return the series of the paths, the largest first; none if no text stands for patients.

    Args:
        paths: paths in the folder, with `/` between names.
    """
    paths = sorted(paths)
    by_pattern: dict[str, dict[str, str]] = defaultdict(dict)
    by_patient: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        for patient, pattern in readings(path):
            by_pattern[pattern][patient] = path
            by_patient[patient].add(pattern)
    seeds = sorted(
        (pattern for pattern, files in by_pattern.items() if len(files) > 1), key=lambda p: -len(by_pattern[p])
    )
    best: tuple[Series, ...] = ()
    best_merit: tuple[float, ...] = ()
    seen: set[frozenset[str]] = set()
    for seed in seeds[:MOST_SEEDS]:
        patients = by_pattern[seed].keys()
        near = set().union(*(by_patient[patient] for patient in patients))
        family = frozenset(
            name for name in near if 2 * len(by_pattern[name].keys() & patients) >= len(by_pattern[name])
        )
        if family in seen:
            continue
        seen.add(family)
        series = as_series({pattern: by_pattern[pattern] for pattern in family})
        merit = _merit(series)
        if merit > best_merit:
            best, best_merit = series, merit
    return best


def series_of_patients(paths: Iterable[str], patients: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the paths of known patients, by pattern and patient."""
    known = set(patients)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(paths):
        for patient, pattern in readings(path):
            if patient in known:
                found[pattern][patient] = path
    return dict(found)


def as_series(found: Mapping[str, Mapping[str, str]]) -> tuple[Series, ...]:
    """Return series of path by patient by pattern. Words that all patterns have say nothing."""
    words = {pattern: words_of(pattern.replace(ID, " ")) for pattern in found}
    common = frozenset.intersection(*words.values()) if len(words) > 1 else frozenset()
    series = (
        Series(
            pattern,
            {patient: files[patient] for patient in sorted(files, key=natural_key)},
            frozenset(KINDS[word] for word in words[pattern] - common if word in KINDS),
        )
        for pattern, files in found.items()
    )
    return tuple(sorted(series, key=lambda one: (-len(one.files), one.pattern)))


def readings(path: str) -> list[tuple[str, str]]:
    """Return each text of a path that may be the patient, and the path with `{id}` in all places of that text."""
    suffix = SUFFIX.search(path)
    stem, end = (path[: suffix.start()], suffix[0]) if suffix else (path, "")
    segments = [PIECES.findall(segment) for segment in stem.split("/")]
    texts = dict.fromkeys(text for pieces in segments for text in _runs(pieces))
    return [(run_text(text), "/".join(_filled(pieces, text) for pieces in segments) + end) for text in texts]


def run_text(run: Sequence[str]) -> str:
    """Return the text of consecutive pieces."""
    return "".join(run)


def words_of(text: str) -> frozenset[str]:
    """Return the words of a path, of letters and digits, in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", SUFFIX.sub("", text)).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return frozenset(re.findall(r"[^\W_]+", plain))


def _runs(pieces: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the runs of pieces that begin and end with a word."""
    places = [place for place, piece in enumerate(pieces) if piece[0].isalnum()][:MOST_WORDS]
    return [tuple(pieces[first : last + 1]) for first in places for last in places if first <= last]


def _filled(pieces: Sequence[str], run: Sequence[str]) -> str:
    """Return the text of pieces with `{id}` in each place of a run."""
    text, place = "", 0
    while place < len(pieces):
        here = tuple(pieces[place : place + len(run)]) == tuple(run)
        text += ID if here else pieces[place]
        place += len(run) if here else 1
    return text


def _merit(series: Sequence[Series]) -> tuple[float, ...]:
    """Return what makes one choice of the patients better than another, the most important first."""
    scans: dict[str, set[str]] = defaultdict(set)
    count: dict[str, int] = defaultdict(int)
    for one in series:
        for patient in one.files:
            count[patient] += 1
            if not one.kinds & {"label", "other"}:
                scans[patient].add("lge" if "lge" in one.kinds else "cine" if "cine" in one.kinds else one.pattern)
    named = sum("lge" in kinds and len(kinds) > 1 for kinds in scans.values())
    pairs = sum(len(kinds) > 1 for kinds in scans.values())
    telling = sum(bool(words_of(patient) & KINDS.keys()) for patient in count)
    covered = len({path for one in series for patient, path in one.files.items() if count[patient] > 1})
    ends = {PIECES.findall(patient)[-1] for patient in count}
    return (
        named,
        pairs,
        -telling,
        covered,
        -len(series),
        len(ends) > 1,
        sum(len(patient) for patient in count) / len(count),
    )
