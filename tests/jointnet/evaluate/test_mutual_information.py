"""SimpleITK's translation: a shift that is known is found, and a slice without anything is not moved."""

import numpy as np
import pytest
from scans import heart, prepared

from jointnet.common_grid import HALF_EXTENT_MM
from jointnet.evaluate.aggregation import registration_ratio
from jointnet.evaluate.mutual_information import is_installed, mutual_information
from jointnet.evaluate.rows import predicted_rows

pytestmark = pytest.mark.skipif(not is_installed(), reason="SimpleITK is not installed")
SHIFT_MM = (6.0, -4.5)


def test_a_known_shift_is_found_and_an_empty_slice_is_not_moved(tmp_path):
    labels = np.stack([np.stack([heart(), heart(SHIFT_MM)]), np.zeros((2, 224, 224), np.uint8)])
    patient = prepared(tmp_path, 1, labels)
    images = np.array(patient.images())
    images[1] = 0
    np.save(patient.path / "images.npy", images)
    theta = mutual_information(patient).theta
    np.testing.assert_allclose(theta[0, :, 2] * HALF_EXTENT_MM, SHIFT_MM, atol=0.5)
    np.testing.assert_array_equal(theta[:, :, :2], np.stack([np.eye(2)] * 2))
    np.testing.assert_array_equal(theta[1], np.eye(2, 3))
    rows = predicted_rows([patient], mutual_information)
    assert registration_ratio(rows) < 0.1
