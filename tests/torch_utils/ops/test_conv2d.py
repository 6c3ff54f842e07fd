"""Convolutions: equal to torch's in value and gradients, second derivatives in every float type, several bands."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

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
    monkeypatch.setattr(ops, "_AVX512", False)
    x = normal(0, 2, 3, 5, 6)
    w = normal(1, 3, 4, kernel, kernel).requires_grad_(grad)
    torch.testing.assert_close(ops.conv_transpose2d(x, w, stride=stride), F.conv_transpose2d(x, w, stride=stride))


@pytest.mark.parametrize("narrow", [0, 64])
@pytest.mark.parametrize("kernel", [1, 3])
def test_weight_gradients_of_narrow_and_wide_layers(kernel, narrow, monkeypatch):
    monkeypatch.setattr(ops, "_NARROW", narrow)
    x, w = normal(0, 2, 8, 9, 7), normal(1, 5, 8, kernel, kernel)
    dy = normal(2, 2, 5, 9, 7)
    expected = derivatives(F.conv2d, x, w, dy, x, w, padding=kernel // 2)
    found = derivatives(ops.conv2d, x, w, dy, x, w, padding=kernel // 2)
    for order, right in expected.items():
        torch.testing.assert_close(found[order], right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("stride", [1, 2])
@seeded(0)
def test_second_derivatives(name, stride):
    x = normal(0, 2, 2, 4, 4, dtype=torch.float64).requires_grad_()
    w = normal(1, 2, 2, 3, 3, dtype=torch.float64).requires_grad_()
    torch.autograd.gradgradcheck(lambda x, w: getattr(ops, name)(x, w, stride=stride, padding=1), (x, w))


# --- Every float type ------------------------------------------------------------------------------------------------

CHANNELS = 16  # and as many lines: enough for a CPU's matrix units
LAYOUTS = [torch.contiguous_format, torch.channels_last]
ROUNDING_ERRORS = 8  # of a result's norm, in units of its type's precision


def derivatives(convolve, x, w, dy, ddx, ddw, **options) -> dict[str, torch.Tensor]:
    """Return the value, its gradients in the direction dy, and the gradients of those in the directions ddx and ddw."""
    x, w, dy = (tensor.detach().requires_grad_() for tensor in (x, w, dy))
    y = convolve(x, w, **options)
    first = torch.autograd.grad(y, [x, w], dy, create_graph=True)
    second = torch.autograd.grad(first, [x, w, dy], [ddx, ddw])
    return dict(zip(("y", "dx", "dw", "second x", "second w", "second dy"), (y, *first, *second), strict=True))


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_derivatives_in_every_float_type(name, stride, kernel, dtype):
    """Against torch in float64. An error of that norm leaves a cosine of 0.998 in bfloat16, and more elsewhere."""
    theirs = getattr(F, name)
    for groups, layout in itertools.product((1, 2, CHANNELS), LAYOUTS):
        options = {"stride": stride, "padding": kernel // 2, "groups": groups}
        x = normal(0, 2, CHANNELS, CHANNELS, CHANNELS)
        w = normal(1, CHANNELS, CHANNELS // groups, kernel, kernel)
        dy = normal(2, *theirs(x, w, **options).shape)
        inputs = [x, w, dy, normal(3, *x.shape), normal(4, *w.shape)]
        inputs = [tensor.to(dtype).contiguous(memory_format=layout) for tensor in inputs]
        expected = derivatives(theirs, *(tensor.double() for tensor in inputs), **options)
        found = derivatives(getattr(ops, name), *inputs, **options)
        for order, right in expected.items():
            assert found[order].dtype == dtype
            error = (found[order].double() - right).norm() / right.norm()
            assert error <= ROUNDING_ERRORS * torch.finfo(dtype).eps, (order, groups, layout)


class Kernels(TorchDispatchMode):
    """A context that notes the kernel size of every convolution that torch runs in it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.sizes.add(tuple(args[1].shape[2:]))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("groups", [1, CHANNELS])
def test_no_derivative_convolves_with_a_whole_image(dtype, groups):
    """As torch's second derivatives do, which are wrong in bfloat16 on matrix units. This shows on every machine."""
    images = [normal(seed, 1, CHANNELS, 8, 8).to(dtype) for seed in range(3)]
    x, dy, ddx = (image.contiguous(memory_format=torch.channels_last) for image in images)
    w, ddw = (normal(seed, CHANNELS, CHANNELS // groups, 3, 3).to(dtype) for seed in range(2))
    with Kernels() as kernels:
        derivatives(ops.conv2d, x, w, dy, ddx, ddw, padding=1, groups=groups)
    assert kernels.sizes == {(3, 3)}


def test_memory_format_is_kept():
    x = normal(0, 2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    w = normal(1, 8, 8, 3, 3).requires_grad_()
    assert ops.conv2d(x, w, padding=1).is_contiguous(memory_format=torch.channels_last)
    assert ops.conv_transpose2d(x, w, stride=2).is_contiguous(memory_format=torch.channels_last)
