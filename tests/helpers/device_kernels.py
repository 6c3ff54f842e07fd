"""The CUDA kernels compiled for GPUs, once for the whole suite, and not at all if registers are spilled to memory."""

import os
from pathlib import Path

import pytest

from torch_utils import kernel_builder

ARCHS = ("80", "90")
# ptxas then fails where a kernel needs more registers than it may have.
STRICT_FLAGS = (*kernel_builder.FLAGS, "-Xptxas=--warn-on-spills,--warning-as-error")
needs_nvcc = pytest.mark.skipif(kernel_builder.find_nvcc() is None, reason="needs nvcc")


def use_shared_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let libraries be built strictly until the test ends, in a cache that all tests share, under an awkward name."""
    folder = Path(os.environ["PV3D_CACHE_DIR"]) / "a folder: with $igns"
    monkeypatch.setenv("PV3D_CACHE_DIR", str(folder))
    monkeypatch.setattr(kernel_builder, "FLAGS", STRICT_FLAGS)
