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


@functools.cache
def host_library(max_piece: int | None = None) -> ctypes.CDLL:
    """Return the kernel sources as a host library; tensors with more than `max_piece` elements count as large."""
    compiler = shutil.which(os.environ.get("CXX") or "g++")
    if compiler is None:
        pytest.skip("no C++ compiler: the kernels cannot be compiled for the host")
    options = [] if max_piece is None else [f"-DPV3D_MAX_PIECE={max_piece}"]
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
