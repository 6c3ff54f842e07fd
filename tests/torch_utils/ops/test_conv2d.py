"""Convolutions: equal to torch's in value and gradients, derivatives of the second order, several bands."""

import pytest
import torch
import torch.nn.functional as F

from tests.helpers.tiny import normal, seeded
from torch_utils.ops import conv2d as ops

GEOMETRIES = [
    (1, 1, 0, (5, 6)),
    (3, 1, 1, (5, 6)),
    (3, 1, (0, 2), (6, 5)),
    (3, 2, 0, (7, 9)),
    (3, 2, 1, (8, 7)),
    (2, 1, 0, (4, 5)),
    (4, 3, 2, (9, 11)),
    (1, 2, 0, (6, 7)),
    (5, 1, 2, (3, 3)),
]


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("kernel, stride, padding, size", GEOMETRIES)
@pytest.mark.parametrize("band", [1, 1 << 12, 1 << 23])
def test_equals_torch(name, kernel, stride, padding, size, band, monkeypatch):
    monkeypatch.setattr(ops, "_BAND_BYTES", band)
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(3, 4, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    shape = (5, 4) if name == "conv2d" else (4, 5)
    w = torch.randn(*shape, kernel, kernel, dtype=torch.float64, generator=generator, requires_grad=True)
    ours = getattr(ops, name)(x, w, stride=stride, padding=padding)
    theirs = getattr(F, name)(x, w, stride=stride, padding=padding)
    torch.testing.assert_close(ours, theirs)
    dy = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    for a, b in zip(*(torch.autograd.grad(y, [x, w], dy) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kernel, stride", [(3, 2), (2, 2), (4, 2), (3, 3), (5, 2)])
@pytest.mark.parametrize("grad", [True, False])
def test_phases_equal_torch(kernel, stride, grad, monkeypatch):
    monkeypatch.setattr(ops, "_PHASE_PIXELS", 0)
    x = normal(0, 2, 3, 5, 6)
    w = normal(1, 3, 4, kernel, kernel).requires_grad_(grad)
    torch.testing.assert_close(ops.conv_transpose2d(x, w, stride=stride), F.conv_transpose2d(x, w, stride=stride))


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("stride", [1, 2])
@seeded(0)
def test_second_derivatives(name, stride):
    x = normal(0, 2, 2, 4, 4, dtype=torch.float64).requires_grad_()
    w = normal(1, 2, 2, 3, 3, dtype=torch.float64).requires_grad_()
    torch.autograd.gradgradcheck(lambda x, w: getattr(ops, name)(x, w, stride=stride, padding=1), (x, w))


def test_memory_format_is_kept():
    x = normal(0, 2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    w = normal(1, 8, 8, 3, 3).requires_grad_()
    assert ops.conv2d(x, w, padding=1).is_contiguous(memory_format=torch.channels_last)
    assert ops.conv_transpose2d(x, w, stride=2).is_contiguous(memory_format=torch.channels_last)
