"""Batches where they are needed when they are needed: the next one comes while a GPU computes on the one before."""

import time
from collections.abc import Generator

import torch

from dnnlib.errors import UserError
from torch_utils.transfers import Uploads
from training.data.loader import Batch


class Feed:
    """A stream of batches on a device. A context, at whose end the stream is closed.

    Args:
        batches: on the host, in pinned memory for a GPU.

    Attributes:
        batch: the one that was fetched last; what comes behind it has not left `batches`, but for its workers.
        problem: the UserError that came in place of it.
        waited: seconds that the device had nothing to do for want of it.
    """

    batch: Batch
    problem: UserError | None = None
    waited: float = 0.0

    def __init__(self, batches: Generator[Batch, None, None], device: torch.device):
        self._batches = batches
        self._upload = Uploads(device)

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *_: object) -> None:
        self._batches.close()

    def fetch(self) -> None:
        """Fetch the next batch. Call it when the device has been asked for all that it does with the one before."""
        started = time.perf_counter()
        try:
            batch = next(self._batches)
        except UserError as error:
            self.problem = error
            return
        self.waited = time.perf_counter() - started if self._upload.is_idle() else 0.0
        self.batch = self._upload(batch)

    def require_batch(self) -> None:
        """Raise the UserError that came in place of the last batch, if there was one."""
        if self.problem is not None:
            raise self.problem
