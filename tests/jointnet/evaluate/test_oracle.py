import numpy as np
import pytest
from scans import heart

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.evaluate.metrics import overlap_metrics
from jointnet.evaluate.oracle import oracle
from jointnet.geometry import warp_labels


@pytest.mark.parametrize("shift_mm", [(0.0, 0.0), (6.0, -4.5), (-9.0, 3.0)])
def test_a_pure_shift_is_undone(shift_mm):
    labels = np.stack([np.stack([heart(), heart(np.array(shift_mm))])] * 2)
    found = oracle(labels)
    expected = np.array(shift_mm)
    moved = found.theta[:, :, :2] @ np.zeros(2) + found.theta[:, :, 2]
    np.testing.assert_allclose(moved * HALF_EXTENT_MM, np.stack([expected] * 2), atol=0.4)
    after = overlap_metrics(labels[0, 0], warp_labels(labels[:1, 1], found.theta[:1])[0])
    assert after["cd_mm", "lv"] < 0.3
    assert after["asd_mm", "myo"] < 0.3


def test_labels_that_hold_nothing_stay_where_they_are():
    theta = oracle(np.zeros((1, 2, 224, 224), np.uint8)).theta
    np.testing.assert_allclose(theta, np.eye(2, 3)[None], atol=1e-5)
