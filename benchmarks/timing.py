"""What benchmarks share: time and FLOPs of some work, against this machine's matrix-multiply peak.

The peak is measured around the work in the same run, since shared machines drift. FLOPs are those of the matrix
products and of convolutions done directly (a multiply-add counts two), also where Winograd's algorithm spares three
quarters of them: so more than 1.0 of the peak is possible.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from torch_utils import runtime
from torch_utils.ops import winograd

PEAK_SIDE = {"cpu": 2048, "cuda": 8192}  # of the square matrices whose product measures the peak
GIGA = 1e9

Work = Callable[[], object]


class FlopCount(TorchDispatchMode):
    """A context that counts the FLOPs of every matrix product and convolution that runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        count = flop_registry.get(func._overloadpacket)
        if count is None:
            with self:  # in inference mode operations arrive whole, with the products inside
                parts = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if parts is NotImplemented else parts
        out = func(*args, **kwargs)
        self.total += count(*args, **kwargs, out_val=out)
        return out


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The best time of some work, what it did, and what the machine could do meanwhile."""

    seconds: float
    flops: float
    peak: float  # FLOP/s of the matrix product, best of those around the work

    def row(self, name: str, items: int, memory: float) -> str:
        """Return a line of the table: per item, with the peak memory in GB."""
        speed = self.flops / self.seconds
        columns = [
            f"{name:8s} {self.seconds / items:9.3f} s",
            f"{self.flops / items / GIGA:10.0f} GFLOP",
            f"{speed / GIGA:9.0f} GFLOP/s",
            f"{speed / self.peak:6.2f} of peak",
            f"{memory:6.1f} GB",
        ]
        return " ".join(columns)


def synchronise(device: torch.device) -> None:
    """Wait for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Work, device: torch.device) -> float:
    """Return the seconds that `work` takes."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def matmul_peak(device: torch.device, repeats: int = 3) -> float:
    """Return the FLOP/s of a large square matrix product in float32."""
    side = PEAK_SIDE[device.type]
    a = torch.randn(side, side, device=device)
    b = torch.randn(side, side, device=device)
    out = a @ b
    best = min(timed(lambda: torch.mm(a, b, out=out), device) for _ in range(repeats))
    return 2 * side**3 / best


def flops_of(work: Work) -> int:
    """Do some work, and return the FLOPs of its matrix products and of its convolutions, as if done directly."""
    was_enabled, winograd.enabled = winograd.enabled, False
    try:
        with FlopCount() as counted:
            work()
    finally:
        winograd.enabled = was_enabled
    return counted.total


def measure(work: Work, device: torch.device, repeats: int) -> Measured:
    """Run `work` once to count, once to warm up, then `repeats` times."""
    flops = flops_of(work)
    work()
    peaks = [matmul_peak(device)]
    seconds = []
    for _ in range(repeats):
        seconds.append(timed(work, device))
        peaks.append(matmul_peak(device))
    return Measured(seconds=min(seconds), flops=flops, peak=max(peaks))


def print_row(name: str, work: Work, items: int, device: torch.device, repeats: int) -> None:
    """Measure `work` on that many items and print its line."""
    measured = measure(work, device, repeats)
    memory = runtime.peak_memory(device)
    click.echo(measured.row(name, items, memory.get("gpu", memory["cpu"])))
