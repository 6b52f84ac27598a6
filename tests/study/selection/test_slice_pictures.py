"""The stored pictures of test patients: all slices, with their positions, as they were evaluated."""

import numpy as np
import torch
from scans import feed_forward_settings, heart, prepared
from torch import nn

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.geometry import identity
from jointnet.networks import Output
from study.selection.slice_pictures import MARGIN_PX, slice_pictures


class ShiftByPosition(nn.Module):
    """A model that moves slice k of a patient by k mm, so that its output for a slice depends on the other slices."""

    settings = feed_forward_settings()

    def forward(self, cine, lge):
        theta = identity(len(cine))
        theta[:, 0, 2] = torch.arange(len(cine)) / HALF_EXTENT_MM
        return Output(theta)


def _columns(labels: np.ndarray) -> float:
    return float(np.argwhere(labels == 2)[:, 1].mean())


def test_every_slice_is_there_as_it_was_evaluated(tmp_path):
    labels = np.stack([np.stack([heart(), heart((6.0, 0.0))])] * 7)
    drawn = slice_pictures(ShiftByPosition(), [prepared(tmp_path, 4, labels)])
    assert drawn["patients"].tolist() == ["4"] * 7 and drawn["slices"].tolist() == list(range(7))
    for index in (0, 3, 6):
        before, after = (_columns(drawn[f"lge_labels_{when}"][index]) for when in ("before", "after"))
        assert before - after == index / 0.75  # index mm in pixels of 0.75 mm
        assert before - _columns(drawn["cine_labels"][index]) == 8  # 6 mm


def test_the_window_holds_the_labels_and_little_else(tmp_path):
    near, far = heart(), heart((30.0, 0.0))
    labels = {3: np.stack([np.stack([near, near])] * 2), 8: np.stack([np.stack([near, far])] * 3)}
    patients = [prepared(tmp_path, number, stack) for number, stack in labels.items()]
    drawn = slice_pictures(ShiftByPosition(), patients)
    assert drawn["patients"].tolist() == ["3", "3", "8", "8", "8"] and drawn["slices"].tolist() == [0, 1, 0, 1, 2]
    held = np.argwhere((near > 0) | (far > 0))
    side = int(np.ptp(held, axis=0).max()) + 1 + 2 * MARGIN_PX
    assert drawn["cine"].shape == (5, side, side) and drawn["cine"].dtype == np.uint8
    for row, number in ((0, 3), (4, 8)):
        cine, lge = labels[number][0]
        assert (drawn["cine_labels"][row] > 0).sum() == (cine > 0).sum()
        assert (drawn["lge_labels_before"][row] > 0).sum() == (lge > 0).sum()


def test_grey_values_stand_for_intensities(tmp_path):
    labels = np.stack([np.stack([heart(), heart()])])
    patient = prepared(tmp_path, 1, labels)
    drawn = slice_pictures(ShiftByPosition(), [patient])
    inside = drawn["cine_labels"][0] == 2
    expected = np.asarray(patient.images(), dtype=float)[0, 0][labels[0, 0] == 2]
    assert np.abs(drawn["cine"][0][inside] * (1.5 / 252) - expected).max() <= 0.5 * 1.5 / 63 + 1e-9


def test_a_patient_without_labels_keeps_the_whole_frame(tmp_path):
    drawn = slice_pictures(ShiftByPosition(), [prepared(tmp_path, 1, np.zeros((2, 2, 224, 224), np.uint8))])
    assert drawn["cine"].shape == (2, 224, 224)
