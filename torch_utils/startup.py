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
    tf32: bool = False  # whether products of float32 are TF32's
    notes: tuple[str, ...] = ()  # what the user should know of it

    @property
    def best_precision(self) -> str:
        """What --precision=auto means: the precision that the device is fastest in."""
        return runtime.best_precision(self.device)

    @property
    def number_format(self) -> str:
        """What numbers depend on: the name of the data type, or TF32."""
        return "tf32" if self.tf32 else str(self.dtype or torch.float32)

    def computing_in(self, precision: str) -> "Machine":
        """Let the process compute in a precision from now on; return the machine that does."""
        dtype, reason = runtime.compute_dtype(precision, self.device)
        tf32 = precision == "tf32" and self.device.type == "cuda"
        runtime.allow_tf32(tf32)
        return replace(self, dtype=dtype, tf32=tf32, notes=self.notes + ((reason,) if reason else ()))


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
    fixed_shapes: bool = False,
) -> Iterator[Machine]:
    """Set up this process as the options of `machine_options` ask; leave the other processes at the end.

    The allocator comes first: torch reads its switch at the first tensor.

    Args:
        threads: CPU threads; None: torch's choice within a container's quota.
        join: whether to work together with the other processes of this `torchrun`.
        processes: into how many this one divides on a CPU; they share its cores, and work together. None: `that_pay`.
        that_pay: tells how many are best for so many cores; None: one.
        fixed_shapes: whether convolutions repeat their shapes, as in training, so that a search for the best ones pays.

    Raises:
        UserError: there is no such device, or the ops or several processes cannot be used as asked.
    """
    runtime.tune_cpu_allocator()
    runtime.search_convolutions(fixed_shapes)
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
        runtime.allow_tf32(False)
        runtime.search_convolutions(False)
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
