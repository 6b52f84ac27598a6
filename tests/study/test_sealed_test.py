import numpy as np
import pandas as pd
import pytest
import torch
from scans import heart, prepared
from torch import nn

from jointnet.geometry import HALF_EXTENT_MM, identity
from jointnet.networks import Output
from study.sealed_test import device_here, middle_slice, overlays, seed_rows


class ShiftByPosition(nn.Module):
    """Moves slice k of a patient by k mm: what it says of a slice depends on the others beside it."""

    downsampling, neighbours = 4, 0

    def forward(self, cine, lge, same_patient=False):
        theta = identity(len(cine))
        theta[:, 0, 2] = torch.arange(len(cine)) / HALF_EXTENT_MM
        return Output(theta)


def test_the_picture_shows_the_slice_as_it_was_evaluated(tmp_path):
    labels = np.stack([np.stack([heart(), heart((6.0, 0.0))])] * 7)
    drawn = overlays(ShiftByPosition(), [prepared(tmp_path, 4, labels)], "cpu")
    assert drawn["patients"].tolist() == [4]
    assert drawn["slices"].tolist() == [middle_slice(labels)] == [3]
    before, after = (np.argwhere(drawn[f"lge_labels_{when}"][0] == 2)[:, 1].mean() for when in ("before", "after"))
    assert before - after == 4  # 3 mm are 4 pixels of 0.75 mm


@pytest.mark.parametrize(
    ("device", "has_gpu", "here"), [("cpu", True, "cpu"), ("cuda", True, "cuda"), ("cuda", False, "cpu")]
)
def test_a_driver_without_a_gpu_tests_on_its_cpu(
    device: str, has_gpu: bool, here: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    assert device_here(device) == here


def test_rows_of_seeds_have_their_index_and_those_of_the_tuned_model_none():
    rows = pd.DataFrame({"patient": [1, 2], "after": [0.5, 0.7]})
    assert seed_rows({None: rows}).equals(rows)
    both = seed_rows({1: rows, 2: rows + 1})
    assert list(both.columns) == ["patient", "after", "seed_index"]
    assert both["seed_index"].tolist() == [1, 1, 2, 2] and both["after"].tolist() == [0.5, 0.7, 1.5, 1.7]
