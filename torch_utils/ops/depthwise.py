"""Depthwise convolution with one constant kernel for all channels, differentiable to any order.

Values and first derivatives are torch's own. Its second derivatives also compute a gradient for the kernel, channel by
channel, whether it is wanted or not; here only that for the image is.
"""

import torch
import torch.nn.functional as F

Pair = tuple[int, int]  # y, x


def depthwise_conv2d(
    x: torch.Tensor,
    f: torch.Tensor,
    stride: Pair,
    padding: Pair,
    transposed: bool = False,
) -> torch.Tensor:
    """Convolve every channel of x [N, C, H, W] with f [fh, fw] as `conv2d` (a correlation) or `conv_transpose2d` do."""
    geometry = (stride, padding, transposed)
    return _Convolution.apply(x, f, geometry)


class _Convolution(torch.autograd.Function):
    """(x, f) -> y."""

    @staticmethod
    def forward(ctx, x, f, geometry):
        ctx.save_for_backward(x, f)
        ctx.geometry = geometry
        return _convolve(x, f, *geometry)

    @staticmethod
    def backward(ctx, dy):
        x, f = ctx.saved_tensors
        return _InputGradient.apply(dy, x.detach(), f, ctx.geometry), None, None


class _InputGradient(torch.autograd.Function):
    """(dy, x, f) -> dx, whose size and memory format are those of x."""

    @staticmethod
    def forward(ctx, dy, x, f, geometry):
        ctx.save_for_backward(f)
        ctx.geometry = geometry
        return _input_gradient(dy, x, f, *geometry)

    @staticmethod
    def backward(ctx, ddx):
        (f,) = ctx.saved_tensors
        return _Convolution.apply(ddx, f, ctx.geometry), None, None, None


def _convolve(x, f, stride, padding, transposed):
    channels = x.shape[1]
    kernel = f.expand(channels, 1, *f.shape)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    return convolve(x, kernel, stride=stride, padding=padding, groups=channels)


def _input_gradient(dy, x, f, stride, padding, transposed):
    channels = x.shape[1]
    kernel = f.expand(channels, 1, *f.shape)
    dx, _, _ = torch.ops.aten.convolution_backward(
        dy,
        x,
        kernel,
        bias_sizes=None,
        stride=stride,
        padding=padding,
        dilation=(1, 1),
        transposed=transposed,
        output_padding=(0, 0),
        groups=channels,
        output_mask=(True, False, False),
    )
    return dx
