"""training.sampling.labels: strips with whole texts in them, even heights, one height for all cells, sentences."""

import re

import pytest
import torch

from dnnlib.errors import UserError
from training.sampling.labels import MARGIN, Strips, below
from training.sampling.options import FRAME_LAYERS, LAYERS


def ink(strip: torch.Tensor) -> torch.Tensor:
    """Columns [width] of a strip [3, h, width] that have text."""
    return (strip > 0).any(dim=0).any(dim=0)


@pytest.mark.parametrize("side", [64, 72, 128, 150, 256, 512])
@pytest.mark.parametrize("columns", [("rgb",), FRAME_LAYERS, LAYERS])
def test_whole_texts_stand_in_the_middle(side, columns):
    strips = Strips([["seed 3", "motion 7"], ["seed 12", "motion 345"]], columns, side)
    strips.check()
    assert strips.height % 2 == 0
    for place in range(2):
        strip = strips.draw(place)
        assert strip.shape == (3, strips.height, side * len(columns)) and strip.dtype == torch.uint8
        assert not strip[:, -1].any(), "nothing hangs out below"
        marks = ink(strip).nonzero().flatten()
        left, right = marks[0].item(), side * len(columns) - 1 - marks[-1].item()
        assert left >= MARGIN - 1 and right >= MARGIN - 1
        if len(columns) == 1:
            assert abs(left - right) <= 2 + side // 256
    assert not torch.equal(strips.draw(0), strips.draw(1))


def test_words_share_a_line_where_all_cells_have_room():
    one = Strips([["seed 3"]], ["rgb"], 64).height
    narrow = Strips([["seed 3", "motion 7"]], ["rgb"], 64)
    wide = Strips([["seed 3", "motion 7"]], ["rgb"], 256)
    assert narrow.cells == [["seed 3", "motion 7"]] and narrow.height > one
    assert wide.cells == [["seed 3, motion 7"]]
    mixed = Strips([["seed 3", "motion 7"], ["seed 123456", "motion 567890123"]], ["rgb"], 128)
    assert mixed.cells == [["seed 3", "motion 7"], ["seed 123456", "motion 567890123"]], "all of one height"


@pytest.mark.parametrize("text, side", [("normals", 32), ("seed 123456789", 64), ("seed 9223372036854775807", 64)])
def test_the_scale_that_is_named_has_room_and_none_below_it(text, side):
    with pytest.raises(
        UserError, match=f"--labels have no room for '{text}' in {side} pixels: give --scale="
    ) as caught:
        Strips([[text]], ["rgb"], side).check()
    scale = int(re.search(r"--scale=(\d+)", str(caught.value))[1])
    Strips([[text]], ["rgb"], side * scale).check(scale)
    for less in range(1, scale):
        with pytest.raises(UserError, match=f"--scale={scale}"):
            Strips([[text]], ["rgb"], side * less).check(less)


def test_below():
    strip, frame = torch.zeros(3, 2, 4, dtype=torch.uint8), torch.ones(3, 4, 4, dtype=torch.uint8)
    (joined,) = below(strip, [frame])
    assert torch.equal(joined[:, :2], strip) and torch.equal(joined[:, 2:], frame)
