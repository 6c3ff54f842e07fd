"""Processes that work on the runs of a study, one run at a time each, and end well when they are asked to."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from benchmarks.study_runs import Run, Study, work
from dnnlib.errors import UserError


@dataclass
class _State:
    """Of a worker: whether it has a run in hand, and whether it was asked to stop."""

    is_busy: bool = False
    is_stopped: bool = False


_state = _State()


def finished(
    runs: Sequence[Run], study: Study, devices: Sequence[str], threads: int
) -> Iterator[tuple[Run, str | None]]:
    """Work on runs, one process a device; yield each run that has come to its end, and why it failed.

    A worker lives on, so that what learns to measure does so once in each. If the caller is interrupted, every run is
    asked to end, keeps its state, and is waited for.

    Args:
        devices: a CUDA_VISIBLE_DEVICES for each worker; "" is the CPU.
        threads: of the CPU for each.

    Raises:
        UserError: a worker was killed.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process that has used torch's threads hangs
    queue = context.Queue()
    for device in devices:
        queue.put(device)
    with ProcessPoolExecutor(len(devices), context, _start, (queue, threads)) as pool:
        futures = {pool.submit(_work, run, study): run for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                "A worker was killed, perhaps for want of memory: the same command goes on; fewer --jobs need less."
            ) from None
        except BaseException:
            for process in multiprocessing.active_children():
                if process.pid is not None:
                    os.kill(process.pid, signal.SIGINT)
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start(devices: Any, threads: int) -> None:
    """Give this worker a device and its threads, which the commands that it starts inherit."""
    os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    signal.signal(signal.SIGINT, _stop)


def _stop(number: int, frame: object) -> None:
    """Interrupt the run in hand, once: Ctrl-C reaches a worker from the terminal and from its parent."""
    was_stopped = _state.is_stopped
    _state.is_stopped = True
    if _state.is_busy and not was_stopped:
        raise KeyboardInterrupt


def _work(run: Run, study: Study) -> str | None:
    if _state.is_stopped:
        raise KeyboardInterrupt
    _state.is_busy = True
    try:
        return work(run, study)
    finally:
        _state.is_busy = False
