"""Batches of an endless dataset, made by worker processes, none of which can hold up training or its end for ever."""

import atexit
import contextlib
import dataclasses
import itertools
import multiprocessing
import re
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from multiprocessing.process import BaseProcess

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.parallel import interrupts_held

PATIENCE = 600.0  # seconds without any batch, then it is lost; a slow disk on the network may take minutes
GRACE = 3.0  # seconds in which workers end by themselves; they look at their queue between two batches

Batch = dict[str, torch.Tensor]


def endless_batches(
    items: torch.utils.data.Dataset,
    batch: int,
    *,
    start: int,
    step: int,
    workers: int,
    pin: bool = False,
) -> Generator[Batch, None, None]:
    """Yield items start, start + step, start + 2 step, ... in batches.

    Args:
        items: item number -> dataclass of arrays, or a UserError, which ends the stream. A field may be None.
        batch: items a batch.
        workers: processes that make batches; 0 makes them here. Closing the iterator ends them.
        pin: whether batches come in pinned memory, from which a GPU copies by itself; a thread copies them there.

    Yields:
        the dataclass's fields, stacked: [batch, ...]; of a field that is None in some items, those of the others.

    Raises:
        UserError: that of an item; a worker died, hangs, or has no shared memory.
    """
    loader = torch.utils.data.DataLoader(
        items,
        batch,
        sampler=_Numbers(start, step),
        num_workers=workers,
        collate_fn=_stack,
        pin_memory=pin,
        worker_init_fn=_ignore_sigterm,
        timeout=PATIENCE if workers else 0,
    )
    others = multiprocessing.active_children()
    with interrupts_held():  # iter() starts the workers
        batches = iter(loader)
    processes = [process for process in multiprocessing.active_children() if process not in others]
    at_exit = partial(_kill_at_exit, processes)
    atexit.register(at_exit)  # of a script that leaves the batches as they are
    try:
        item = _next_item(batches)
        while not isinstance(item, UserError):
            yield item
            item = _next_item(batches)
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they refer to the iterator
        raise
    finally:
        atexit.unregister(at_exit)
        if not sys.is_finalizing():  # then Python starts no thread, and `_kill_at_exit` has been here
            with interrupts_held(), killed_after(GRACE, processes):
                del batches  # the last reference: torch tells the workers to end, and waits
    raise item


class _Numbers(torch.utils.data.Sampler):
    """The item numbers start, start + step, start + 2 step, ..."""

    def __init__(self, start: int, step: int):
        self.start = start
        self.step = step

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start, self.step)


# --- In a worker ------------------------------------------------------------------------------------------------------


def _ignore_sigterm(worker: int) -> None:
    """Ignore SIGTERM in a worker: a cluster sends it to every process of a job.

    Only the main process answers it, by saving, and ends the workers.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _stack(items: list) -> Batch | UserError:
    """Stack the fields of items into a batch; if one of them is a UserError, return that."""
    for item in items:
        if isinstance(item, UserError):
            return item
    batch = {}
    for field in dataclasses.fields(items[0]):
        values = [getattr(item, field.name) for item in items]
        present = [value for value in values if value is not None]
        if present:
            batch[field.name] = torch.from_numpy(np.stack(present))
    in_worker = torch.utils.data.get_worker_info() is not None
    return _shared(batch) if in_worker else batch


def _shared(batch: Batch) -> Batch | UserError:
    """Move a batch to shared memory, where the main process gets it; UserError as the result if there is no room.

    Torch would move it there too, but in a thread of the worker whose failure reaches nobody.
    """
    try:
        return {name: value.share_memory_() for name, value in batch.items()}
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2]
        return UserError(
            f"There is no shared memory for a batch of data ({reason}): make /dev/shm larger "
            "(docker: --shm-size=8g), or use fewer --workers, or --workers=0."
        )


# --- Workers that died or deliver nothing -----------------------------------------------------------------------------


def _next_item(batches: Iterator) -> Batch | UserError:
    """Return the next batch, or the UserError in its place: that of an item, or of a worker that was lost."""
    try:
        return next(batches)
    except RuntimeError as error:
        failure = worker_failure(error)
        if failure is None:
            raise
        return failure


def worker_failure(error: RuntimeError) -> UserError | None:
    """Return the user's version of torch's error that a process of a data loader died, or delivers nothing.

    None if the error is something else. Torch learns of a death by a signal, and so raises its error wherever the main
    thread is just then.
    """
    message = str(error)
    timeout = re.search(r"DataLoader timed out after [\d.]+ seconds", message)
    if timeout:
        return UserError(
            f"The processes that load data deliver nothing ({timeout[0]}): see whether the disk of --data answers, and "
            "start the same command again, with fewer --workers or --workers=0 if need be."
        )
    death = re.search(r"DataLoader worker[^.\n]*(unexpectedly|signal)[^.\n]*", message)
    if death:
        return UserError(
            f"A process that loads data died ({death[0]}), probably for lack of memory or shared memory: start the "
            "same command again, with fewer --workers if need be."
        )
    return None


# --- The end of the workers -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def killed_after(grace: float, processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Kill `processes` that run on for `grace` seconds into the block, and all that run when it ends.

    The block tells them to end, and waits. A process that hangs in a read or ignores SIGTERM ends in no other way, and
    Python would wait for it at exit. Torch would raise such a death (SIGCHLD) as an error: in the main thread, where
    the signal comes, it is not passed on.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:
        handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    timer = threading.Timer(grace, _kill, [processes])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        _kill(processes)
        for process in processes:
            process.join()
        if in_main_thread:
            signal.signal(signal.SIGCHLD, handler)


def _kill_at_exit(processes: Sequence[BaseProcess]) -> None:
    """Kill `processes` before Python sends them SIGTERM, which they ignore, and waits."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _kill(processes)


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()
