import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scans import prepared

from jointnet.data import network_arrays
from jointnet.data.network_arrays import class_counts, kept_network_arrays


def labels_of(slices, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (slices, 2, 224, 224), dtype=np.uint8)


def by_blocks(array, block):
    side = array.shape[-1] // block
    return array.reshape(*array.shape[:-2], side, block, side, block)


@pytest.mark.parametrize("block", [1, 2, 4, 7])
def test_counts_are_pixels_of_each_structure_in_each_block(block):
    labels = labels_of(3)
    counts = class_counts(labels, block)
    assert counts.dtype == np.uint8
    for code in (1, 2, 3):
        expected = by_blocks(labels == code, block).sum((3, 5))
        np.testing.assert_array_equal(counts[:, :, code - 1], expected)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_images_are_block_means_to_half_precision(tmp_path, block):
    patient = prepared(tmp_path, 1, labels_of(2))
    images, counts = patient.network_arrays(block)
    exact = by_blocks(np.asarray(patient.images(), np.float64), block).mean((3, 5))
    assert images.dtype == np.float16
    np.testing.assert_allclose(images, exact, rtol=2**-11 * 1.001, atol=2**-24)
    np.testing.assert_array_equal(counts, class_counts(np.asarray(patient.labels()), block))


@pytest.mark.parametrize("block", [1, 2])
def test_they_are_mapped_read_only_and_made_once(tmp_path, monkeypatch, block):
    patient = prepared(tmp_path, 1, labels_of(2))
    first = patient.network_arrays(block)
    monkeypatch.setattr(network_arrays, "_fill", lambda *_: pytest.fail("made again"))
    for arrays in (first, patient.network_arrays(block)):
        for array in arrays:
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable
    np.testing.assert_array_equal(patient.network_arrays(block).images, first.images)


def test_other_blocks_and_other_rules_have_other_arrays(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    assert patient.network_arrays(2).images.shape[-1] == 112
    assert patient.network_arrays(4).images.shape[-1] == 56
    made = []
    real = network_arrays._fill
    monkeypatch.setattr(network_arrays, "_fill", lambda *all: made.append(all) or real(*all))
    patient.network_arrays(2)
    assert not made
    monkeypatch.setattr(network_arrays, "NETWORK_ARRAYS_VERSION", "another")
    patient.network_arrays(2)
    assert len(made) == 1


def test_ten_at_once_make_them_once(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    together, made, real = threading.Barrier(10, timeout=20), [], network_arrays._fill
    monkeypatch.setattr(network_arrays, "_fill", lambda *all: made.append(all) or real(*all))

    def ask(_):
        together.wait()
        return patient.network_arrays(2)

    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, range(10)))
    assert len(made) == 1
    for arrays in found:
        np.testing.assert_array_equal(arrays.counts, found[0].counts)


def test_interrupted_they_leave_nothing_behind(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    before = sorted(path.name for path in patient.path.iterdir())
    save = np.save

    def full(path, array):
        if path.name == "counts.npy":
            raise OSError("no space left")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="no space"):
        patient.network_arrays(2)
    assert sorted(path.name for path in patient.path.iterdir()) == before


def test_where_the_cache_cannot_be_written_to_they_are_in_memory(tmp_path, monkeypatch):
    patient = prepared(tmp_path, 1, labels_of(1))
    kept = prepared(tmp_path / "other", 1, labels_of(1)).network_arrays(2)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    images, labels = patient.images(), patient.labels()
    arrays = kept_network_arrays(patient.path, images, labels, 2)
    assert not isinstance(arrays.images, np.memmap)
    np.testing.assert_array_equal(arrays.images, kept.images)
    np.testing.assert_array_equal(arrays.counts, kept.counts)
    assert not list(patient.path.glob("network-*"))
