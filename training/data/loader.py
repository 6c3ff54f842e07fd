"""Batches of an endless dataset, made by worker processes, none of which can hold up training or its end for ever."""

import contextlib
import dataclasses
import multiprocessing
import re
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.parallel import interrupts_held

PATIENCE = 600.0  # seconds without any batch, then it is lost; a slow disk on the network may take minutes
GRACE = 3.0  # seconds in which workers end by themselves; they look at their queue between two batches


def endless_batches(
    items: torch.utils.data.Dataset, batch: int, *, start: int = 0, step: int = 1, workers: int = 0
) -> Iterator[dict[str, torch.Tensor]]:
    """Items start, start + step, start + 2 step, ... in batches.

    Args:
        items: item number -> dataclass of arrays, or a UserError, which ends the stream.
        workers: processes that make batches; 0 makes them here. Closing the iterator ends them.

    Yields:
        the dataclass's fields, stacked: [batch, ...].

    Raises:
        UserError: that of an item; a worker died, hangs, or has no shared memory.
    """
    loader = torch.utils.data.DataLoader(
        items,
        batch,
        sampler=_Numbers(start, step),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_outlive_termination,
        timeout=PATIENCE if workers else 0,
    )
    others = multiprocessing.active_children()
    with interrupts_held():  # iter() starts the workers
        batches = iter(loader)
    processes = [process for process in multiprocessing.active_children() if process not in others]
    try:
        while not isinstance(item := _next_item(batches), UserError):
            yield item
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # they refer to the iterator
        raise
    finally:
        with interrupts_held(), killed_after(GRACE, processes):
            del batches  # the last reference: torch tells the workers to end, and waits
    raise item


class _Numbers(torch.utils.data.Sampler):
    """start, start + step, start + 2 step, ..."""

    def __init__(self, start: int, step: int):
        self.start, self.step = start, step

    def __iter__(self) -> Iterator[int]:
        number = self.start
        while True:
            yield number
            number += self.step


def _outlive_termination(worker: int) -> None:
    """A cluster's SIGTERM reaches every process; only the main one shall answer it, by saving, and end the workers."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _next_item(batches: Iterator) -> dict[str, torch.Tensor] | UserError:
    try:
        return next(batches)
    except RuntimeError as error:
        mistake = dead_loader(error)
        if mistake is None:
            raise
        return mistake


def _collate(items: list) -> dict[str, torch.Tensor] | UserError:
    for item in items:
        if isinstance(item, UserError):
            return item
    batch = {
        field.name: torch.from_numpy(np.stack([getattr(item, field.name) for item in items]))
        for field in dataclasses.fields(items[0])
    }
    return batch if torch.utils.data.get_worker_info() is None else _shared(batch)


def _shared(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor] | UserError:
    """The batch in shared memory, where it goes to the main process. (Torch would move it there too, but in a thread
    of the worker whose failure nobody hears of.)"""
    try:
        return {name: value.share_memory_() for name, value in batch.items()}
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2]
        return UserError(
            f"There is no shared memory for a batch of data ({reason}): make /dev/shm larger "
            "(docker: --shm-size=8g), or use fewer --workers, or --workers=0."
        )


def dead_loader(error: RuntimeError) -> UserError | None:
    """The user's version of torch's news that a process of a data loader died or delivers nothing; None if the error is
    something else.

    Torch hears of a death by a signal, and so raises it wherever the main thread is just then.
    """
    if late := re.search(r"DataLoader timed out after [\d.]+ seconds", str(error)):
        return UserError(
            f"The processes that load data deliver nothing ({late[0]}): see whether the disk of --data answers, and "
            "start the same command again, with fewer --workers or --workers=0 if need be."
        )
    news = re.search(r"DataLoader worker[^.\n]*(unexpectedly|signal)[^.\n]*", str(error))
    return news and UserError(
        f"A process that loads data died ({news[0]}), probably for lack of memory or shared memory: start the same "
        "command again, with fewer --workers if need be."
    )


@contextlib.contextmanager
def killed_after(grace: float, processes: Sequence[BaseProcess]) -> Iterator[None]:
    """Kills `processes` that outlive the first `grace` seconds of the block, which tells them to end and waits; and
    all that outlive the block, so that none is left.

    A process that hangs in a read or ignores SIGTERM ends in no other way, and Python would wait for it at exit. Torch
    would raise the news of such a death (SIGCHLD) as an error: in the main thread, where it comes, it is not passed on.
    """
    hears = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if hears else None
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
        if hears:
            signal.signal(signal.SIGCHLD, before)


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.kill()
