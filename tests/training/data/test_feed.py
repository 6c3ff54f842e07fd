"""training.data.feed: no batch too many, none lost, errors where they are asked for, and the end of the stream."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Generator

import pytest
import torch

from dnnlib.errors import UserError
from torch_utils import distributed
from torch_utils.transfers import Uploads
from training.data import feed as feeds
from training.data.dataset import ClipDataset
from training.data.feed import Feed
from training.data.pairs import training_batches

CPU = torch.device("cpu")


class Stream:
    """Batches 0, 1, ..., of which the one numbered `broken` cannot be read."""

    def __init__(self, broken: int | None = None, error: Exception | None = None):
        self.broken = broken
        self.error = error or UserError("Frame 3 is gone.")
        self.batches: list[torch.Tensor] = []
        self.is_closed = False

    def __call__(self) -> Generator[dict[str, torch.Tensor], None, None]:
        try:
            for number in itertools.count():
                if number == self.broken:
                    raise self.error
                self.batches.append(torch.tensor([number]))
                yield {"number": self.batches[-1]}
        finally:
            self.is_closed = True


def test_batches_come_in_order_and_none_before_it_is_fetched():
    stream = Stream()
    with Feed(stream(), CPU) as feed:
        for number in range(4):
            feed.fetch()
            assert not feed.agree()
            feed.require_batch()
            assert feed.batch["number"] is stream.batches[number], "and no copy"
            assert len(stream.batches) == number + 1
        assert not stream.is_closed
    assert stream.is_closed


def test_a_user_s_error_waits_until_it_is_asked_for():
    stream = Stream(broken=1)
    with pytest.raises(UserError, match="Frame 3 is gone"), Feed(stream(), CPU) as feed:
        feed.fetch()
        first = feed.batch
        feed.fetch()
        assert feed.batch is first
        assert feed.agree(True), "and what else the processes tell each other"
        feed.require_batch()
    assert stream.is_closed


def test_other_errors_come_at_once():
    stream = Stream(broken=0, error=RuntimeError("ours"))
    with pytest.raises(RuntimeError, match="ours"), Feed(stream(), CPU) as feed:
        feed.fetch()
    assert stream.is_closed


@pytest.mark.parametrize("is_idle, waited", [(True, 7.0), (False, 0.0)])
def test_only_a_device_that_is_idle_waits_for_data(monkeypatch, is_idle, waited):
    clock = itertools.accumulate([100.0, 7.0, 1.0, 20.0, 2.0] if is_idle else [100.0, 8.0, 20.0, 2.0])
    monkeypatch.setattr(feeds.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(Uploads, "is_idle", lambda self: is_idle)
    with Feed(Stream()(), CPU) as feed:
        feed.fetch()
        feed.agree()
    assert feed.waited == waited
    assert feed.seconds == 10, "all the same"


# --- Several processes ------------------------------------------------------------------------------------------------


@pytest.fixture
def peer(monkeypatch) -> list[float]:
    """The numbers of another process."""
    numbers = [0.0, 0.0, 0.0]
    monkeypatch.setattr(distributed, "greatest", lambda *own: tuple(map(max, own, numbers)))
    monkeypatch.setattr(
        distributed, "gather", lambda value, group=None: [value, "Frame 5 is gone." if numbers[1] else None]
    )
    return numbers


def test_all_wait_for_the_one_that_waits_for_its_data(peer):
    with Feed(Stream()(), CPU) as feed:
        feed.fetch()
        peer[:] = [1.0, 0.0, 30.0]
        assert feed.agree(False)
        assert feed.waited == 30
        feed.require_batch()


def test_a_batch_that_another_process_cannot_have_ends_this_one(peer):
    stream = Stream()
    with pytest.raises(UserError, match="Frame 5 is gone"), Feed(stream(), CPU) as feed:
        feed.fetch()
        peer[1] = 1.0
        assert not feed.agree()
        feed.require_batch()
    assert stream.is_closed


# --- Pinned memory ----------------------------------------------------------------------------------------------------


def pinned(heads, workers: int) -> Generator[dict[str, torch.Tensor], None, None]:
    return training_batches(ClipDataset(heads), 2, seed=0, workers=workers, window=16, mirror=True, pin=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_for_a_gpu_are_the_same_in_pinned_memory(heads, workers):
    plain = training_batches(ClipDataset(heads), 2, seed=0, workers=0, window=16, mirror=True)
    with Feed(pinned(heads, workers), torch.device("cuda", 0)) as feed:
        for expected in itertools.islice(plain, 5):
            feed.fetch()
            for name, value in feed.batch.items():
                assert value.is_cuda and torch.equal(value.cpu(), expected[name]), name
    batches = pinned(heads, workers)
    assert all(value.is_pinned() for value in next(batches).values())
    batches.close()
    assert multiprocessing.active_children() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_worker_that_is_killed_behind_the_pinning_thread_ends_the_stream(heads):
    batches = pinned(heads, 1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises((UserError, RuntimeError), match="A process that loads data died|DataLoader worker"):
        for _ in range(10):  # those that were under way may still come
            next(batches)
            time.sleep(0.1)
    batches.close()
    assert multiprocessing.active_children() == []
