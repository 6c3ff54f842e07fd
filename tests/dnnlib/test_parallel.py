"""dnnlib.parallel: order, errors, dead workers, and interrupts that wait."""

import os
import signal
import threading

import pytest

from dnnlib.errors import UserError
from dnnlib.parallel import interrupts_held, parallel_map


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
