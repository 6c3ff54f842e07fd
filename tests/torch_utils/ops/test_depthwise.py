"""torch_utils.ops.depthwise: torch's own values and derivatives; and so are the tests' fast convolutions in float64."""

import pytest
import torch
import torch.nn.functional as F

from tests.helpers import float64
from tests.helpers.tiny import normal
from torch_utils.ops.depthwise import depthwise_conv2d

ROUNDING_ERRORS = 8  # of a result's norm, in units of its type's precision
GEOMETRIES = [((1, 1), (1, 1), False), ((2, 2), (1, 2), False), ((2, 1), (0, 1), True), ((2, 2), (1, 1), True)]


def reference(x, f, stride, padding, transposed):
    kernel = f.expand(x.shape[1], 1, *f.shape)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    return convolve(x, kernel, stride=stride, padding=padding, groups=x.shape[1])


def derivatives(convolve, x, f, geometry) -> list[torch.Tensor]:
    """Return the value, the gradient of a loss that is not linear in it, and the gradient of that gradient's norm."""
    y = convolve(x, f, *geometry)
    (first,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return [y, first, second]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_derivatives_are_torchs(geometry, dtype, layout):
    """Torch's in float64: its own second derivatives are wrong in bfloat16 on some CPUs."""
    x = normal(0, 2, 5, 9, 8, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    f = normal(1, 4, 3, dtype=dtype) / 4
    exact = x.detach().double().requires_grad_()
    for ours, theirs in zip(
        derivatives(depthwise_conv2d, x, f, geometry), derivatives(reference, exact, f.double(), geometry), strict=True
    ):
        assert ours.dtype == dtype and ours.is_contiguous(memory_format=layout)
        assert (ours.double() - theirs).norm() <= ROUNDING_ERRORS * torch.finfo(dtype).eps * theirs.norm()


# --- The stand-ins of the golden tests --------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_fast_depthwise_convolutions_are_torchs(geometry):
    x = normal(0, 2, 5, 9, 8, dtype=torch.float64).requires_grad_()
    f = normal(1, 4, 3, dtype=torch.float64)
    expected = derivatives(depthwise_conv2d, x, f, geometry)
    with float64.fast_convolutions():
        found = derivatives(depthwise_conv2d, x, f, geometry)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride, padding", [(1, (1, 1)), (2, (0, 1)), (2, (1, 0))])
def test_fast_convolutions_are_torchs(stride, padding):
    x = normal(0, 2, 5, 9, 8, dtype=torch.float64)
    w = normal(1, 7, 5, 3, 3, dtype=torch.float64)
    y = F.conv2d(x, w, stride=stride, padding=padding)
    back = F.conv_transpose2d(y, w, stride=stride, padding=padding)
    with float64.fast_convolutions():
        torch.testing.assert_close(F.conv2d(x, w, stride=stride, padding=padding), y, rtol=1e-12, atol=1e-12)
        found = F.conv_transpose2d(y, w, stride=stride, padding=padding)
    torch.testing.assert_close(found, back, rtol=1e-12, atol=1e-12)
