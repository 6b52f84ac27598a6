"""Which label value is which structure, from how the labelled regions lie in short-axis slices.

The myocardium encloses the LV pool, the largest region that borders on labels all around. Regions within the wall are
parts of it, such as scar. The RV lies beside the wall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, find_objects

from jointnet.structures import STRUCTURES

ENCLOSED = 2 / 3
"""Share of a region's outline that must border on other labels for it to be enclosed, as in `preparation.labels`."""
WITHIN_WALL = 0.6
"""Share of a region's outline that must border on LV pool and wall for it to be a part of the wall. The RV's is 0.5."""
TOUCHES_POOL = 0.1
"""Share of the outline on the LV pool from which `WITHIN_WALL_AT_POOL` suffices: a scar through the whole wall."""
WITHIN_WALL_AT_POOL = 0.4
BESIDE_WALL = 0.02
"""Least share of the RV's outline that borders on the wall."""
SMALL = 0.2
"""Share of the LV pool's voxels below which an RV is doubtful."""
LARGE = 0.5
"""Share of the LV pool's voxels from which another enclosed region may be the LV pool as well."""
MOST_VALUES = 20
"""Largest number of values of a label file."""


@dataclass(frozen=True)
class Regions:
    """The size and the borders of the regions of label arrays, by value.

    Attributes:
        places: the values and 0, in ascending order.
        voxels: number of voxels by value.
        borders: length in pixels of the border between two of `places`, (values + 1, values + 1).
        slices: number of slices that show a value, by value.
        rings: number of slices in which a value encloses background, by value.
    """

    places: tuple[int, ...]
    voxels: Mapping[int, int]
    borders: NDArray[np.int64]
    slices: Mapping[int, int]
    rings: Mapping[int, int]

    @property
    def values(self) -> tuple[int, ...]:
        """The values but 0, in ascending order."""
        return tuple(value for value in self.places if value)

    def share(self, value: int, others: Sequence[int]) -> float:
        """Return the share of a value's outline that borders on other values."""
        row = self.borders[self.places.index(value)]
        return float(row[[self.places.index(other) for other in others]].sum() / max(1, row.sum()))


@dataclass(frozen=True)
class Meaning:
    """The meaning of label values.

    Attributes:
        structures: values by structure, the myocardium's main value first.
        scar: the myocardium's values that lie within its wall.
        ignored: values that are none of the structures.
        unsure: what is doubtful, each a sentence.
        is_clear: whether the meaning could be determined.
    """

    structures: Mapping[str, tuple[int, ...]]
    scar: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    unsure: tuple[str, ...] = ()
    is_clear: bool = True

    @property
    def values(self) -> set[int]:
        """All values that have a meaning."""
        return {value for own in self.structures.values() for value in own} | set(self.ignored)

    def within(self, other: "Meaning") -> bool:
        """Return whether the values of each structure are among those of another meaning."""
        return all(set(own) <= set(other.structures.get(name, ())) for name, own in self.structures.items())


def meaning_of(table: Mapping[str, Any]) -> Meaning:
    """Return the meaning that a table such as `[labels]` states: a value or values by structure, `ignore`, `scar`."""
    stated = {key: tuple(own) if isinstance(own, list | tuple) else (own,) for key, own in table.items()}
    structures = {name: own for name, own in stated.items() if name in STRUCTURES}
    return Meaning(structures, stated.get("scar", ()), stated.get("ignore", ()))


def regions(arrays: Sequence[NDArray[np.int64]]) -> Regions:
    """Return the regions of label arrays (I, J, K), over all slices of all arrays."""
    places = np.unique(np.concatenate([[0], *map(np.unique, arrays)]))
    count, background = len(places), int(np.searchsorted(places, 0))
    borders = np.zeros((count, count), np.int64)
    voxels = np.zeros(count, np.int64)
    slices, rings = np.zeros(count, int), np.zeros(count, int)
    for array in arrays:
        indices = np.searchsorted(places, _cropped(array))
        voxels += np.bincount(indices.ravel(), minlength=count)
        for one, other in ((indices[1:], indices[:-1]), (indices[:, 1:], indices[:, :-1])):
            borders += np.bincount((one * count + other).ravel(), minlength=count**2).reshape(count, count)
        for plane in np.moveaxis(indices, 2, 0):
            for place in np.unique(plane[plane != background]):
                slices[place] += 1
                rings[place] += bool((binary_fill_holes(plane == place) & (plane == background)).any())
    borders += borders.T
    np.fill_diagonal(borders, 0)
    listed = tuple(places.tolist())
    by_value = [
        {value: count for value, count in zip(listed, counts.tolist(), strict=True) if value}
        for counts in (voxels, slices, rings)
    ]
    return Regions(listed, by_value[0], borders, by_value[1], by_value[2])


def _cropped(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the part of an array that holds labels, with a rim of background about the rows and columns."""
    found = find_objects((array != 0).astype(np.uint8))
    return np.pad(array[found[0]] if found else array[:0, :0], ((1, 1), (1, 1), (0, 0)))


def meaning(seen: Regions) -> Meaning:
    """Return the meaning of the values."""
    if len(seen.values) == 1:
        (value,) = seen.values
        if 2 * seen.rings[value] >= seen.slices[value]:
            return Meaning({"myo": (value,)})
        return _unclear(f"{value} is the only label and no ring: it may be LV pool, myocardium or RV")
    enclosed = [value for value in seen.values if 1 - seen.share(value, (0,)) >= ENCLOSED]
    if not enclosed:
        listed = ", ".join(map(str, seen.values)) or "none"
        return _unclear(f"of the labels ({listed}) none is enclosed by others, as the LV pool is by the myocardium")
    pool = max(enclosed, key=lambda value: seen.voxels[value])
    unsure = [
        f"{value} is enclosed by labels as {pool} is and nearly as large; {pool} is taken as the LV pool"
        for value in enclosed
        if value != pool and seen.voxels[value] >= LARGE * seen.voxels[pool]
    ]
    rest = [value for value in seen.values if value != pool]
    main = max(rest, key=lambda value: seen.share(pool, (value,)))
    wall = _wall(seen, pool, main, rest)
    main = min(wall, key=lambda value: (-seen.slices[value], value))
    scar = tuple(value for value in wall if value != main)
    unsure += [f"{_listed(scar)} lie within the myocardium: taken as parts of it, and as scar"] if scar else []
    structures = {"lv": (pool,), "myo": (main, *scar)}
    outside = sorted((value for value in rest if value not in wall), key=lambda value: -seen.voxels[value])
    beside = [value for value in outside if seen.share(value, wall) >= BESIDE_WALL]
    if beside:
        right = beside[0]
        structures["rv"] = (right,)
        if seen.voxels[right] < SMALL * seen.voxels[pool]:
            unsure.append(f"{right} lies beside the myocardium but is small: taken as the RV")
    ignored = tuple(sorted(value for value in outside if (value,) != structures.get("rv")))
    unsure += [f"{_listed(ignored)} lie outside LV, myocardium and RV: ignored, which counts as background"] * bool(
        ignored
    )
    return Meaning(structures, scar, ignored, tuple(unsure))


def _wall(seen: Regions, pool: int, main: int, rest: Sequence[int]) -> list[int]:
    """Return the values of the myocardium: `main`, and those whose regions lie within the wall."""
    wall = list(rest)
    while True:
        shares = {
            value: seen.share(value, (pool, *(other for other in wall if other != value)))
            for value in wall
            if value != main
        }
        least = {
            value: WITHIN_WALL_AT_POOL if seen.share(value, (pool,)) >= TOUCHES_POOL else WITHIN_WALL
            for value in shares
        }
        outside = [value for value in shares if shares[value] < least[value]]
        if not outside:
            return wall
        wall.remove(min(outside, key=lambda value: shares[value] - least[value]))


def _unclear(reason: str) -> Meaning:
    return Meaning({}, unsure=(reason,), is_clear=False)


def _listed(values: Sequence[int]) -> str:
    return " and ".join(map(str, values))
