"""torch_utils.random_numbers: what an item draws depends on its number alone."""

from unittest import mock

import pytest
import torch

from tests.helpers.tiny import seeded
from torch_utils.random_numbers import Streams, normal, uniform

CPU = torch.device("cpu")
BATCH = 6
DRAWS = pytest.mark.parametrize("draw", [uniform, normal])


def streams(key=(3, 1), batch=BATCH) -> Streams:
    return Streams.seeded(key, batch)


@DRAWS
@pytest.mark.parametrize("processes, passes", [(1, 2), (2, 1), (3, 2), (1, 6)])
def test_any_division_draws_the_same(draw, processes, passes):
    """Item i of the batch belongs to process i % processes; its passes take every passes-th of its items."""
    whole = streams()
    shape = [2 * BATCH, 3, 5]
    first = draw(shape, whole, CPU)
    second = draw(shape, whole, CPU)
    for rank in range(processes):
        items = range(BATCH)[rank::processes]
        own = streams()[rank::processes]
        for index in range(passes):
            part = own[index::passes]
            rows = []
            for item in items[index::passes]:
                rows += [2 * item, 2 * item + 1]
            for expected in (first, second):
                drawn = draw([len(rows), 3, 5], part, CPU)
                assert torch.equal(drawn, expected[rows])


@DRAWS
def test_chosen_items_draw_their_own(draw):
    expected = draw([BATCH, 4], streams(), CPU)
    drawn = draw([3, 4], streams()[[4, 0, 5]], CPU)
    assert torch.equal(drawn, expected[[4, 0, 5]])


@pytest.mark.parametrize("draw, function", [(uniform, "rand"), (normal, "randn")])
def test_a_draw_is_one_call_for_all_items(draw, function):
    with mock.patch.object(torch, function, wraps=getattr(torch, function)) as call:
        draw([2 * BATCH, 3], streams(), CPU)
    assert call.call_count == 1


@DRAWS
def test_items_keys_and_draws_differ(draw):
    own = streams()
    other = streams(key=(3, 2))
    shape = [BATCH, 8]
    first = draw(shape, own, CPU)
    second = draw(shape, own, CPU)
    third = draw(shape, other, CPU)
    rows = torch.cat([first, second, third]).tolist()
    different = {tuple(row) for row in rows}
    assert len(different) == 3 * BATCH


def test_uniform_numbers():
    drawn = uniform([4000, 5], streams(batch=4), CPU, torch.float64)
    assert drawn.dtype == torch.float64
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)


def test_normal_numbers():
    drawn = normal([4000, 5], streams(batch=4), CPU)
    assert drawn.dtype == torch.float32
    assert drawn.mean().item() == pytest.approx(0, abs=0.03)
    assert drawn.std().item() == pytest.approx(1, abs=0.02)


@DRAWS
def test_one_generator_or_torchs_own(draw):
    generator = torch.Generator().manual_seed(5)
    expected = draw([2, 3], generator, CPU)
    with seeded(5):
        drawn = draw([2, 3], None, CPU)
    assert torch.equal(drawn, expected)


def test_rows_that_cannot_be_shared():
    four = streams(batch=4)
    with pytest.raises(ValueError, match="4 streams cannot share 6 rows"):
        uniform([6, 2], four, CPU)
