"""The choice between CUDA kernels and plain PyTorch for the ops, and calls of the kernels.

The kernels are C functions in libraries made by `kernel_builder`, called through ctypes with the addresses of tensors.
Before a library is used on a GPU, the op's examples are computed with it and in plain PyTorch: where
the results differ, it is not used.
"""

import contextlib
import ctypes
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from dnnlib.errors import UserError
from torch_utils import kernel_builder
from torch_utils.kernel_builder import BuildProblem
from torch_utils.machine_options import OPS_MODES
from torch_utils.pickles.dtypes import dtype_name

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}  # numbers of portable.h
# How far a result may be from plain PyTorch's, as the norm of the difference over the norm.
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12, torch.float16: 5e-3, torch.bfloat16: 4e-2}
_mode = "auto"
_libraries: dict[str, ctypes.CDLL | None] = {}  # None: it cannot be used, and the user has been warned

# Computes an op and its derivatives on a device, for a data type, from fixed inputs.
Examples = Callable[[torch.device, torch.dtype], list[torch.Tensor]]


def set_ops_mode(mode: str) -> None:
    """Choose how ops run on CUDA tensors (CPU tensors always take the plain PyTorch path).

    `auto`: CUDA kernels if they can be built, else plain PyTorch after one warning. `native`: plain PyTorch; nothing is
    ever built. `cuda`: CUDA kernels, built here and now.

    Raises:
        UserError: unknown mode; or mode `cuda` and there is no GPU or a kernel cannot be built.
    """
    global _mode
    if mode not in OPS_MODES:
        raise UserError(f"Unknown ops mode {mode!r}; choose one of {', '.join(OPS_MODES)}.")
    if mode == "cuda":
        if not torch.cuda.is_available():
            raise UserError("--ops=cuda needs a CUDA GPU, and torch sees none here; use --ops=auto or --ops=native.")
        own = _local_rank() % torch.cuda.device_count()  # touching the other GPUs would take memory on them
        for name in kernel_builder.OPS:
            try:
                library = load_library(name, own)
            except BuildProblem as problem:
                raise UserError(f"--ops=cuda, but the kernels cannot be used. {problem.reason} {problem.fix}") from None
            fault = disagreement(name, library, torch.device("cuda", own))
            if fault:
                raise UserError(f"--ops=cuda, but {fault}: use --ops=native, and report it with the name of the GPU.")
    _mode = mode


def ops_mode() -> str:
    """Return the mode set last."""
    return _mode


def library_for(name: str, x: torch.Tensor) -> ctypes.CDLL | None:
    """Return the CUDA library of op `name` if it is to be used for a tensor like x, else None for plain PyTorch."""
    if not _is_for_kernels(x):
        return None
    if name not in _libraries:
        try:
            _examine(name, load_library(name, x.device.index), x.device)
        except BuildProblem as problem:
            _libraries.update(dict.fromkeys(kernel_builder.OPS))  # one warning for all ops
            warnings.warn(
                f"CUDA kernels are not available: {problem.reason} Filters and activations run as plain PyTorch "
                f"operations: the same results, but these steps take several times longer and more memory. "
                f"What helps: {problem.fix} (--ops=native silences this warning.)",
                stacklevel=2,
            )
    return _libraries[name]


def _is_for_kernels(x: torch.Tensor) -> bool:
    """Return whether kernels are to be used for a tensor, if there are some."""
    return x.device.type == "cuda" and _mode != "native" and x.dtype in _DTYPES and x.numel() > 0


# --- Examination ------------------------------------------------------------------------------------------------------


def _examine(name: str, library: ctypes.CDLL, device: torch.device) -> None:
    """Use a library, or give it up with a warning if its results differ from those of plain PyTorch."""
    fault = disagreement(name, library, device)
    if fault:
        _libraries[name] = None
        warnings.warn(
            f"{fault[0].upper()}{fault[1:]}, so the op runs as plain PyTorch operations, which take longer. Report it "
            "with the name of the GPU.",
            stacklevel=4,
        )


def disagreement(name: str, library: ctypes.CDLL, device: torch.device) -> str | None:
    """Return how the results of a library differ from those of plain PyTorch; None if they do not.

    From then on it is the op's.
    """
    _libraries[name] = library
    # Only now: the ops' modules import this one.
    examples: Examples = importlib.import_module(f"torch_utils.ops.{name}").examples
    for dtype, tolerance in TOLERANCES.items():
        with _in_mode("cuda"):
            found = examples(device, dtype)
        with _in_mode("native"):
            wanted = examples(device, dtype)
        differences = [_difference(*pair) for pair in zip(found, wanted, strict=True)]
        worst = max(differences)
        if not worst <= tolerance:  # NaN, too
            return f"the CUDA kernel {name} differs from plain PyTorch by {worst:.1e} in {dtype_name(dtype)}"
    return None


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the norm of the difference over the norm of what is wanted."""
    found, wanted = found.double(), wanted.double()
    return ((found - wanted).norm() / wanted.norm().clamp(min=1e-30)).item()


@contextlib.contextmanager
def _in_mode(mode: str) -> Iterator[None]:
    """Let ops run in a mode inside the block, with gradients, whatever is being computed around it."""
    global _mode
    before = _mode
    _mode = mode
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        _mode = before


# --- Libraries --------------------------------------------------------------------------------------------------------


def load_library(name: str, device: int) -> ctypes.CDLL:
    """Return the library of an op, built if needed, loaded and tried on one GPU.

    Raises:
        BuildProblem: it cannot be built, loaded or run.
        UserError: another process that builds it exceeds the time limit.
    """
    archs = kernel_builder.architectures()
    limit = kernel_builder.build_limit()
    path = kernel_builder.build_once(
        name,
        kernel_builder.library_folder(archs),
        lambda target: kernel_builder.compile_library(name, target, archs, limit),
        limit,
        rank=_local_rank(),
    )
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildProblem(f"{path} cannot be loaded: {error}.", "Delete it, so that it is built again.") from None
    library.pv3d_message.restype = ctypes.c_char_p
    with torch.cuda.device(device):
        status = library.pv3d_check(device)
    if status != 0:
        message = library.pv3d_message(status).decode()
        raise BuildProblem(
            f"The compiled {name} does not run on GPU {device}: {message}.",
            f"In CUDA_HOME, name a CUDA toolkit no newer than the driver (see nvidia-smi), and delete {path}.",
        )
    return library


def _local_rank() -> int:
    """Return the number of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def launch(function: Any, params: ctypes.Structure, like: torch.Tensor) -> None:
    """Call a library's function on the device, in the dtype and on the current stream of tensor `like`.

    Raises:
        RuntimeError: CUDA reports a failure.
    """
    arguments = (ctypes.byref(params), _DTYPES[like.dtype])
    if like.device.type == "cuda":
        with torch.cuda.device(like.device):
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            status = function(*arguments, like.device.index, stream)
    else:  # a library compiled for the host, in tests
        status = function(*arguments, 0, None)
    if status != 0:
        raise RuntimeError(f"{function.__name__} failed with CUDA status {status}")
