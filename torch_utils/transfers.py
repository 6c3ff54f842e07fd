"""Copies of numbers from the host to a device that the host does not wait for. Nothing else asks for such."""

from collections.abc import Mapping

import torch


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor of the host on a device; of a CPU, the tensor itself.

    A GPU copies from pinned memory by itself; torch keeps that until the copy is done.
    """
    if device.type == "cuda":
        values = values.pin_memory()  # the same tensor if it is pinned
    return values.to(device, non_blocking=True)


class Uploads:
    """Copies of batches to a device; to a GPU on a stream of its own, beside what the GPU computes.

    On a CPU a batch stays as it is.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return a batch on the device; what the device is asked for from now on waits until it is there."""
        if self._stream is None:
            return self._copied(batch)
        with torch.cuda.stream(self._stream):
            copies = self._copied(batch)
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._stream)
        for copy in copies.values():
            copy.record_stream(current)  # its memory is the other stream's, which must not use it again before
        return copies

    def _copied(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: to_device(values, self.device) for name, values in batch.items()}

    def is_idle(self) -> bool:
        """Return whether the device has done all that it was asked for, without waiting; a CPU always has."""
        return self._stream is None or torch.cuda.current_stream(self.device).query()
