"""The choice between CUDA kernels and plain PyTorch for the ops, and calls of the kernels.

The kernels are C functions in libraries made by `kernel_builder`, called through ctypes with the addresses of tensors.
"""

import ctypes
import os
import warnings
from typing import Any

import torch

from dnnlib.errors import UserError
from torch_utils import kernel_builder
from torch_utils.kernel_builder import BuildProblem
from torch_utils.machine_options import OPS_MODES

_DTYPES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}  # numbers of portable.h
_mode = "auto"
_libraries: dict[str, ctypes.CDLL | None] = {}  # None: it cannot be used, and the user has been warned


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
                _libraries[name] = load_library(name, own)
            except BuildProblem as problem:
                raise UserError(f"--ops=cuda, but the kernels cannot be used. {problem.reason} {problem.fix}") from None
    _mode = mode


def ops_mode() -> str:
    """Return the mode set last."""
    return _mode


def library_for(name: str, x: torch.Tensor) -> ctypes.CDLL | None:
    """Return the CUDA library of op `name` if it is to be used for a tensor like x, else None for plain PyTorch."""
    if x.device.type != "cuda" or _mode == "native" or x.dtype not in _DTYPES or x.numel() == 0:
        return None
    if name not in _libraries:
        try:
            _libraries[name] = load_library(name, x.device.index)
        except BuildProblem as problem:
            _libraries.update(dict.fromkeys(kernel_builder.OPS))  # one warning for all ops
            warnings.warn(
                f"CUDA kernels are not available: {problem.reason} Filters and activations run as plain PyTorch "
                f"operations: the same results, but these steps take several times longer and more memory. "
                f"What helps: {problem.fix} (--ops=native silences this warning.)",
                stacklevel=2,
            )
    return _libraries[name]


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
