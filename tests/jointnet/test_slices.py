import numpy as np
import pytest
import torch
from scans import prepared

from jointnet.slices import SlicePairs, around, network_images


def labels_of(rng, slices):
    return rng.integers(0, 4, (slices, 2, 224, 224), dtype=np.uint8)


@pytest.mark.parametrize("downsampling", [1, 2, 4])
def test_network_images_are_block_means(downsampling):
    images = np.random.default_rng(0).random((3, 2, 224, 224)).astype(np.float16)
    side = 224 // downsampling
    expected = images.astype(np.float32).reshape(3, 2, side, downsampling, side, downsampling).mean((3, 5))
    np.testing.assert_allclose(network_images(images, downsampling, "cpu").numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("downsampling", [1, 2, 4])
def test_labels_are_the_share_of_each_class_in_a_block(tmp_path, downsampling):
    labels = labels_of(np.random.default_rng(1), 2)
    pairs = SlicePairs([prepared(tmp_path, 1, labels)], downsampling, 0, "cpu")
    batch = pairs.batch(torch.tensor([1, 0]))
    side = 224 // downsampling
    for channel, shares in enumerate((batch.cine_labels, batch.lge_labels)):
        for code in range(4):
            blocks = (labels[[1, 0], channel] == code).reshape(2, side, downsampling, side, downsampling).mean((2, 4))
            np.testing.assert_allclose(shares[:, code].numpy(), blocks, atol=1e-6)


def test_slices_without_any_label_are_left_out_and_one_label_is_enough(tmp_path):
    labels = np.zeros((5, 2, 224, 224), np.uint8)
    labels[1, 0, 5, 5], labels[3, 1, 9, 9] = 1, 3
    labels[4] = 2
    patients = [prepared(tmp_path, 1, labels), prepared(tmp_path, 2, labels[3:])]
    pairs = SlicePairs(patients, 4, 0, "cpu")
    assert len(pairs) == 5
    expected = torch.cat(
        [network_images(patients[0].images(), 4, "cpu")[[1, 3, 4]], network_images(patients[1].images(), 4, "cpu")]
    )
    batch = pairs.batch(torch.arange(5))
    torch.testing.assert_close(torch.cat([batch.cine, batch.lge], 1), expected)
    assert float(batch.cine_labels[0, 1, 1, 1]) == pytest.approx(1 / 16)
    assert float(batch.lge_labels[1, 3, 2, 2]) == pytest.approx(1 / 16)


def test_a_batch_has_a_shape_and_probabilities(tmp_path):
    pairs = SlicePairs([prepared(tmp_path, 1, labels_of(np.random.default_rng(2), 3))], 4, 0, "cpu")
    batch = pairs.batch(torch.tensor([2, 0, 2]))
    assert batch.cine.shape == batch.lge.shape == (3, 1, 56, 56)
    assert batch.cine_labels.shape == (3, 4, 56, 56)
    torch.testing.assert_close(batch.cine_labels.sum(1), torch.ones(3, 56, 56))
    torch.testing.assert_close(batch.lge[0], batch.lge[2])


def test_a_slice_sees_its_neighbours_and_the_last_one_again_at_the_end():
    assert around(4, 1).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert around(2, 2).tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]
    assert around(3, 0).tolist() == [[0], [1], [2]]


def test_neighbours_come_from_the_same_patient_labelled_or_not(tmp_path):
    labels = np.zeros((3, 2, 224, 224), np.uint8)
    labels[1] = 2
    patients = [prepared(tmp_path, number, labels) for number in (1, 2)]
    batch = SlicePairs(patients, 4, 1, "cpu").batch(torch.tensor([1]))
    own = network_images(patients[1].images(), 4, "cpu")
    torch.testing.assert_close(batch.cine[0], own[:, 0])
    torch.testing.assert_close(batch.lge[0], own[:, 1])
    assert len(SlicePairs(patients, 4, 1, "cpu")) == 2
