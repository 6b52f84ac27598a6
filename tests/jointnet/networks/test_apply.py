import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scans import feed_forward_settings, stir, tiny_settings
from torch import nn

from jointnet.geometry import identity
from jointnet.networks import Output, build_model
from jointnet.networks.apply import network_images, predict


class Says(nn.Module):
    """A model that returns given segmentation scores."""

    def __init__(self, scores):
        super().__init__()
        self.settings, self.scores = feed_forward_settings(training__downsampling=224 // scores.shape[-1]), scores

    def forward(self, cine, lge):
        return Output(identity(len(cine)), self.scores, self.scores.flip(0))


class Fake(nn.Module):
    """A model that returns constant theta and scores computed from the images."""

    def __init__(self, downsampling, segments=True):
        super().__init__()
        self.settings, self.segments, self.seen = (
            feed_forward_settings(training__downsampling=downsampling),
            segments,
            None,
        )

    def forward(self, cine, lge):
        assert not self.training
        self.seen = cine, lge
        theta = identity(len(cine)) + torch.arange(len(cine))[:, None, None]
        if not self.segments:
            return Output(theta)
        return Output(
            theta, *(torch.cat([0.5 - image, image * 0, image - 0.5, image * 0 - 9], 1) for image in (cine, lge))
        )


def images(slices=3):
    blocks = np.random.default_rng(0).integers(0, 2, (slices, 2, 28, 28))
    return blocks.repeat(8, 2).repeat(8, 3).astype(np.float16)


@pytest.mark.parametrize("downsampling", [1, 2, 4])
def test_labels_come_back_on_the_common_grid(downsampling):
    model, pictures = Fake(downsampling), images()
    prediction = predict(model, pictures)
    side = 224 // downsampling
    assert model.seen[0].shape == (3, 1, side, side)
    assert prediction.theta.shape == (3, 2, 3)
    np.testing.assert_allclose(prediction.theta, [np.eye(2, 3) + index for index in range(3)])
    for channel, labels in enumerate((prediction.cine_labels, prediction.lge_labels)):
        assert labels.shape == (3, 224, 224)
        assert labels.dtype == np.uint8
        # away from block borders there is no interpolation
        np.testing.assert_array_equal(labels[:, 4::8, 4::8], 2 * pictures[:, channel, 4::8, 4::8])
        assert np.mean(labels != 2 * pictures[:, channel]) < 0.35


@pytest.mark.parametrize("downsampling", [1, 2, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("row", "column", "radius"), [(0.1, -0.2, 0.4), (-0.9, 0.95, 0.3), (0, 0, 2), (0.3, 0.3, 0.02), (5, 5, 0)]
)
def test_labels_are_the_likeliest_of_scores_interpolated_everywhere(row, column, radius, layout, downsampling):
    """A structure in the middle, at a corner, everywhere, of one or two pixels, and none."""
    side = 224 // downsampling
    centres = torch.linspace(-1, 1, side)
    outside = ((centres[:, None] - row) ** 2 + (centres - column) ** 2 > radius**2).float()
    scores = torch.randn(3, 4, side, side, generator=torch.Generator().manual_seed(0))
    scores[:, 0] += 20 * outside - 10
    scores = scores.contiguous(memory_format=layout)
    prediction = predict(Says(scores), images())
    fine = F.interpolate(scores, size=(224, 224), mode="bilinear", align_corners=False) if side < 224 else scores
    wanted = fine.argmax(1).numpy()
    assert wanted.any() == (radius > 0)
    np.testing.assert_array_equal(prediction.cine_labels, wanted)
    np.testing.assert_array_equal(prediction.lge_labels, wanted[::-1])


def test_a_model_that_does_not_segment_has_no_labels():
    prediction = predict(Fake(4, segments=False), images())
    assert prediction.cine_labels is None
    assert prediction.lge_labels is None


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_left_as_it_was_also_after_a_failure(training):
    model = Fake(4).train(training)
    predict(model, images())
    assert model.training == training
    model.forward = lambda *_, **__: 1 / 0
    with pytest.raises(ZeroDivisionError):
        predict(model, images())
    assert model.training == training


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_a_prediction_is_refined_by_descriptors_where_the_settings_say_so(weight):
    """In training, the model processes each slice separately and without descriptors."""
    settings = tiny_settings(registration__pooling="independent", training__downsampling=2)
    if weight == 0:
        settings = feed_forward_settings(training__downsampling=2)
    torch.manual_seed(0)
    model = stir(build_model(settings))
    inputs = network_images(images(), 2, "cpu")
    with torch.inference_mode():
        plain = model(inputs[:, :1], inputs[:, 1:]).theta.numpy()
    assert (np.abs(predict(model, images()).theta - plain).max() > 1e-4) == (weight > 0)


@pytest.mark.parametrize("name", ["standalone", "joint"])
def test_the_slices_of_a_patient_do_not_influence_each_other(name):
    torch.manual_seed(0)
    model = stir(build_model(tiny_settings(model__name=name, registration__pooling="independent")))
    together = predict(model, images())
    for index in range(3):
        alone = predict(model, images()[index : index + 1])
        np.testing.assert_allclose(alone.theta[0], together.theta[index], atol=1e-4)


@pytest.mark.parametrize("name", ["standalone", "joint"])
def test_a_prediction_in_16_bits_is_nearly_that_in_32_and_comes_in_the_same_types(name):
    torch.manual_seed(0)
    model = stir(build_model(tiny_settings(model__name=name)))
    wide, narrow = (predict(model, images(), precision=each) for each in (torch.float32, torch.bfloat16))
    difference = np.abs(narrow.theta - wide.theta).max()
    assert 0 < difference < 0.02
    assert narrow.theta.dtype == np.float32
    if wide.cine_labels is not None and narrow.cine_labels is not None:
        assert narrow.cine_labels.dtype == np.uint8
        assert np.mean(narrow.cine_labels != wide.cine_labels) < 0.02


def test_memory_mapped_read_only_images_are_taken(tmp_path):
    np.save(tmp_path / "images.npy", images())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    np.testing.assert_array_equal(predict(Fake(2), mapped).cine_labels, predict(Fake(2), images()).cine_labels)
