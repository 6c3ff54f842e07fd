"""Winograd's convolution: equal to torch's in float64, as exact as promised in float32."""

import pytest
import torch
import torch.nn.functional as F

from torch_utils.ops import conv2d as ops
from torch_utils.ops import winograd


def channels_last(*size, **options):
    return torch.randn(size, generator=torch.Generator().manual_seed(1), **options).contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("size", [(2, 3, 8, 12), (1, 5, 4, 4), (3, 2, 16, 4)])
@pytest.mark.parametrize("band", [1, 1 << 14, 1 << 24])
def test_equals_torch(size, band, monkeypatch):
    monkeypatch.setattr(winograd, "_BAND_BYTES", band)
    x, w = channels_last(*size, dtype=torch.float64), channels_last(7, size[1], 3, 3, dtype=torch.float64)
    torch.testing.assert_close(winograd.conv3x3(x, w), F.conv2d(x, w, padding=1))


def test_float32_errors_are_a_few_times_those_of_a_direct_convolution():
    x, w = channels_last(1, 64, 128, 128), channels_last(64, 64, 3, 3)
    exact = F.conv2d(x.double(), w.double(), padding=1)
    error = (winograd.conv3x3(x, w) - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert error < 3e-6


def test_is_taken_without_gradients_alone(monkeypatch):
    calls, run = [], winograd.conv3x3
    monkeypatch.setattr(winograd, "conv3x3", lambda *args: calls.append(1) or run(*args))
    x, w = channels_last(1, 192, 32, 32), channels_last(192, 192, 3, 3) / 6**0.5
    found = ops.conv2d(x, w, padding=1)
    assert len(calls) == 1
    torch.testing.assert_close(found, F.conv2d(x, w, padding=1), rtol=1e-4, atol=1e-3)
    ops.conv2d(x, w.requires_grad_(), padding=1).sum().backward()
    assert len(calls) == 1
    with torch.no_grad():
        ops.conv2d(x, w, padding=1)
        ops.conv2d(x, w, padding=(1, 0)), ops.conv2d(x, w, stride=2, padding=1)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"size": (1, 192, 34, 32)},
        {"size": (1, 192, 16, 16)},
        {"size": (1, 16, 32, 32)},
        {"kernel": (192, 192, 1, 1)},
        {"kernel": (16, 192, 3, 3)},
        {"kernel": (192, 192, 5, 5)},
        {"dtype": torch.bfloat16},
        {"memory_format": torch.contiguous_format},
    ],
)
def test_is_left_to_torch_where_it_cannot_or_does_not_pay(change, monkeypatch):
    case = {
        "size": (1, 192, 32, 32),
        "kernel": (192, 192, 3, 3),
        "dtype": torch.float32,
        "memory_format": torch.channels_last,
    }
    take = lambda size, kernel, dtype, memory_format: winograd.worthwhile(  # noqa: E731
        torch.empty(size, dtype=dtype, memory_format=memory_format), torch.empty(kernel, dtype=dtype)
    )
    assert take(**case)
    assert not take(**case | change)
    monkeypatch.setattr(winograd, "enabled", False)
    assert not take(**case)


def test_the_layout_is_kept():
    x, w = channels_last(1, 192, 32, 32), channels_last(192, 192, 3, 3)
    assert winograd.conv3x3(x, w).is_contiguous(memory_format=torch.channels_last)
