"""Which value is which structure, from discs and rings whose arrangement is known."""

import numpy as np
import pytest

from jointnet.data.init.label_meaning import Meaning, meaning, regions

GRID = np.stack(np.meshgrid(np.arange(64.0), np.arange(60.0), indexing="ij"))


def disc(row, column, radius):
    return np.hypot(GRID[0] - row, GRID[1] - column) < radius


def heart(lv=1, myo=2, rv=3, more=()):
    """Return labels (I, J, 2): a pool in a ring, an RV beside it, and further values with their masks, painted last."""
    plane = np.zeros(GRID.shape[1:], int)
    plane[disc(30, 14, 9)] = rv
    plane[disc(30, 34, 13)] = myo
    plane[disc(30, 34, 8)] = lv
    for value, mask in more:
        plane[mask] = value
    return np.stack([plane, plane], 2)


SECTOR = disc(30, 34, 13) & ~disc(30, 34, 8) & (GRID[1] > 38)
"""A scar through the whole wall, on the side away from the RV."""
INNER = disc(30, 34, 10) & ~disc(30, 34, 8) & (GRID[0] > 32)
"""A scar in the inner half of the wall."""
CORE = disc(40, 34, 1.5)
"""No-reflow within it."""
FAR = disc(8, 8, 5)


@pytest.mark.parametrize(
    ("labels", "structures", "scar", "ignored"),
    [
        (heart(), {"lv": (1,), "myo": (2,), "rv": (3,)}, (), ()),
        (heart(lv=3, myo=2, rv=1), {"lv": (3,), "myo": (2,), "rv": (1,)}, (), ()),
        (heart(lv=500, myo=200, rv=600), {"lv": (500,), "myo": (200,), "rv": (600,)}, (), ()),
        (heart(rv=0), {"lv": (1,), "myo": (2,)}, (), ()),
        (heart(rv=0, lv=7, myo=-1), {"lv": (7,), "myo": (-1,)}, (), ()),
        (heart(rv=5, more=[(3, SECTOR)]), {"lv": (1,), "myo": (2, 3), "rv": (5,)}, (3,), ()),
        (heart(rv=5, more=[(3, INNER), (4, CORE)]), {"lv": (1,), "myo": (2, 3, 4), "rv": (5,)}, (3, 4), ()),
        (heart(rv=0, more=[(3, INNER)]), {"lv": (1,), "myo": (2, 3)}, (3,), ()),
        (heart(more=[(9, FAR)]), {"lv": (1,), "myo": (2,), "rv": (3,)}, (), (9,)),
        (heart(rv=0, more=[(9, FAR)]), {"lv": (1,), "myo": (2,)}, (), (9,)),
        (heart(lv=0, rv=0, myo=4), {"myo": (4,)}, (), ()),
        (heart(rv=2, lv=1), {"lv": (1,), "myo": (2,)}, (), ()),  # RV and myocardium drawn as one
    ],
)
def test_what_the_values_stand_for(labels, structures, scar, ignored):
    found = meaning(regions([labels]))
    assert found.is_clear
    assert (found.structures, found.scar, found.ignored) == (structures, scar, ignored)
    assert bool(found.unsure) == bool(scar or ignored)


def test_a_patient_without_scar_tells_which_value_is_healthy():
    thirds = [heart(rv=5, more=[(4, SECTOR)])]
    healthy = [heart(rv=5)] * 3
    assert meaning(regions(thirds + healthy)).scar == (4,)
    assert meaning(regions([heart(myo=4, rv=5, more=[(2, SECTOR)])] + [heart(myo=4, rv=5)] * 3)).scar == (2,)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (heart(rv=0, myo=0), "1 is the only label and no ring"),
        (heart(myo=0), "none is enclosed"),
        (np.zeros((4, 4, 2), int), "(none)"),
    ],
)
def test_what_cannot_be_told(labels, said):
    found = meaning(regions([labels]))
    assert not found.is_clear
    assert said in found.unsure[0]
    assert found == Meaning({}, unsure=found.unsure, is_clear=False)


def test_a_small_rv_and_a_second_enclosed_region_are_doubtful():
    small = heart(rv=0, more=[(3, disc(30, 19, 3) & ~disc(30, 34, 13))])
    assert "small" in meaning(regions([small])).unsure[0]
    walled = heart(rv=0, more=[(4, disc(30, 12, 9) & ~disc(30, 34, 13)), (3, disc(30, 12, 7) & ~disc(30, 34, 13))])
    assert "nearly as large" in " ".join(meaning(regions([walled])).unsure)


def test_the_borders_of_two_squares():
    labels = np.zeros((6, 6, 1), int)
    labels[1:3, 1:3], labels[3:5, 1:3] = 5, 9
    seen = regions([labels])
    assert seen.values == (5, 9)
    assert seen.voxels == {5: 4, 9: 4}
    assert seen.borders.tolist() == [[0, 6, 6], [6, 0, 2], [6, 2, 0]]
    assert seen.share(5, (9,)) == pytest.approx(0.25)
    assert seen.share(9, (0, 5)) == 1
