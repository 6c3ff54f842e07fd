"""dnnlib.parallel: order, errors, dead and deaf workers, and interrupts that wait."""

import contextlib
import multiprocessing
import os
import signal
import threading

import pytest

from dnnlib.errors import UserError
from dnnlib.parallel import interrupts_held, parallel_map
from training.data.loader import dead_loader, killed_after


def double(x: int) -> int:
    if x < 0:
        raise UserError(f"{x} is negative.")
    return 2 * x


def die(x: int) -> int:
    os._exit(1)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_errors_through(workers):
    assert list(parallel_map(double, range(50), workers)) == list(range(0, 100, 2))
    results = parallel_map(double, [1, 2, -3, 4], workers)
    assert [next(results), next(results)] == [2, 4]
    with pytest.raises(UserError, match="-3 is negative"):
        next(results)


def test_jobs_are_not_taken_far_ahead():
    taken = []
    results = parallel_map(double, (taken.append(i) or i for i in range(1000)), 2)
    next(results)
    assert len(taken) <= 4
    results.close()


def test_a_dead_worker_is_one_sentence():
    with pytest.raises(UserError, match="fewer --workers"):
        list(parallel_map(die, range(4), 2))


@pytest.mark.parametrize(
    "news",
    [
        "DataLoader worker (pid(s) 5, 6) exited unexpectedly",
        "DataLoader worker (pid 5) is killed by signal: Killed. ",
        "DataLoader worker (pid 5) is killed by signal: Bus error. It is possible that dataloader's\nworkers are out.",
    ],
)
def test_a_dead_loader_is_one_sentence(news):
    mistake = dead_loader(RuntimeError(news))
    assert str(mistake).startswith(f"A process that loads data died ({news.split('.')[0]}), probably")
    assert "\n" not in str(mistake) and dead_loader(RuntimeError("The phase went wrong.")) is None


def test_a_loader_that_delivers_nothing_is_one_sentence():
    mistake = dead_loader(RuntimeError("DataLoader timed out after 600.0 seconds"))
    assert str(mistake).startswith("The processes that load data deliver nothing (DataLoader timed out after 600.0 s")
    assert "\n" not in str(mistake)


def deaf(pipe) -> None:
    """A process that only SIGKILL ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe.send("deaf")
    while True:
        signal.pause()


@pytest.fixture
def deaf_process():
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    process = fork.Process(target=deaf, args=[there], daemon=True)
    process.start()
    assert here.recv() == "deaf"
    yield process
    process.kill()
    process.join()


@pytest.mark.parametrize("raised", [None, KeyboardInterrupt])
def test_processes_do_not_outlive_the_block(deaf_process, raised):
    with contextlib.suppress(KeyboardInterrupt), killed_after(3600, [deaf_process]):
        if raised:
            raise raised
    assert deaf_process.exitcode == -signal.SIGKILL


def test_processes_do_not_outlive_the_grace_and_nobody_hears_of_it(deaf_process):
    news = []
    before = signal.signal(signal.SIGCHLD, lambda number, frame: news.append(number))
    try:
        with killed_after(0.1, [deaf_process]):
            deaf_process.join(60)
            assert deaf_process.exitcode == -signal.SIGKILL
        assert news == []
        signal.raise_signal(signal.SIGCHLD)
        assert news == [signal.SIGCHLD], "the handler is back"
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_processes_are_killed_from_other_threads_too(deaf_process):
    def block() -> None:
        with killed_after(3600, [deaf_process]):
            pass

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert deaf_process.exitcode == -signal.SIGKILL


def test_an_interrupt_waits_for_the_end_of_the_block():
    before, steps = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            steps.append("still here")
        steps.append("never here")
    assert steps == ["still here"] and signal.getsignal(signal.SIGINT) is before


def test_other_threads_hold_nothing():
    before = signal.getsignal(signal.SIGINT)

    def enter():
        with interrupts_held():
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
