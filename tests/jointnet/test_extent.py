import pytest
import torch

from jointnet.extent import extent


@pytest.mark.parametrize(
    ("places", "margin_px", "rows", "columns"),
    [
        ([(0, 2, 3)], 0, (2, 3), (3, 4)),
        ([(0, 2, 3)], 1, (1, 4), (2, 5)),
        ([(0, 2, 3), (1, 4, 1)], 0, (2, 5), (1, 4)),
        ([(0, 0, 0)], 2, (0, 3), (0, 3)),
        ([(1, 5, 6)], 2, (3, 6), (4, 7)),
        ([(0, 0, 0), (1, 5, 6)], 0, (0, 6), (0, 7)),
    ],
)
def test_the_box_holds_all_that_any_map_shows(places, margin_px, rows, columns):
    shown = torch.zeros(2, 6, 7, dtype=torch.bool)
    for place in places:
        shown[place] = True
    for maps in (shown, shown[:, None], shown.any(0)):
        assert extent(maps, margin_px) == (slice(*rows), slice(*columns))


@pytest.mark.parametrize("shape", [(2, 6, 7), (6, 7), (0, 6, 7)])
def test_where_nothing_is_shown_there_is_no_box(shape):
    assert extent(torch.zeros(shape, dtype=torch.bool), 1) is None
