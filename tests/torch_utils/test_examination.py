"""Kernels are compared with plain PyTorch before they are used: right ones are taken, wrong ones given up."""

import ctypes
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers.host_kernels import host_library
from torch_utils import custom_ops
from torch_utils.ops.bias_act import bias_act
from torch_utils.ops.upfirdn2d import filter2d, setup_filter
from torch_utils.pickles.dtypes import dtype_name

OPS = ("bias_act", "upfirdn2d", "scale_act")
TYPES = tuple(custom_ops.TOLERANCES)
MISSING = [("scale_act", torch.float64)]  # these are composed of other operations


class Wrong:
    """A library whose kernels of some ops scale their results by 1.1, in one data type."""

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype, ops: Sequence[str] = OPS):
        self.dtype = custom_ops._DTYPES[dtype]
        for op in OPS:
            function = getattr(library, f"pv3d_{op}")
            setattr(self, f"pv3d_{op}", self._wrong(function) if op in ops else function)

    def _wrong(self, function: Any) -> Callable[..., int]:
        def call(params: Any, dtype: int, *rest: Any) -> int:
            if dtype == self.dtype:
                params._obj.gain *= 1.1
            return function(params, dtype, *rest)

        return call


@pytest.fixture
def machine(monkeypatch) -> Callable[[Any], None]:
    """Return a function that makes kernels of a library those that CPU tensors get."""

    def has(library: Any) -> None:
        monkeypatch.setattr(custom_ops, "_libraries", {})
        monkeypatch.setattr(custom_ops, "load_library", lambda name, device: library)

    monkeypatch.setattr(custom_ops, "_mode", "auto")
    monkeypatch.setattr(
        custom_ops, "_is_for_kernels", lambda x: custom_ops._mode != "native" and x.dtype in custom_ops._DTYPES
    )
    return has


@pytest.mark.parametrize("name", OPS)
def test_right_kernels_are_used(machine, name):
    library = host_library()
    machine(library)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert custom_ops.library_for(name, torch.zeros(1)) is library
    assert custom_ops.ops_mode() == "auto"


@pytest.mark.parametrize("name, dtype", [case for case in itertools.product(OPS, TYPES) if case not in MISSING])
def test_wrong_kernels_are_given_up_with_one_warning(machine, name, dtype):
    machine(Wrong(host_library(), dtype, [name]))
    sentence = f"kernel {name} differs from plain PyTorch by .* in {dtype_name(dtype)}"
    with pytest.warns(UserWarning, match=sentence) as caught:
        assert custom_ops.library_for(name, torch.zeros(1)) is None
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert custom_ops.library_for(name, torch.zeros(1)) is None


def test_ops_run_plainly_where_kernels_are_wrong(machine):
    machine(Wrong(host_library(), torch.float32))
    x = torch.randn([1, 4, 8, 8], generator=torch.Generator().manual_seed(0))
    taps = setup_filter([1, 3, 3, 1])
    with pytest.warns(UserWarning, match="differs"):
        found = filter2d(bias_act(x, act="lrelu"), taps)
    with custom_ops._in_mode("native"):
        assert torch.equal(found, filter2d(bias_act(x, act="lrelu"), taps))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_first_use_may_be_without_gradients(machine, context):
    machine(host_library())
    with context():
        y = bias_act(torch.ones(1, 4, 2, 2), torch.ones(4), act="lrelu")
    assert not y.requires_grad and torch.allclose(y, torch.tensor(2 * 2**0.5))


def test_kernels_asked_for_by_name_must_be_right(monkeypatch):
    monkeypatch.setattr(custom_ops, "_libraries", {})
    monkeypatch.setattr(custom_ops, "_mode", "auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(custom_ops, "load_library", lambda name, device: None)
    monkeypatch.setattr(custom_ops, "disagreement", lambda name, library, device: f"the CUDA kernel {name} differs")
    with pytest.raises(UserError, match="--ops=cuda, but the CUDA kernel .* differs: use --ops=native"):
        custom_ops.set_ops_mode("cuda")
