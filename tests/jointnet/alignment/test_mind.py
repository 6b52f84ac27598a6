import math

import pytest
import torch
import torch.nn.functional as F

from jointnet.alignment.mind import mind_descriptors


def noise(size=112, seed=0):
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "asked", "side"), [(112, 56, 56), (224, 56, 56), (56, 56, 56), (56, 28, 28), (112, 112, 112)]
)
def test_they_are_eight_maps_from_0_to_1_of_the_size_asked_for(size, asked, side):
    found = mind_descriptors(noise(size), asked)
    assert found.shape == (2, 8, side, side)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_a_flat_image_is_like_itself_everywhere():
    torch.testing.assert_close(mind_descriptors(torch.full((1, 1, 112, 112), 0.7), 56), torch.ones(1, 8, 56, 56))


@pytest.mark.parametrize("change", [lambda x: 3 * x, lambda x: 1 - x, lambda x: x + 0.4, lambda x: 0.5 - 2 * x])
def test_a_linear_change_of_contrast_even_its_reversal_changes_nothing(change):
    """D and V both scale with the square of the factor."""
    torch.testing.assert_close(
        mind_descriptors(change(noise()), 56), mind_descriptors(noise(), 56), atol=1e-5, rtol=1e-4
    )


def test_they_move_with_the_image():
    shifted = torch.roll(noise(), (4, -6), (2, 3))
    found, expected = mind_descriptors(shifted, 112), torch.roll(mind_descriptors(noise(), 112), (4, -6), (2, 3))
    torch.testing.assert_close(found[..., 12:-12, 12:-12], expected[..., 12:-12, 12:-12])


def test_a_vertical_edge_by_hand():
    """0 on the left, 1 on the right, with the edge between columns 55 and 56; 5 x 5 patches.

    At column 53 the patch is columns 51 to 55, all 0. The right neighbour is 3 pixels away, and its patch is columns 54
    to 58: 0, 0, 1, 1, 1, so that D = 3 / 5. The diagonal neighbours on the right are 2 pixels away in each direction:
    D = 2 / 5. The five others have D = 0. So V = (7 / 5) / 8 = 7 / 40.
    """
    edge = torch.zeros(1, 1, 112, 112)
    edge[..., 56:] = 1
    below, above, right, left, below_right, above_left, below_left, above_right = mind_descriptors(edge, 112)[
        0, :, 50, 53
    ].tolist()
    assert (above, below, left, above_left, below_left) == pytest.approx((1, 1, 1, 1, 1))
    assert right == pytest.approx(math.exp(-3 / 5 * 40 / 7))
    assert (above_right, below_right) == pytest.approx([math.exp(-2 / 5 * 40 / 7)] * 2)


def test_opposite_neighbours_change_places_when_the_image_is_turned_by_180_degrees():
    turned = mind_descriptors(noise().flip(2, 3), 112).flip(2, 3)
    expected = mind_descriptors(noise(), 112)[:, [1, 0, 3, 2, 5, 4, 7, 6]]
    torch.testing.assert_close(turned[..., 12:-12, 12:-12], expected[..., 12:-12, 12:-12])


def test_finer_images_are_described_at_112_pixels():
    fine = noise(224)
    torch.testing.assert_close(mind_descriptors(fine, 56), mind_descriptors(F.avg_pool2d(fine, 2), 56))
