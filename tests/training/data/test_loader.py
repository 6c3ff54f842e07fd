"""training.data.loader: lost batches, hanging workers and signals end in a sentence or go on; random keys differ."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Generator

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import tiny
from training.config import MAX_WHOLE
from training.data import loader, pairs
from training.data.dataset import ClipDataset
from training.data.pairs import training_batches
from training.runs.folder import RunFolder
from training.runs.hooks import Hooks
from training.training_loop import Trainer

LONG = 3600  # seconds of a read that hangs
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def dataset(heads) -> ClipDataset:
    return ClipDataset(heads)


def batches_of(dataset: ClipDataset, workers: int) -> Generator[dict[str, torch.Tensor], None, None]:
    """The training stream in batches of two clips."""
    return training_batches(dataset, 2, seed=0, workers=workers, window=16, mirror=True)


@pytest.fixture
def before_draws(monkeypatch):
    """Has a function called before every pair that is drawn, in the process that draws."""

    def arm(act) -> None:
        draw = pairs.draw_pair
        monkeypatch.setattr(pairs, "draw_pair", lambda *rest, **options: (act(), draw(*rest, **options))[1])

    return arm


@pytest.fixture
def terminations():
    """A list of the SIGTERMs that this process has got."""
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    yield got
    signal.signal(signal.SIGTERM, before)


def is_worker() -> bool:
    return multiprocessing.parent_process() is not None


def hang() -> None:
    time.sleep(LONG if is_worker() else 0)


def ask_for_the_end() -> None:
    """The cluster's SIGTERM to the main process while it waits."""
    os.kill(os.getppid(), signal.SIGTERM)


def test_batches_reach_the_main_process_in_shared_memory(dataset):
    (batch,) = [next(batches_of(dataset, workers=1))]
    assert all(value.is_shared() for value in batch.values())
    assert not any(value.is_shared() for value in next(batches_of(dataset, workers=0)).values())


@pytest.mark.parametrize("before", [0, 5])
def test_no_room_in_shared_memory_is_one_sentence(dataset, before_draws, before):
    """At the first batch, or when others are under way."""
    drawn = []

    def no_room() -> None:
        drawn.append(None)
        if len(drawn) > before:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    before_draws(no_room)
    batches = batches_of(dataset, workers=1)
    for _ in range(before // 2):
        next(batches)
    with pytest.raises(UserError, match=r"shared memory .*File too large.* /dev/shm .*--shm-size=8g.*--workers=0\.$"):
        next(batches)
    assert multiprocessing.active_children() == []


def test_what_else_loses_a_batch_ends_too(dataset, before_draws, monkeypatch, terminations, capfd):
    monkeypatch.setattr(loader, "PATIENCE", 1.0)
    monkeypatch.setattr(loader, "GRACE", 0.1)
    before_draws(lambda: (ask_for_the_end(), hang()))
    with pytest.raises(UserError, match=r"deliver nothing \(DataLoader timed out after 1\.0 seconds\).*--workers=0"):
        next(batches_of(dataset, workers=2))
    assert terminations and multiprocessing.active_children() == []
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_workers_that_hang_are_killed_in_the_end(dataset, before_draws, monkeypatch, capfd):
    monkeypatch.setattr(loader, "GRACE", 0.1)
    drawn, hanging = [], multiprocessing.Semaphore(0)
    before_draws(lambda: (drawn.append(None), len(drawn) > 2 and (hanging.release(), hang())))
    batches = batches_of(dataset, workers=2)
    next(batches)
    workers = multiprocessing.active_children()
    assert [hanging.acquire(timeout=60) for _ in workers] == [True, True]
    handler = signal.getsignal(signal.SIGCHLD)
    batches.close()
    assert [worker.exitcode for worker in workers] == [-signal.SIGKILL] * 2
    assert signal.getsignal(signal.SIGCHLD) is handler and callable(handler)
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_workers_that_work_end_by_themselves(dataset):
    batches = batches_of(dataset, workers=2)
    next(batches)
    workers = multiprocessing.active_children()
    batches.close()
    assert [worker.exitcode for worker in workers] == [0, 0]


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_lets_workers_end_while_its_traceback_lives(dataset, before_draws, capfd):
    drawn, waited_for = [], multiprocessing.Semaphore(0)

    def interrupt_at_the_second_batch() -> None:
        drawn.append(None)
        if len(drawn) == 3 and waited_for.acquire():
            time.sleep(0.3)
            os.kill(os.getppid(), signal.SIGINT)

    before_draws(interrupt_at_the_second_batch)
    batches = batches_of(dataset, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    waited_for.release()
    with pytest.raises(KeyboardInterrupt):
        next(batches)
    assert worker.exitcode == 0, "and was not killed"
    assert capfd.readouterr().err == ""


def test_a_stop_that_is_asked_while_training_waits_for_data_is_not_lost(dataset, before_draws, tmp_path, terminations):
    before_draws(lambda: (ask_for_the_end(), time.sleep(0.2)))
    trainer = Trainer(
        tiny.config(training__workers=1),
        dataset,
        RunFolder(tmp_path),
        torch.device("cpu"),
        hooks=Hooks(stop=lambda: bool(terminations)),
    )
    assert trainer.train().iteration == 1
    assert RunFolder(tmp_path).newest_state(trainer._require_fit, print)[1]["progress"]["iteration"] == 1


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, MAX_WHOLE])
def test_no_two_draws_of_a_run_are_the_same_numbers(dataset, tmp_path, monkeypatch, seed):
    """Seeds [s, a, b] and [s, a, b, 0] mean the same to NumPy, so the states count, not the keys."""
    keys = []
    generator, sequence = np.random.default_rng, np.random.SeedSequence
    monkeypatch.setattr(np.random, "default_rng", lambda key: (keys.append(key), generator(key))[1])
    monkeypatch.setattr(np.random, "SeedSequence", lambda key: (keys.append(key), sequence(key))[1])
    pairs._epoch_order.cache_clear()
    trainer = Trainer(
        tiny.config(training__seed=seed, training__g_reg_interval=2),
        dataset,
        RunFolder(tmp_path),
        torch.device("cpu"),
    )
    batches = trainer._batches()
    for _ in range(4):  # 8 pairs drawn, epochs 0 to 2
        trainer.iterate(next(batches))
    states = [tuple(sequence(key).generate_state(4)) for key in keys]
    once = 1 + 8 + 3  # for the bank, the pairs and the epochs
    phases = 4 + 2 + 4  # with fakes, and for each two draws of cameras, two of codes, and more in the networks
    assert len(states) > once + phases * (2 + 2)
    assert len(set(states)) == len(states)
