"""Choices about the machine, which `torch_utils.startup` makes once for a command, before its first tensor."""

import contextlib
import ctypes
import faulthandler
import os
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from dnnlib.errors import UserError

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
HEAP_TENSOR_BYTES = 32 * 2**20  # the largest threshold that glibc accepts
HEAP_STEP_BYTES = 64 * 2**20
NEVER_TRIM = 2**31 - 1
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
BF16_CAPABILITY = (8, 0)  # Ampere
SHORTCUTS_OF_PRODUCTS = (
    "allow_tf32",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_reduced_precision_reduction",
)
HALF_PRECISION = {"fp16": torch.float16, "bf16": torch.bfloat16}


# --- Device ----------------------------------------------------------------------------------------------------------


def select_device(name: str | torch.device) -> torch.device:
    """Return a device, or that of a name: 'auto' (a GPU where there is one), 'cpu', 'cuda' or 'cuda:<number>'.

    Raises:
        UserError: no such name, or no such device on this machine.
    """
    name = str(name)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if name == "auto":
        name = "cuda"
    if not re.fullmatch(r"cuda(:\d{1,3})?", name, re.ASCII):
        raise UserError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:<number>.")
    if not torch.cuda.is_available():
        reason = "PyTorch sees no GPU" if torch.version.cuda else "this PyTorch was built without CUDA"
        raise UserError(f"The device {name} is not there ({reason}): use cpu (--device=cpu), or repair CUDA.")
    device = torch.device(name)
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise UserError(f"The device {name} is not there: this machine has GPUs cuda:0 to cuda:{count - 1}.")
    return device


# --- Memory ----------------------------------------------------------------------------------------------------------


def tune_cpu_allocator() -> bool:
    """Let big CPU tensors reuse memory instead of faulting in fresh pages for each; return whether it could be done.

    By default glibc maps every large block anew and gives it back when it is freed, so each result of an operation pays
    one page fault per 4 kB. Here tensors up to 32 MB live on a heap that never shrinks, and larger ones are backed by
    2 MB pages where the kernel allows it (`madvise` or `always` in /sys/kernel/mm/transparent_hugepage/enabled).
    Measured on 2 cores, single thread: out-of-place multiplication of 8 MB 20 -> 50 GB/s and of 256 MB 3 -> 14 GB/s; a
    small convolutional step 8 % faster at 5 % more peak memory. Keeping everything on the heap (M_MMAP_MAX = 0) gains
    2 % more but doubles the peak: aligned blocks leave splinters that keep the holes from being used again.

    Torch reads the switch for large pages at its first tensor, so call this before. Without glibc it does nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = {M_MMAP_THRESHOLD: HEAP_TENSOR_BYTES, M_TRIM_THRESHOLD: NEVER_TRIM, M_TOP_PAD: HEAP_STEP_BYTES}
    accepted = [libc.mallopt(option, value) == 1 for option, value in settings.items()]
    return all(accepted)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory in GB: `cpu` of this process so far, `gpu` (where there is one) since the last call."""
    peak = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if device.type == "cuda":
        peak["gpu"] = torch.cuda.max_memory_allocated(device) / 2**30
        torch.cuda.reset_peak_memory_stats(device)
    return peak


# --- Threads ---------------------------------------------------------------------------------------------------------


def set_threads(threads: int | None = None) -> int:
    """Use so many CPU threads, by default torch's own choice within a container's CPU quota; return the number."""
    if threads is None:
        threads = cores()
    elif threads < 1:
        raise UserError(f"{threads} threads are too few: use 1 or more.")
    torch.set_num_threads(threads)
    return threads


def cores() -> int:
    """Return how many cores there are to use: torch's own choice within a container's CPU quota."""
    threads = torch.get_num_threads()
    quota = _cpu_quota()
    return threads if quota is None else min(threads, quota)


def _cpu_quota() -> int | None:
    """Return the cores that a container may use (`docker run --cpus`): torch only sees those of the whole machine."""
    try:
        limit, period = CPU_QUOTA.read_text().split()
        return max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):  # no cgroup v2, or 'max': unlimited
        return None


# --- Convolutions ----------------------------------------------------------------------------------------------------


def search_convolutions(wanted: bool) -> None:
    """Choose whether cuDNN times its algorithms at the first convolution of each shape, and keeps the fastest.

    Training repeats the same shapes for days, so the seconds of the search pay. Sampling and metrics meet batches of
    all sizes, each of which would be searched for anew, so it is off there.
    """
    torch.backends.cudnn.benchmark = wanted


@contextlib.contextmanager
def without_search() -> Iterator[None]:
    """Leave out the search of `search_convolutions` in a block of training that samples."""
    before = torch.backends.cudnn.benchmark
    search_convolutions(False)
    try:
        yield
    finally:
        search_convolutions(before)


# --- Number formats --------------------------------------------------------------------------------------------------


def allow_tf32(allowed: bool) -> None:
    """Choose whether a GPU's matrix products and convolutions of float32 may drop 13 bits of their factors (TF32).

    Sums in half precision are made in float32 in any case: weights' gradients have millions of terms.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute without TF32 in the block, or the function: what is measured must not depend on --precision.

    Behind it everything is allowed that was allowed before, to matrix products and to convolutions.
    """
    products = {name: getattr(torch.backends.cuda.matmul, name) for name in SHORTCUTS_OF_PRODUCTS}
    convolutions = torch.backends.cudnn.allow_tf32
    allow_tf32(False)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        for name, allowed in products.items():
            setattr(torch.backends.cuda.matmul, name, allowed)


def best_precision(device: torch.device) -> str:
    """Return the number format that a device computes fastest in.

    A GPU's bfloat16 has float32's range, so that gradients need no scaling; those before compute capability 8.0
    emulate it.

    Half precision on a CPU is worth it only where its matrix units (AMX) know bfloat16. AVX-512's bfloat16 is slower
    than fp32 with Winograd's convolutions (a 512 x 512 frame: 2.4 s, not 1.7), anything else is emulated.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= BF16_CAPABILITY else "fp16"
    return "bf16" if amx_works() else "fp32"


def compute_dtype(precision: str, device: torch.device) -> tuple[torch.dtype | None, str | None]:
    """Return the data type of a precision (None: float32), and a sentence if it is slow or nothing on this device.

    The data type does not depend on the device, so that a precision means one model everywhere.
    """
    if precision == "tf32" and device.type == "cpu":
        return None, "A CPU has no TF32: it computes in fp32."
    if precision in ("fp32", "tf32"):
        return None, None
    slow = device.type == "cpu" and best_precision(device) != precision
    if slow:
        avoid_broken_amx()
    note = f"This CPU has no fast {precision} arithmetic: it computes in {precision} all the same, slower than in fp32."
    return HALF_PRECISION[precision], note if slow else None


def amx_works() -> bool:
    """Return whether the CPU's matrix units multiply in bfloat16.

    Some virtual machines announce AMX without its tile sizes (CPUID leaf 1Dh is empty): there oneDNN's first product in
    bfloat16 is an illegal instruction.
    """
    return "amx_bf16" in cpu_flags() and _survives(_multiply_in_bfloat16)


def avoid_broken_amx() -> None:
    """Keep oneDNN off matrix units that are announced but crash; call it before the first product.

    oneDNN looks at its switch once, and computes without the units then.
    """
    if any(flag.startswith("amx_") for flag in cpu_flags()) and not amx_works():
        os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def _survives(action: Callable[[], object]) -> bool:
    """Return whether a child process that does this ends well."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # the crash is expected
        try:
            torch.set_num_threads(1)  # OpenMP's threads do not exist in a child
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status == 0


def _multiply_in_bfloat16() -> torch.Tensor:
    ones = torch.ones(64, 64, dtype=torch.bfloat16)
    return ones @ ones


def cpu_flags() -> set[str]:
    """Return what the CPU can do, by the names of /proc/cpuinfo; empty where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    match = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(match.group(1).split()) if match else set()
