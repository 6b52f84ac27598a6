"""Manual segmentations: conversion of label values to class indices, and detection of exchanged label values.

Exchanged values are detected by which structure surrounds which: myocardium surrounds the LV pool. No other pair of
structures in a short-axis slice is arranged like this. About half of the outline of the myocardium borders on the LV
pool, and at most half of the outline of the RV on myocardium.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jointnet.structures import CLASS_INDEX, CLASSES, LABEL_VALUE, STRUCTURES, SURROUNDED

SURROUNDS = 2 / 3
"""Share of a structure's outline that must border on another structure for the latter to surround the former.

Measured in 1762 slices of patients 1-25 of MS-CMRSeg and 45 slices of the phantom: 0.87 to 1 per scan for LV pool and
myocardium, at most 0.50 for any other pair."""
FEW = 0.1
"""Share of the slices with a surrounded structure that may look exchanged in a valid scan, by rasterisation."""
MOST_SLICES_SHOWN = 12
MOST_VALUES_SHOWN = 6
CONVENTIONS = {
    3: "; this looks like ACDC (1 RV, 2 myocardium, 3 LV) or M&Ms (1 LV, 2 myocardium, 3 RV)",
    4: "; this looks like EMIDEC (1 LV, 2 to 4 myocardium)",
}
"""Texts about files whose values are those of another data set, by the largest value."""


@dataclass(frozen=True)
class LabelValues:
    """The values in a manual segmentation's file; 0 is background.

    Attributes:
        structures: each labelled structure and the values that stand for it.
        ignored: values that count as background.
        scar: the values of a structure that stand for scar drawn by hand.
    """

    structures: tuple[tuple[str, tuple[int, ...]], ...]
    ignored: tuple[int, ...] = ()
    scar: tuple[int, ...] = ()

    def text(self, structure: str) -> str:
        """Return a structure's values for a message, such as `2 or 3`."""
        return " or ".join(map(str, dict(self.structures).get(structure, ()))) or "no value"


CHALLENGE_VALUES = LabelValues(tuple((name, (value,)) for name, value in LABEL_VALUE.items()))
"""The label values of MS-CMRSeg 2019."""


def class_indices(
    path: Path, stored: NDArray[np.float32], errors: list[str], values: LabelValues = CHALLENGE_VALUES
) -> NDArray[np.uint8] | None:
    """Return the class indices of a file's label values, which may differ from whole numbers by rounding.

    If the values seem to be exchanged, an error is added to `errors` and the class indices are returned unchanged. If
    other values than the label values occur, an error is added and None is returned.
    """
    labels = _exact(stored, values)
    if labels is None:
        with np.errstate(invalid="ignore"):  # infinity minus infinity
            rounded = np.rint(stored)
            stored = np.where(np.abs(stored - rounded) < 1e-3, rounded, stored)
        labels = _exact(stored, values)
    if labels is None:
        named = [(value, name) for name, own in values.structures for value in own]
        named += [(value, "ignored") for value in values.ignored]
        unknown = np.unique(stored[~np.isin(stored, (0, *(value for value, _ in named)))])
        shown = ", ".join(f"{value:g}" for value in unknown[:MOST_VALUES_SHOWN])
        shown += ", ..." * (len(unknown) > MOST_VALUES_SHOWN)
        known = ", ".join(f"{value} {name}" for value, name in named)
        errors.append(f"{path}: must hold the labels 0 background, {known} only, got {shown}{_advice(unknown, values)}")
        return None
    errors += exchange_errors(path, labels, values)
    return labels


def _advice(unknown: NDArray[np.float32], values: LabelValues) -> str:
    """Return advice about values that have no meaning."""
    if values != CHALLENGE_VALUES:
        return "; say what they are in [labels] of dataset.toml, or that they count as background in its `ignore`"
    looks_like = next(
        (text for most, text in CONVENTIONS.items() if set(unknown.tolist()) <= set(range(1, most + 1))), ""
    )
    advice = "a dataset.toml says what values mean (--dataset FILE for single files)"
    return f"{looks_like}; {advice}: python -m jointnet.data init DIR"


def exchange_errors(path: Path, labels: NDArray[np.uint8], values: LabelValues = CHALLENGE_VALUES) -> list[str]:
    """Return an error if the labels (I, J, K) of a file seem to be exchanged in all or some slices.

    Without values for both the LV pool and the myocardium nothing can be said.
    """
    if not set(SURROUNDED) <= dict(values.structures).keys():
        return []
    rows, columns = (np.flatnonzero(labels.any(axes)) for axes in ((1, 2), (0, 2)))
    if not len(rows):
        return []
    labelled = labels[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]
    pairs = {index: pair for index in range(labels.shape[2]) if (pair := surrounded_pair(labelled[:, :, index]))}
    exchanged = {index: pair for index, pair in pairs.items() if pair != SURROUNDED}
    if len(exchanged) <= FEW * len(pairs):
        return []
    (pool, wall), _ = Counter(exchanged.values()).most_common(1)[0]
    slices = [index for index, pair in exchanged.items() if pair == (pool, wall)]
    sound_pool, sound_wall = SURROUNDED
    (rest,), (sound_rest,) = ([name for name in STRUCTURES if name not in pair] for pair in ((pool, wall), SURROUNDED))
    meant = {pool: sound_pool, wall: sound_wall, rest: sound_rest}
    moved = [
        values.text(name) for _, name in sorted((own, name) for name, own in values.structures) if meant[name] != name
    ]
    numbers = ", ".join(map(str, slices[:MOST_SLICES_SHOWN])) + (", ..." if len(slices) > MOST_SLICES_SHOWN else "")
    return [
        f"{path}: must show {sound_pool} ({values.text(sound_pool)}) surrounded by {sound_wall} "
        f"({values.text(sound_wall)}), but {values.text(pool)} is surrounded by {values.text(wall)} in "
        f"{len(slices)} of {len(pairs)} slices (from 0: {numbers}); it looks as if {', '.join(moved[:-1])} and "
        f"{moved[-1]} were exchanged; correct the labels or remove the patient"
    ]


def surrounded_pair(plane: NDArray[np.uint8]) -> tuple[str, str] | None:
    """Return the most surrounded structure in labels (I, J) and the one around it; None if none is surrounded."""
    borders = np.zeros((CLASSES, CLASSES), int)
    for one, other in ((plane[1:], plane[:-1]), (plane[:, 1:], plane[:, :-1])):
        pairs = np.bincount((one * np.uint8(CLASSES) + other).ravel(), minlength=CLASSES**2)
        borders += pairs.reshape(CLASSES, CLASSES)
    borders += borders.T
    np.fill_diagonal(borders, 0)
    outlines = borders.sum(1)
    shares = {
        (pool, wall): borders[CLASS_INDEX[pool], CLASS_INDEX[wall]] / outlines[CLASS_INDEX[pool]]
        for pool, wall in permutations(STRUCTURES, 2)
        if borders[CLASS_INDEX[pool], CLASS_INDEX[wall]]
    }
    most = max(shares, key=lambda pair: shares[pair], default=None)
    return most if most is not None and shares[most] >= SURROUNDS else None


def _exact(stored: NDArray[np.float32], values: LabelValues) -> NDArray[np.uint8] | None:
    """Return the class indices of label values, or None if any other value occurs."""
    labels = np.zeros_like(stored, np.uint8)
    recognised = np.count_nonzero(stored == 0)
    for name, own in values.structures:
        for value in own:
            labelled = stored == value
            recognised += np.count_nonzero(labelled)
            labels += labelled * np.uint8(CLASS_INDEX[name])
    recognised += sum(np.count_nonzero(stored == value) for value in values.ignored)
    return labels if recognised == stored.size else None
