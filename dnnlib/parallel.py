"""A function over many inputs on several processes: results in order, a bounded number under way, clean ends."""

import contextlib
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from dnnlib.errors import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    workers: int,
) -> Generator[Result, None, None]:
    """Yield function(job) for every job, in order; `workers` processes, or this one if there is but one.

    Whatever a job raises is raised here, and ends the rest; so does closing the generator (Ctrl-C). At most two jobs a
    worker are under way or waiting to be taken, so results do not pile up in memory.

    Raises:
        UserError: a worker process died.
    """
    if workers <= 1:
        yield from map(function, jobs)
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context(method))
    under_way: deque = deque()
    try:
        for job in jobs:
            with interrupts_held():  # the first submissions start the workers
                under_way.append(pool.submit(function, job))
            if len(under_way) >= 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool as error:
        raise UserError("A worker process died, probably for lack of memory: use fewer --workers.") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block; processes forked in it never act on one.

    Ctrl-C reaches every process of a command; only the main one answers it, and stops the others. An interrupt in the
    midst of starting a process could also get lost or leave a lock behind. (A signal mask would not do: any other
    thread could take the signal.) Outside the main thread, where Python delivers no interrupts, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)
