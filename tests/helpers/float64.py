"""Convolutions in float64 that suit a CPU, for golden tests of whole networks.

torch's write out the pixels below every kernel position, and go channel by channel where each is filtered alone. The
stand-ins are Winograd's convolution, and sums of shifted images, a band of lines at a time. They are used inside the
ops' own autograd functions, so they record no gradients.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F

from torch_utils.ops import depthwise, winograd
from torch_utils.ops.bands import bands

BAND_BYTES = 1 << 20
_torch_conv2d = F.conv2d
_torch_conv_transpose2d = F.conv_transpose2d
_torch_filter_channels = depthwise._convolve
_torch_filter_channels_gradient = depthwise._input_gradient


@contextmanager
def fast_convolutions() -> Iterator[None]:
    """Let convolutions inside the block be those of this file, where they can."""
    with (
        mock.patch.object(F, "conv2d", conv2d),
        mock.patch.object(F, "conv_transpose2d", conv_transpose2d),
        mock.patch.object(depthwise, "_convolve", filter_channels),
        mock.patch.object(depthwise, "_input_gradient", filter_channels_gradient),
    ):
        yield


def conv2d(x: torch.Tensor, w: torch.Tensor, **geometry) -> torch.Tensor:
    """Stand in for `torch.nn.functional.conv2d`: the same, by Winograd's algorithm where that applies."""
    if _winograd_applies(x, w, geometry):
        return winograd.conv3x3(x, w)
    return _torch_conv2d(x, w, **geometry)


def conv_transpose2d(y: torch.Tensor, w: torch.Tensor, **geometry) -> torch.Tensor:
    """Stand in for `torch.nn.functional.conv_transpose2d`: the same, by Winograd's algorithm where that applies."""
    if _winograd_applies(y, w, geometry):
        return winograd.conv3x3(y, w.transpose(0, 1).flip([2, 3]))
    return _torch_conv_transpose2d(y, w, **geometry)


def _winograd_applies(x: torch.Tensor, w: torch.Tensor, geometry: dict) -> bool:
    """Return whether a convolution, or a transposed one, is that of 3 x 3 pixels with equal sizes on both sides."""
    same_size = geometry.get("stride", 1) == 1 and geometry.get("padding") == (1, 1) and geometry.get("groups", 1) == 1
    even = x.shape[2] % winograd.TILE == 0 and x.shape[3] % winograd.TILE == 0
    return same_size and even and w.shape[2:] == (3, 3)


# --- One kernel for all channels -------------------------------------------------------------------------------------


def filter_channels(x: torch.Tensor, f: torch.Tensor, stride, padding, transposed: bool) -> torch.Tensor:
    """Stand in for the depthwise convolution of x [N, C, H, W] with f [fh, fw]."""
    if transposed:
        return _torch_filter_channels(x, f, stride, padding, transposed)
    pad_y, pad_x = padding
    padded = F.pad(x, [pad_x, pad_x, pad_y, pad_y])
    height = (padded.shape[2] - f.shape[0]) // stride[0] + 1
    width = (padded.shape[3] - f.shape[1]) // stride[1] + 1
    y = x.new_zeros(len(x), height, width, x.shape[1]).permute(0, 3, 1, 2)
    for tap, part, window in _shifted(y, padded, f, stride):
        part.add_(window, alpha=tap)
    return y


def filter_channels_gradient(dy, x, f, stride, padding, transposed: bool) -> torch.Tensor:
    """Stand in for the gradient of `filter_channels` for x."""
    if transposed:
        return _torch_filter_channels_gradient(dy, x, f, stride, padding, transposed)
    n, channels, height, width = x.shape
    pad_y, pad_x = padding
    padded = x.new_zeros(n, height + 2 * pad_y, width + 2 * pad_x, channels).permute(0, 3, 1, 2)
    for tap, part, window in _shifted(dy, padded, f, stride):
        window.add_(part, alpha=tap)
    return padded[:, :, pad_y : pad_y + height, pad_x : pad_x + width]


def _shifted(y, padded, f, stride) -> Iterator[tuple[float, torch.Tensor, torch.Tensor]]:
    """Yield for bands of y and each tap of f: the tap, the band, and the pixels of the padded image that it weighs."""
    n, channels, height, width = y.shape
    for images, lines in bands(n, height, width * channels * y.element_size(), BAND_BYTES):
        part = y[images, :, lines]
        first = lines.start * stride[0]
        source = padded[images, :, first:]
        for i, row in enumerate(f.tolist()):
            for j, tap in enumerate(row):
                window = source[:, :, i :: stride[0], j :: stride[1]]
                yield tap, part, window[:, :, : part.shape[2], :width]
