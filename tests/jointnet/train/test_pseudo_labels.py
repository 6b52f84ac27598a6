import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scans import feed_forward_settings, heart, prepared, stir, tiny_settings
from torch import nn

from jointnet.batches.dataset import SlicePairDataset
from jointnet.errors import SettingsError
from jointnet.geometry import identity
from jointnet.networks import Output, build_model
from jointnet.structures import CLASS_INDEX
from jointnet.train.pseudo_labels import LEAST_AGREEMENT, agreement, pseudo_label


def boxes(lv=0, myo=0, rv=0):
    """Return a label map with the given number of pixels per structure, each structure in its own row."""
    codes = np.zeros((3, 20), np.uint8)
    for row, (name, count) in enumerate({"lv": lv, "myo": myo, "rv": rv}.items()):
        codes[row, :count] = CLASS_INDEX[name]
    return codes


@pytest.mark.parametrize(
    ("cine", "moved", "expected"),
    [
        (boxes(8, 8, 8), boxes(8, 8, 8), 1.0),
        (boxes(8), boxes(4), 2 * 4 / 12),
        (boxes(8, 8), boxes(8, 2), (1 + 2 * 2 / 10) / 2),
        (boxes(8), boxes(0, 8), 0.0),
        (boxes(8, 8, 8), boxes(8, 8, 0), 2 / 3),
        (boxes(), boxes(), 0.0),
    ],
)
def test_agreement_is_the_mean_dice_over_what_either_shows(cine, moved, expected):
    assert agreement(cine, moved) == pytest.approx(expected)


class Remembering(nn.Module):
    """A teacher that returns given class codes and the identity transform."""

    settings = feed_forward_settings()

    def __init__(self, cine, lge):
        super().__init__()
        self.codes = cine, lge

    def forward(self, cine, lge):
        scores = [10 * F.one_hot(torch.from_numpy(codes).long(), 4).permute(0, 3, 1, 2).float() for codes in self.codes]
        return Output(identity(len(cine)), *scores)


def test_slices_take_part_where_the_segmentations_agree(tmp_path):
    """Slice 0: LGE equals cine. Slice 1: LGE is displaced by 30 mm, with little overlap. Slice 2: empty."""
    cine = np.stack([heart((0, 0)), heart((0, 0)), np.zeros((224, 224), np.uint8)])
    lge = np.stack([heart((0, 0)), heart((30, 0)), np.zeros((224, 224), np.uint8)])
    assert agreement(cine[1], lge[1]) < LEAST_AGREEMENT
    manual = np.zeros((3, 2, 224, 224), np.uint8)
    patient = prepared(tmp_path, 7, manual)
    (labelled,) = pseudo_label(Remembering(cine, lge), [patient])
    assert (labelled.patient, labelled.labelled_slices) == ("7", 1)
    np.testing.assert_array_equal(labelled.labels()[0], np.stack([cine[0], lge[0]]))
    assert not labelled.labels()[1:].any()
    np.testing.assert_array_equal(labelled.images(), patient.images())
    assert len(SlicePairDataset([labelled], 4, 0, "cpu")) == 1


def test_manual_labels_of_a_weak_patient_are_not_used(tmp_path):
    codes = np.stack([heart((0, 0))] * 2)
    manual = np.stack([np.stack([heart((9, 9))] * 2)] * 2)
    (labelled,) = pseudo_label(Remembering(codes, codes), [prepared(tmp_path, 1, manual)])
    np.testing.assert_array_equal(labelled.labels(), np.stack([codes, codes], 1))


def test_a_teacher_that_does_not_segment_is_refused(tmp_path):
    model = stir(build_model(tiny_settings(model__name="standalone")))
    with pytest.raises(SettingsError, match="--teacher: must be a model that segments, got one without"):
        pseudo_label(model, [prepared(tmp_path, 1, np.zeros((1, 2, 224, 224), np.uint8))])
