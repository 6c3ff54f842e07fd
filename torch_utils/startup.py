"""The start of every command: threads, memory, number formats, ops and device, set up once before the first tensor."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from dnnlib.errors import UserError
from torch_utils import custom_ops, distributed, runtime
from torch_utils.processes import CAN_FORK, forked


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
    processes: int | None = None,
    that_pay: Callable[[int], int] | None = None,
) -> Iterator[Machine]:
    """Set up this process as the options of `machine_options` ask; leave the other processes at the end.

    The allocator comes first: torch reads its switch at the first tensor.

    Args:
        threads: CPU threads; None: torch's choice within a container's quota.
        join: whether to work together with the other processes of this `torchrun`.
        processes: into how many this one divides on a CPU; they share its cores, and work together. None: `that_pay`.
        that_pay: tells how many are best for so many cores; None: one.

    Raises:
        UserError: there is no such device, or the ops or several processes cannot be used as asked.
    """
    runtime.tune_cpu_allocator()
    runtime.disable_tf32()
    custom_ops.set_ops_mode(ops)
    own_device = runtime.select_device(device)
    count = _division(own_device, processes, that_pay)
    notes: tuple[str, ...] = ()
    if count > 1:
        threads = max(1, runtime.cores() // count)
        notes = (_division_note(count, threads),)
    runtime.set_threads(threads)
    try:
        with forked(count) as meeting:  # what can go wrong in each of them is behind it
            if join:
                own_device = distributed.init(own_device, meeting=meeting)
            yield Machine(device=own_device, notes=notes).computing_in(precision)
    finally:
        distributed.shutdown()


def _division(device: torch.device, asked: int | None, that_pay: Callable[[int], int] | None) -> int:
    """Return into how many processes this one divides. UserError if it cannot, but was asked to."""
    if asked is None and that_pay is None:
        return 1
    if distributed.is_launched():
        hindrance = "torchrun has started all there are: leave one of them out"
    elif device.type != "cpu":
        hindrance = "a GPU takes one: start torchrun for several GPUs"
    elif not CAN_FORK:
        hindrance = "only on Linux"
    else:
        cores = runtime.cores()
        return asked or (that_pay(cores) if that_pay else 1)
    if asked is not None and asked > 1:
        raise UserError(f"--processes={asked} divides the work of a CPU, and {hindrance}.")
    return 1


def _division_note(count: int, threads: int) -> str:
    """Return what to say of several processes of so many threads each."""
    each = "one thread" if threads == 1 else f"{threads} threads"
    return f"Computing in {count} processes of {each} each."
