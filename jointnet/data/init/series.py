"""Which part of the files' names is the patient, from the names alone.

Files whose paths differ only in the patient are a series, such as all cines. A patient is a text that stands in the
paths of several series, so that the same texts fill the same place in each. Where this finds too few patients, folders
above the patient (`**`) and numbers that differ from file to file, such as dates (`*`), become wildcards.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jointnet.data.patterns import ENDINGS, ID
from jointnet.patient_names import natural_key

PIECES = re.compile(r"\d+|[^\W\d_]+|[\W_]+")
"""Digits, letters, or what stands between."""
NUMBER = re.compile(r"(?<![^\W_])[0-9]+(?![^\W_])(?:\W?[0-9]+(?![^\W_]))*")
"""Numbers without a letter beside them, and such as `2024-01-31`."""
OPENINGS: tuple[tuple[str, ...], ...] = ((), ("folders",), ("numbers",), ("folders", "numbers"))
"""Parts of a path that may become wildcards, in the order tried: the folders above the patient's name, and numbers."""
COVERED = 0.9
"""Share of the paths that must be in series, with one series of LGE, so that no wildcards are tried."""
MOST_WORDS = 16
"""Number of words of a folder's or file's name that are looked at."""
MOST_SEEDS = 200
WORDS = {
    "cine": "cine cines sa sax shortaxis ssfp bssfp trufi truefisp fiesta bffe c0 0000 kurzachse 4d ed",
    "lge": "lge lges de dege psir late delayed enhancement enhanced gadolinium c2 0001 narbe spat spatenhancement",
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
        kinds: the kinds that the words of the path name: of `cine`, `lge`, `label` and `other`.
    """

    pattern: str
    files: Mapping[str, str]
    kinds: frozenset[str]

    def is_of(self, scan: str) -> bool:
        """Return whether the words name a scan. In `SA_LGE`, `SA` is the view, so it is LGE."""
        return scan in self.kinds and (scan == "lge" or "lge" not in self.kinds)

    def is_image_of(self, scan: str) -> bool:
        """Return whether the words name the images of a scan."""
        return self.is_of(scan) and not self.kinds & {"label", "other"}


def group_by_patient(paths: Iterable[str]) -> tuple[Series, ...]:
    """Return the series of the paths, the largest first; none if no text stands for patients.

    Args:
        paths: paths in the folder, with `/` between names.
    """
    paths = sorted(paths)
    best = _grouped(paths, OPENINGS[0])
    for opening in OPENINGS[1:]:
        covered = {path for one in best for path in one.files.values()}
        if len([one for one in best if one.is_image_of("lge")]) == 1 and len(covered) >= COVERED * len(paths):
            break
        opened = _grouped(paths, opening)
        best = opened if _merit(opened)[:2] > _merit(best)[:2] else best
    return best


def _grouped(paths: Sequence[str], opening: Collection[str]) -> tuple[Series, ...]:
    """Return the best choice of series, with wildcards for the parts of paths in `opening`."""
    by_pattern: dict[str, dict[str, str]] = defaultdict(dict)
    by_patient: dict[str, set[str]] = defaultdict(set)
    twice: set[str] = set()
    for path in paths:
        for patient, pattern in readings(path, opening):
            if by_pattern[pattern].setdefault(patient, path) != path:
                twice.add(pattern)
            by_patient[patient].add(pattern)
    seeds = sorted(
        (pattern for pattern, files in by_pattern.items() if len(files) > 1), key=lambda p: (-len(by_pattern[p]), p)
    )
    best: tuple[Series, ...] = ()
    seen: set[frozenset[str]] = set()
    for seed in seeds[:MOST_SEEDS]:
        patients = by_pattern[seed].keys()
        near = set().union(*(by_patient[patient] for patient in patients)) - twice
        family = frozenset(
            name for name in near if 2 * len(by_pattern[name].keys() & patients) >= len(by_pattern[name])
        )
        if family in seen:
            continue
        seen.add(family)
        best = max(best, as_series({pattern: by_pattern[pattern] for pattern in family}), key=_merit)
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
    """Return the series of paths by patient and pattern. Words that all patterns have are ignored."""
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


def readings(path: str, opening: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return each text of a path that may be the patient, and the path with `{id}` in all places of that text.

    Args:
        path: the path.
        opening: parts that become wildcards, of `OPENINGS`.
    """
    end = next((ending for ending in sorted(ENDINGS, key=len) if path.endswith(ending)), "")
    segments = [PIECES.findall(segment) for segment in path.removesuffix(end).split("/")]
    texts = dict.fromkeys(text for pieces in segments for text in _runs(pieces))
    found = []
    for text in texts:
        parts = [_filled(pieces, text) for pieces in segments]
        if "folders" in opening:
            first = next(place for place, part in enumerate(parts) if ID in part)
            parts = ["**", *parts[first:]]
        pattern = "/".join(parts)
        found.append(("".join(text), (NUMBER.sub("*", pattern) if "numbers" in opening else pattern) + end))
    return found


def words_of(text: str) -> frozenset[str]:
    """Return the words of a path in lower case, without accents, and each also without digits at its end."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = re.findall(r"[^\W_]+", plain)
    return frozenset(words + [word.rstrip("0123456789") for word in words]) - {"nii", "gz", ""}


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
    """Return the sort key of a choice of patients, the most important part first; a larger one is better."""
    if not series:
        return ()
    count = Counter(patient for one in series for patient in one.files)
    cine, lge = ([one.files.keys() for one in series if one.is_image_of(scan)] for scan in ("cine", "lge"))
    named = len(cine[0] & lge[0]) if cine and lge else 0
    covered = len({path for one in series for patient, path in one.files.items() if count[patient] > 1})
    ends = {PIECES.findall(patient)[-1] for patient in count}
    return named, covered, len(ends) > 1, sum(map(len, count)) / len(count)
