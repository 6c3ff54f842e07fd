"""A GPU that is not there: tensors of the meta device take the way of those on one."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import torch

from benchmarks.counting import Counting
from torch_utils import custom_ops, random_numbers

META = torch.device("meta")


class _Kernels:
    """Stands for the libraries of CUDA kernels."""

    pv3d_bias_act = "bias_act"
    pv3d_scale_act = "scale_act"
    pv3d_upfirdn2d = "upfirdn2d"


@contextlib.contextmanager
def as_on_a_gpu(counting: Counting) -> Iterator[None]:
    """Let tensors of the meta device take the way of those on a GPU."""

    def library_for(name: str, x: torch.Tensor) -> type[_Kernels] | None:
        is_there = x.device.type == "meta" and x.dtype in custom_ops._DTYPES and x.numel() > 0
        return _Kernels if is_there else None

    def launch(function: str, params: Any, like: torch.Tensor) -> None:
        size = like.element_size() * _elements(function, params)
        counting.add(f"kernel {function}", 0.0, size, 1, like.dtype)

    def bincount(x: torch.Tensor, minlength: int) -> torch.Tensor:
        counting.wait("bincount")
        counting.add("bincount", 0.0, x.nbytes + 8 * minlength, 4, torch.int64)
        return torch.empty([minlength], dtype=torch.int64, device=META)

    def draw(function: Any, shape: Sequence[int], random: Any, *, device: Any, dtype: Any) -> torch.Tensor:
        with counting.component("random numbers"):
            return function(shape, device=META, dtype=dtype)  # of one pass, which is the whole batch

    with (
        mock.patch.object(custom_ops, "library_for", library_for),
        mock.patch.object(custom_ops, "launch", launch),
        mock.patch.object(torch, "bincount", bincount),
        mock.patch.object(random_numbers, "_draw", draw),
    ):
        yield


def _elements(function: str, params: Any) -> int:
    """Return how many elements a kernel reads and writes."""
    if function == "bias_act":
        tensors = 2 + (params.order >= 1) + (params.order == 2)
        return params.total * tensors
    if function == "scale_act":
        return params.total * (2 + params.order)
    return math.prod(params.in_size) + math.prod(params.out_size)
