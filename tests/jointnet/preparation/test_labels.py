"""Labels with exchanged values in all or some slices are refused with the likely exchange; valid ones are accepted."""

from itertools import permutations

import numpy as np
import pytest
from scans import pair, write_nifti, write_patient

from jointnet.data.__main__ import main
from jointnet.data.folder import find_patients
from jointnet.errors import DataError
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.cache import prepare
from jointnet.preparation.labels import LabelValues, class_indices, exchange_errors, surrounded_pair
from jointnet.preparation.prepared_patient import read_label
from jointnet.structures import CLASS_INDEX, LABEL_VALUE, STRUCTURES, SURROUNDED

VALUES = tuple(LABEL_VALUE.values())
ORDERS = [order for order in permutations(VALUES) if order != VALUES]


def in_other_words(values, order):
    """Return an array in which each of `VALUES` is replaced by the value at the same index in `order`."""
    changed = values.copy()
    for value, other in zip(VALUES, order, strict=True):
        changed[values == value] = other
    return changed


def moved(order):
    """Return the values that stand for another structure, in the form of the error message."""
    first, *more = sorted(value for value, other in zip(VALUES, order, strict=True) if value != other)
    return f"{', '.join(map(str, [first, *more[:-1]]))} and {more[-1]} were exchanged"


@pytest.fixture(scope="module")
def phantom_labels(tmp_path_factory):
    """The class indices of two phantom patients by file."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=2, seed=0)
    errors = []
    labels = {path: read_label(path, errors) for path in sorted(folder.rglob("*_manual.nii.gz"))}
    assert errors == [], "sound"
    assert len(labels) == 4
    return labels


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("part", ["all slices", "half", "three slices"])
def test_every_exchange_is_named_in_every_scan(phantom_labels, order, part):
    in_labels = np.zeros(1 + max(CLASS_INDEX.values()), np.uint8)
    names = list(LABEL_VALUE)
    for name, other in zip(names, order, strict=True):
        in_labels[CLASS_INDEX[name]] = CLASS_INDEX[names[VALUES.index(other)]]
    for path, labels in phantom_labels.items():
        whole = np.flatnonzero([surrounded_pair(labels[:, :, k]) == SURROUNDED for k in range(labels.shape[2])])
        slices = {"all slices": whole, "half": whole[: len(whole) // 2], "three slices": whole[-3:]}[part]
        changed = labels.copy()
        changed[:, :, slices] = in_labels[labels[:, :, slices]]
        (error,) = exchange_errors(path, changed)
        assert error.startswith(f"{path}: must show lv (500) surrounded by myo (200), but ")
        assert f"in {len(slices)} of {len(whole)} slices (from 0: {slices[0]}, " in error
        assert moved(order) in error


@pytest.mark.parametrize("role", ["cine_label", "lge_label"])
@pytest.mark.parametrize("order", ORDERS[:3], ids=str)
def test_check_and_training_refuse_exchanged_labels_alike(tmp_path, capsys, role, order):
    scans = pair()
    paths = write_patient(tmp_path / "scans", 1, *scans)
    assert main(["check", str(tmp_path / "scans")]) == 0
    this = scans[0 if role == "cine_label" else 1]
    write_nifti(paths[role], in_other_words(this.label, order), this.affine)
    assert main(["check", str(tmp_path / "scans")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert moved(order) in line
    with pytest.raises(DataError) as caught:
        prepare(list(find_patients(tmp_path / "scans").values()), tmp_path / "cache")
    assert [f"error: {error}" for error in caught.value.errors] == [line]


def drawn(picture):
    """Return class indices (row, column, 1) of a text drawing. The letters m, l and r are structures."""
    letters = {".": 0, "m": CLASS_INDEX["myo"], "l": CLASS_INDEX["lv"], "r": CLASS_INDEX["rv"]}
    return np.array([[letters[letter] for letter in row] for row in picture.split()], np.uint8)[:, :, None]


SOUND = {
    "closed": ("..mmmm. rrmllm. rrmllm. ..mmmm.", SURROUNDED),
    "open towards the base": ("..mmm.. rrmll.. rrmll.. ..mmm..", SURROUNDED),
    "open on two sides": ("..mmm.. ...ll.. ...ll.. ..mmm..", None),
    "no myocardium": ("....... rr.ll.. rr.ll.. .......", None),
    "the pool alone": ("lllllll lllllll lllllll lllllll", None),
    "the RV in a notch": ("mmmmmmm mmrmmmm mrrmmmm ......m", ("rv", "myo")),
    "nothing": ("....... ....... ....... .......", None),
    "a wall of one pixel": (".mmmmm. mlllllm mlllllm .mmmmm.", SURROUNDED),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_sound_slices_show_is_no_exchange(name):
    picture, found = SOUND[name]
    labels = drawn(picture)
    assert surrounded_pair(labels[:, :, 0]) == found
    whole = np.concatenate([drawn(SOUND["closed"][0])] * 10 + [labels], 2)
    assert exchange_errors("label", whole) == []


def test_one_odd_slice_of_many_is_left_alone_and_of_few_is_not():
    closed, odd = drawn(SOUND["closed"][0]), drawn("..lllll rrlmmml rrlmmml ..lllll")
    assert exchange_errors("label", np.concatenate([closed] * 9 + [odd], 2)) == []
    (error,) = exchange_errors("label", np.concatenate([closed] * 8 + [odd], 2))
    assert "200 is surrounded by 500 in 1 of 9 slices (from 0: 8)" in error
    assert set(SURROUNDED) < set(STRUCTURES)


EMIDEC = LabelValues((("lv", (1,)), ("myo", (2, 3, 4))), ignored=(5,), scar=(3, 4))
"""Values of which several stand for one structure, one counts as background, and the RV has none."""


def test_values_of_one_structure_are_one_class_and_ignored_values_are_background():
    stored, errors = np.array([0, 1, 2, 3, 4, 5, 3.0002], np.float32).reshape(1, 7, 1), []
    expected = [0, *(CLASS_INDEX[name] for name in ("lv", "myo", "myo", "myo")), 0, CLASS_INDEX["myo"]]
    assert class_indices("scan.nii", stored, errors, EMIDEC).ravel().tolist() == expected
    assert errors == []


def test_a_value_without_a_name_is_shown_beside_the_file_s_own_values():
    errors = []
    assert class_indices("scan.nii", np.full((2, 2, 1), 200, np.float32), errors, EMIDEC) is None
    (error,) = errors
    assert "0 background, 1 lv, 2 myo, 3 myo, 4 myo, 5 ignored only, got 200; say what they are in [labels]" in error


LOOKS = {
    (1, 2, 3): "this looks like ACDC (1 RV, 2 myocardium, 3 LV) or M&Ms (1 LV",
    (1, 2): "this looks like ACDC",
    (2, 3, 4): "this looks like EMIDEC",
    (1, 2, 7): "got 1, 2, 7; a dataset.toml says",
}


@pytest.mark.parametrize("stored", LOOKS, ids=str)
def test_values_of_other_data_sets_are_recognised(stored):
    errors = []
    class_indices("scan.nii", np.array(stored, np.float32).reshape(-1, 1, 1), errors)
    (error,) = errors
    assert LOOKS[stored] in error
    assert error.endswith("python -m jointnet.data init DIR")


def test_an_exchange_is_told_in_the_file_s_own_values(phantom_labels):
    path, labels = next(iter(phantom_labels.items()))
    lv, myo = labels == CLASS_INDEX["lv"], labels == CLASS_INDEX["myo"]
    changed = np.where(lv, CLASS_INDEX["myo"], np.where(myo, CLASS_INDEX["lv"], 0)).astype(np.uint8)
    (error,) = exchange_errors(path, changed, EMIDEC)
    assert "must show lv (1) surrounded by myo (2 or 3 or 4), but 2 or 3 or 4 is surrounded by 1" in error
    assert "as if 1 and 2 or 3 or 4 were exchanged" in error


def test_without_values_for_pool_and_wall_no_exchange_is_looked_for(phantom_labels):
    path, labels = next(iter(phantom_labels.items()))
    assert exchange_errors(path, labels[..., ::-1], LabelValues((("lv", (1,)), ("rv", (3,))))) == []
