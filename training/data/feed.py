"""Batches where they are needed when they are needed: the next one comes while a GPU computes on the one before."""

import time
from collections.abc import Generator

import torch

from dnnlib.errors import UserError
from torch_utils import distributed
from torch_utils.transfers import Uploads
from training.data.loader import Batch


class Feed:
    """A stream of batches on a device. A context, at whose end the stream is closed.

    Every process has its own. In each iteration it calls `fetch`, `agree` and `require_batch`.

    Args:
        batches: on the host, in pinned memory for a GPU.

    Attributes:
        batch: the one that was fetched last; what comes behind it has not left `batches`, but for its workers.
        waited: seconds that a device of any process had nothing to do for want of its batch.
        seconds: what `fetch` and `agree` took.
    """

    batch: Batch
    waited: float = 0.0
    seconds: float = 0.0

    def __init__(self, batches: Generator[Batch, None, None], device: torch.device):
        self._batches = batches
        self._upload = Uploads(device)
        self._problem: UserError | None = None  # what came in place of the last batch
        self._is_cut = False  # whether any process has a problem
        self._waited = 0.0  # in this process

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
            self._problem = error
        else:
            self._waited = time.perf_counter() - started if self._upload.is_idle() else 0.0
            self.batch = self._upload(batch)
        self.seconds = time.perf_counter() - started

    def agree(self, flag: bool = False) -> bool:
        """Return whether any process has set a flag. This is the one exchange of an iteration among hosts."""
        started = time.perf_counter()
        is_set, is_cut, self.waited = distributed.greatest(flag, self._problem is not None, self._waited)
        self._is_cut = bool(is_cut)
        self.seconds += time.perf_counter() - started
        return bool(is_set)

    def require_batch(self) -> None:
        """End all processes with the UserError that came in place of a batch in any of them."""
        if self._is_cut:
            with distributed.fail_together():
                if self._problem is not None:
                    raise self._problem
