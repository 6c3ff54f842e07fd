"""torch_utils.random_numbers: what an item draws depends on its number alone."""

import pytest
import torch

from torch_utils.random_numbers import Streams, normal, uniform

CPU = torch.device("cpu")
DRAWS = pytest.mark.parametrize("draw", [uniform, normal])


def streams(items=range(6), key=(3, 1)) -> Streams:
    return Streams.seeded(key, items, CPU)


@DRAWS
@pytest.mark.parametrize("processes, passes", [(1, 2), (2, 1), (3, 2), (1, 6)])
def test_any_division_draws_the_same(draw, processes, passes):
    """Item i of the batch belongs to process i % processes; its passes take every passes-th of its items."""
    whole, twice = streams(), [2 * 6, 3, 5]
    first, second = draw(twice, whole, CPU), draw(twice, whole, CPU)
    for rank in range(processes):
        own = streams(range(6)[rank::processes])
        for index in range(passes):
            part = own[index::passes]
            items = range(6)[rank::processes][index::passes]
            rows = [row for item in items for row in (2 * item, 2 * item + 1)]
            for expected in (first, second):
                assert torch.equal(draw([len(rows), 3, 5], part, CPU), expected[rows])


@DRAWS
def test_items_keys_and_draws_differ(draw):
    own = streams()
    values = [*draw([6, 8], own, CPU), *draw([6, 8], own, CPU), *draw([6, 8], streams(key=(3, 2)), CPU)]
    assert len({tuple(value.tolist()) for value in values}) == 18


def test_distributions():
    u, n = uniform([4000, 5], streams(range(4)), CPU, torch.float64), normal([4000, 5], streams(range(4)), CPU)
    assert u.dtype == torch.float64 and n.dtype == torch.float32
    assert 0 <= u.min() and u.max() < 1 and u.mean().item() == pytest.approx(0.5, abs=0.01)
    assert n.mean().item() == pytest.approx(0, abs=0.03) and n.std().item() == pytest.approx(1, abs=0.02)


@DRAWS
def test_one_generator_or_torchs_own(draw):
    expected = draw([2, 3], torch.Generator().manual_seed(5), CPU)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert torch.equal(draw([2, 3], None, CPU), expected)


def test_rows_that_cannot_be_shared():
    with pytest.raises(ValueError, match="4 streams cannot share 6 rows"):
        uniform([6, 2], streams(range(4)), CPU)
