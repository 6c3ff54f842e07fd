"""The start of every command: threads, memory, number formats, ops and device, set up once before the first tensor."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from torch_utils import custom_ops, distributed, runtime


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a command computes on."""

    device: torch.device
    dtype: torch.dtype | None = None  # what --precision means; None: float32
    notes: tuple[str, ...] = ()  # what the user should know of it

    @property
    def best_precision(self) -> str:
        """What --precision=auto means: the precision that the device is fastest in."""
        return runtime.best_precision(self.device)

    def computing_in(self, precision: str) -> "Machine":
        """Return the machine as it computes in a precision."""
        dtype, reason = runtime.compute_dtype(precision, self.device)
        return replace(self, dtype=dtype, notes=self.notes + ((reason,) if reason else ()))


@contextlib.contextmanager
def prepared_machine(
    *,
    device: str = "cpu",
    ops: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    join: bool = False,
) -> Iterator[Machine]:
    """Set up this process as the options of `machine_options` ask; leave the other processes at the end.

    The allocator comes first: torch reads its switch at the first tensor.

    Args:
        threads: CPU threads; None: torch's choice within a container's quota.
        join: whether to work together with the other processes of this `torchrun`.

    Raises:
        UserError: there is no such device, or the ops cannot be used as asked.
    """
    runtime.tune_cpu_allocator()
    runtime.set_threads(threads)
    runtime.disable_tf32()
    custom_ops.set_ops_mode(ops)
    own_device = runtime.select_device(device)
    if join:
        own_device = distributed.init(own_device)
    try:
        yield Machine(device=own_device).computing_in(precision)
    finally:
        distributed.shutdown()
