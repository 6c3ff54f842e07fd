"""Batches of an endless dataset, made by worker processes, none of which can hold up training or its end for ever."""

import dataclasses
import multiprocessing
import signal
import traceback
from collections.abc import Iterator

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.parallel import dead_loader, interrupts_held, killed_after

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
