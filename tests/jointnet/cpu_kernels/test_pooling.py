import pytest
import torch
import torch.nn.functional as F

from jointnet.cpu_kernels.pooling import block_means, box_maxima, box_means


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("height", "width", "block"), [(8, 8, 1), (8, 12, 2), (12, 9, 3), (16, 16, 4), (7, 10, 4)])
def test_block_means_are_torch_s_to_the_last_bit(height, width, block, layout):
    maps = noise(2, 3, height, width).contiguous(memory_format=layout)
    assert torch.equal(block_means(maps, block), F.avg_pool2d(maps, block))


@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize(("height", "width"), [(9, 14), (3, 3), (1, 5)])
def test_boxes_are_torch_s(height, width, side):
    maps = noise(2, 3, height, width)
    torch.testing.assert_close(box_means(maps, side), F.avg_pool2d(maps, side, 1, side // 2))
    assert torch.equal(box_maxima(maps, side), F.max_pool2d(maps, side, 1, side // 2))


def test_a_box_by_hand():
    """One corner pixel has value 9. Its 3 x 3 box has 8 zeros besides, five of them outside the image."""
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 0, 0] = 9
    assert box_means(maps, 3)[0, 0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    assert box_maxima(maps, 3)[0, 0].tolist() == [[9, 9, 0, 0], [9, 9, 0, 0], [0] * 4, [0] * 4]
    assert box_maxima(-1 - maps, 3)[0, 0, 0, 0] == -1


@pytest.mark.parametrize(("pool", "side"), [(block_means, 1), (block_means, 2), (block_means, 3), (box_means, 3)])
def test_gradients_are_right_also_where_blocks_leave_a_rest(pool, side):
    assert torch.autograd.gradcheck(pool, (noise(1, 2, 4, 7).double().requires_grad_(), side))
