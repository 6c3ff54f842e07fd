"""The CUDA kernels compiled for the host, and a switch that makes the ops use them for CPU tensors."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from torch_utils import custom_ops, kernel_builder

SMALL_PIECE = 1541  # elements, no multiple of anything


@functools.cache
def host_library(small: bool = False) -> ctypes.CDLL:
    """Return the kernel sources as a host library.

    Args:
        small: its launches take no more than SMALL_PIECE elements, and one thread keeps its GPU busy.
    """
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels cannot be compiled for the host")
    options = [f"-DPV3D_MAX_PIECE={SMALL_PIECE}", "-DPV3D_ENOUGH_THREADS=1"] if small else []
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "host.so"
        subprocess.run(
            [
                compiler,
                "-O1",
                "-std=c++17",
                "-shared",
                "-fPIC",
                *options,
                "-I",
                str(kernel_builder.SOURCES),
                str(Path(__file__).with_name("host_kernels.cpp")),
                "-o",
                str(target),
            ],
            check=True,
        )
        return ctypes.CDLL(str(target))


def use(monkeypatch: pytest.MonkeyPatch, library: ctypes.CDLL | None) -> None:
    """Let every op call `library`, on CPU tensors too, until the test ends; None: the plain PyTorch path."""
    monkeypatch.setattr(custom_ops, "library_for", lambda name, x: library)


def lanes_of_last_kernel(library: ctypes.CDLL) -> int:
    """Return how many elements at a time the kernel that ran last works on; 0: it was the generic upfirdn2d."""
    return ctypes.c_int32.in_dll(library, "lanes_of_last_kernel").value
