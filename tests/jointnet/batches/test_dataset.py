import numpy as np
import pytest
import torch
from scans import prepared

from jointnet.batches.dataset import ShuffledPasses, SlicePairDataset
from jointnet.networks.apply import neighbour_indices, network_images
from jointnet.structures import CLASS_INDEX


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
    pairs = SlicePairDataset([prepared(tmp_path, 1, labels)], downsampling, 0, "cpu")
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
    pairs = SlicePairDataset(patients, 4, 0, "cpu")
    assert len(pairs) == 5
    expected = torch.cat(
        [network_images(patients[0].images(), 4, "cpu")[[1, 3, 4]], network_images(patients[1].images(), 4, "cpu")]
    )
    batch = pairs.batch(torch.arange(5))
    torch.testing.assert_close(torch.cat([batch.cine, batch.lge], 1), expected.half().float(), rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([batch.cine, batch.lge], 1), expected, rtol=2**-11, atol=2**-25)
    assert float(batch.cine_labels[0, 1, 1, 1]) == pytest.approx(1 / 16)
    assert float(batch.lge_labels[1, 3, 2, 2]) == pytest.approx(1 / 16)


def test_a_batch_has_a_shape_and_probabilities(tmp_path):
    pairs = SlicePairDataset([prepared(tmp_path, 1, labels_of(np.random.default_rng(2), 3))], 4, 0, "cpu")
    batch = pairs.batch(torch.tensor([2, 0, 2]))
    assert batch.cine.shape == batch.lge.shape == (3, 1, 56, 56)
    assert batch.cine_labels.shape == (3, 4, 56, 56)
    torch.testing.assert_close(batch.cine_labels.sum(1), torch.ones(3, 56, 56))
    torch.testing.assert_close(batch.lge[0], batch.lge[2])


def test_a_slice_sees_its_neighbours_and_the_last_one_again_at_the_end():
    assert neighbour_indices(4, 1).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]
    assert neighbour_indices(2, 2).tolist() == [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]
    assert neighbour_indices(3, 0).tolist() == [[0], [1], [2]]


def test_neighbours_come_from_the_same_patient_labelled_or_not(tmp_path):
    labels = np.zeros((3, 2, 224, 224), np.uint8)
    labels[1] = 2
    patients = [prepared(tmp_path, number, labels) for number in (1, 2)]
    batch = SlicePairDataset(patients, 4, 1, "cpu").batch(torch.tensor([1]))
    own = network_images(patients[1].images(), 4, "cpu").half().float()
    torch.testing.assert_close(batch.cine[0], own[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(batch.lge[0], own[:, 1], rtol=0, atol=0)
    assert len(SlicePairDataset(patients, 4, 1, "cpu")) == 2


@pytest.mark.parametrize("downsampling", [1, 2])
@pytest.mark.parametrize("neighbours", [0, 2])
def test_a_batch_is_a_loop_over_its_indices(tmp_path, downsampling, neighbours):
    rng = np.random.default_rng(3)
    patients = [
        prepared(tmp_path, number, labels_of(rng, slices), number) for number, slices in ((1, 3), (2, 1), (3, 4))
    ]
    pairs = SlicePairDataset(patients, downsampling, neighbours, "cpu")
    indices = torch.tensor([7, 0, 3, 3, 5])
    batch = pairs.batch(indices)
    for place, index in enumerate(indices):
        for whole, single in zip(batch, pairs.batch(index[None]), strict=True):
            torch.testing.assert_close(whole[place], single[0], rtol=0, atol=0)
    slices = [network_images(patient.images(), downsampling, "cpu").half().float() for patient in patients]
    seen = [patient[neighbour_indices(len(patient), neighbours)] for patient in slices]
    torch.testing.assert_close(batch.lge, torch.cat(seen)[indices, :, 1], rtol=0, atol=0)


def test_other_devices_hold_what_a_cpu_reads_from_the_cache(tmp_path, monkeypatch):
    """Without a GPU: compare the tensors for another device with those of a batch on the CPU."""
    labels = labels_of(np.random.default_rng(4), 3)
    labels[1] = 0
    patients = [prepared(tmp_path, number, labels) for number in (1, 2)]
    expected = SlicePairDataset(patients, 2, 1, "cpu").batch(torch.tensor([3, 0]))
    real = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda this, *how: this if how == (torch.device("cuda"),) else real(this, *how)
    )
    batch = SlicePairDataset(patients, 2, 1, "cuda").batch(torch.tensor([3, 0]))
    for got, wanted in zip(batch, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_a_batch_is_a_copy_and_the_cache_is_read_only(tmp_path):
    patient = prepared(tmp_path, 1, labels_of(np.random.default_rng(5), 2))
    pairs = SlicePairDataset([patient], 2, 0, "cpu")
    before = pairs.batch(torch.tensor([0]))
    for tensor in pairs.batch(torch.tensor([0])):
        tensor.zero_()
    for tensor, same in zip(pairs.batch(torch.tensor([0])), before, strict=True):
        torch.testing.assert_close(tensor, same, rtol=0, atol=0)
    with pytest.raises(ValueError, match="read-only"):
        patient.network_arrays(2).images[0] = 0


@pytest.mark.parametrize("downsampling", [1, 2, 4])
@pytest.mark.parametrize("neighbours", [0, 1])
def test_the_field_of_a_batch_is_what_all_slices_seen_have_in_common(tmp_path, downsampling, neighbours):
    labels = labels_of(np.random.default_rng(3), 3)
    field = np.zeros((3, 224, 224), bool)
    for index, each in enumerate(field):
        each[9 * index : 200, 11 : 224 - 13 * index] = True
    pairs = SlicePairDataset([prepared(tmp_path, 1, labels, field=field)], downsampling, neighbours, "cpu")
    side = 224 // downsampling
    whole = field.reshape(3, side, downsampling, side, downsampling).all((2, 4))
    seen = [[0, 0, 1], [0, 1, 2], [1, 2, 2]] if neighbours else [[0], [1], [2]]
    expected = np.stack([whole[indices].all(0) for indices in seen])
    np.testing.assert_array_equal(pairs.batch(torch.arange(3)).field[:, 0].numpy(), expected)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 8, [2]), (1, 1, [1])]
)
def test_every_pass_has_each_slice_once_in_a_new_order(count, batch_size, sizes):
    passes = ShuffledPasses(count, batch_size, torch.Generator().manual_seed(1))
    assert passes.steps_per_pass == len(sizes)
    orders = []
    for _ in range(4):
        batches = [passes.next_batch() for _ in sizes]
        assert [len(batch) for batch in batches] == sizes
        orders.append(torch.cat(batches).tolist())
        assert sorted(orders[-1]) == list(range(count))
    assert len(set(map(tuple, orders))) > 1 or count < 3
    reference = torch.Generator().manual_seed(1)
    assert orders[0] == torch.randperm(count, generator=reference).tolist()


@pytest.mark.parametrize("done", range(5))
def test_a_pass_continues_where_its_state_was_taken(done):
    generator = torch.Generator().manual_seed(1)
    passes = ShuffledPasses(5, 2, generator)
    for _ in range(done):
        passes.next_batch()
    left, drawn = passes.state_dict(), generator.get_state()
    expected = [passes.next_batch().tolist() for _ in range(7)]
    other = torch.Generator()
    again = ShuffledPasses(5, 2, other)
    again.load_state_dict(left)
    other.set_state(drawn)
    assert [again.next_batch().tolist() for _ in range(7)] == expected


@pytest.mark.parametrize(
    ("undrawn", "structures", "expected"),
    [
        ((), ("lv", "myo", "rv"), [[1, 1, 1], [1, 1, 1]]),
        ((), ("lv", "myo"), [[1, 1, 0], [1, 1, 0]]),
        ((), ("lv",), [[0, 1, 0], [0, 1, 0]]),
        (((0, "rv"),), ("lv", "myo", "rv"), [[1, 1, 0], [1, 1, 1]]),
        (((0, "lv"), (0, "myo"), (0, "rv")), ("lv", "myo", "rv"), [[0, 0, 0], [1, 1, 1]]),
        (((1, "myo"),), ("myo", "rv"), [[1, 0, 1], [0, 0, 1]]),
    ],
    ids=str,
)
def test_what_nobody_drew_or_nobody_asked_for_is_not_labelled_and_empty(tmp_path, undrawn, structures, expected):
    labels = labels_of(np.random.default_rng(3), 2)
    for image, name in undrawn:
        labels[:, image][labels[:, image] == CLASS_INDEX[name]] = 0
    pairs = SlicePairDataset([prepared(tmp_path, 1, labels)], 4, 0, "cpu", structures)
    batch = pairs.batch(torch.arange(2))
    assert batch.labelled.tolist() == [expected, expected]  # by class: myocardium, LV, RV
    for maps, known in zip((batch.cine_labels, batch.lge_labels), expected, strict=True):
        assert (maps[:, 1:].amax((0, 2, 3)) > 0).tolist() == [bool(each) for each in known]
        torch.testing.assert_close(maps.sum(1), torch.ones(2, 56, 56))


def test_a_slice_that_shows_only_what_is_not_asked_for_is_left_out(tmp_path):
    labels = np.zeros((3, 2, 224, 224), np.uint8)
    labels[0], labels[1], labels[2, 0, 4, 4] = CLASS_INDEX["rv"], CLASS_INDEX["lv"], CLASS_INDEX["lv"]
    assert len(SlicePairDataset([prepared(tmp_path, 1, labels)], 4, 0, "cpu", ("lv", "myo"))) == 2
