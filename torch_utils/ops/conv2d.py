"""Convolution and transposed convolution that are fast on a CPU, gradients for the weights included, at every order.

On CPUs torch's weight gradient for channels-last tensors reaches 20 to 60 % of the matrix-multiply peak (when strided
10 to 40 %; with AVX-512 and few channels it is fast); here it is one matrix product per line of the kernel, at 70 to
95 %. Strided transposed convolutions are put together from one convolution per phase of the result, where there is no
AVX-512. Plain 3 x 3 convolutions of wide layers that need no gradients go through `winograd.py`, up to twice as fast
(where gradients are wanted its rounding would move a few more activations over the kink of their nonlinearity).
Everything else is torch's own.

All three operations are partial derivatives of one form, T(x, w, y) = sum(conv2d(x, w) y), that is linear in each of
x [N, Cin, H, W], w [Cout, Cin, kh, kw] and y [N, Cout, H', W']. So each one's gradients are the other two, which gives
derivatives of any order, in every float type. Torch's own second derivatives convolve with kernels as large as the
image; in bfloat16 on a CPU's matrix units what they return is wrong (docs/troubleshooting.md).
Pairs (padding, sizes) are ordered y, x.
"""

import torch
import torch.nn.functional as F

from torch_utils.ops import winograd
from torch_utils.ops.bands import bands

_BAND_BYTES = 8 << 20  # pixels worked on at a time: small enough to stay in the last-level cache
_AVX512 = torch.backends.cpu.get_cpu_capability() == "AVX512"
_PHASE_PIXELS = 16**2  # from here on one convolution per phase beats a strided transposed convolution, with AVX2
# Up to so many channels torch's weight gradient of a plain convolution is the faster one (float32, 3 x 3 kernels).
_NARROW = 64 if _AVX512 else 24
Pair = tuple[int, int]


def conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    stride: int = 1,
    padding: int | Pair = 0,
    groups: int = 1,
) -> torch.Tensor:
    """Convolve as `torch.nn.functional.conv2d` does, by correlation.

    x [N, Cin, H, W], w [Cout, Cin / groups, kh, kw] -> [N, Cout, H', W']; padding is an int or (y, x).
    """
    pad = _pair(padding)
    if _is_ours(x, w):
        return _Convolution.apply(x, w, stride, pad, groups)
    plain = stride == 1 and groups == 1 and pad == (1, 1)
    if plain and winograd.worthwhile(x, w):
        return winograd.conv3x3(x, w)
    return F.conv2d(x, w, stride=stride, padding=pad, groups=groups)


def conv_transpose2d(
    x: torch.Tensor,
    w: torch.Tensor,
    stride: int = 1,
    padding: int | Pair = 0,
    groups: int = 1,
) -> torch.Tensor:
    """Apply the adjoint of `conv2d`, as `torch.nn.functional.conv_transpose2d` does.

    x [N, Cin, H, W], w [Cin, Cout / groups, kh, kw] -> [N, Cout, H', W']; padding is an int or (y, x).
    """
    pad = _pair(padding)
    if _is_ours(x, w):
        size = _transposed_size(x, w, stride, pad)
        return _Transposed.apply(x, w, stride, pad, groups, size)
    return _transposed(x, w, stride, pad, groups)


def _pair(padding: int | Pair) -> Pair:
    """Return the padding as (y, x)."""
    if isinstance(padding, int):
        return padding, padding
    return padding


def _is_ours(x: torch.Tensor, w: torch.Tensor) -> bool:
    """Return whether the gradients of a convolution of x with w are wanted, and computed here."""
    return x.device.type == "cpu" and (x.requires_grad or w.requires_grad) and torch.is_grad_enabled()


# --- The three operations --------------------------------------------------------------------------------------------


class _Convolution(torch.autograd.Function):
    """(x, w) -> y."""

    @staticmethod
    def forward(ctx, x, w, stride, padding, groups):
        ctx.save_for_backward(x, w)
        ctx.geometry = stride, padding, groups
        return F.conv2d(x, w, stride=stride, padding=padding, groups=groups)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        dy = _laid_out_like(x, dy)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _Transposed.apply(dy, w, *ctx.geometry, x.shape[2:])
        if ctx.needs_input_grad[1]:
            dw = _WeightGradient.apply(x, dy, *ctx.geometry, w.shape[2:])
        return dx, dw, None, None, None


class _Transposed(torch.autograd.Function):
    """(y, w) -> x of spatial size `size` (several sizes share one y when strided)."""

    @staticmethod
    def forward(ctx, y, w, stride, padding, groups, size):
        ctx.save_for_backward(y, w)
        ctx.geometry = stride, padding, groups
        height, width = _transposed_size(y, w, stride, padding)
        extra = (size[0] - height, size[1] - width)
        return _transposed(y, w, stride, padding, groups, extra)

    @staticmethod
    def backward(ctx, dx):
        y, w = ctx.saved_tensors
        dx = _laid_out_like(y, dx)
        dy = dw = None
        if ctx.needs_input_grad[0]:
            dy = _Convolution.apply(dx, w, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            dw = _WeightGradient.apply(dx, y, *ctx.geometry, w.shape[2:])
        return dy, dw, None, None, None, None


class _WeightGradient(torch.autograd.Function):
    """(x, y) -> w."""

    @staticmethod
    def forward(ctx, x, y, stride, padding, groups, kernel):
        ctx.save_for_backward(x, y)
        ctx.geometry = stride, padding, groups
        if groups == 1 and x.dtype in (torch.float32, torch.float64) and not _is_narrow(x, y, stride, kernel):
            return _weight_gradient(x, y, stride, padding, kernel)
        return _torchs_weight_gradient(x, y, stride, padding, groups, kernel)

    @staticmethod
    def backward(ctx, dw):
        x, y = ctx.saved_tensors
        dx = dy = None
        if ctx.needs_input_grad[0]:
            dx = _Transposed.apply(y, dw, *ctx.geometry, x.shape[2:])
        if ctx.needs_input_grad[1]:
            dy = _Convolution.apply(x, dw, *ctx.geometry)
        return dx, dy, None, None, None, None


def _laid_out_like(image, other):
    """Return `other` in the memory format of `image`.

    Gradients of thin images (to-RGB, the losses) may arrive in the other one, which every layer below would inherit.
    """
    return other.contiguous(memory_format=_memory_format(image))


def _memory_format(image: torch.Tensor) -> torch.memory_format:
    if image.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


# --- Transposed convolution ------------------------------------------------------------------------------------------


def _transposed_size(y: torch.Tensor, w: torch.Tensor, stride: int, padding: Pair) -> Pair:
    """Return the smallest spatial size (y, x) of the images whose strided convolution with w has the size of y."""
    height, width = y.shape[2:]
    kh, kw = w.shape[2:]
    pad_y, pad_x = padding
    full_height = (height - 1) * stride + kh
    full_width = (width - 1) * stride + kw
    return full_height - 2 * pad_y, full_width - 2 * pad_x


def _transposed(y, w, stride, padding, groups, extra=(0, 0)):
    """Return the transposed convolution, `extra` lines and columns larger than need be: torch's, or a faster way."""
    n, _, height, width = y.shape
    if groups == stride == 1 and w.shape[2:] == (1, 1) and padding == (0, 0):
        # Takes half of the time, and less where y is thin.
        return F.conv2d(y, w.transpose(0, 1))
    by_phases = (
        not _AVX512
        and y.device.type == "cpu"
        and y.dtype == torch.float32
        and groups == 1
        and padding == (0, 0)
        and extra == (0, 0)
        and 1 < stride <= min(w.shape[2:])
        and n * height * width >= _PHASE_PIXELS
    )
    if by_phases:
        return _transposed_by_phases(y, w, stride)
    return F.conv_transpose2d(y, w, stride=stride, padding=padding, output_padding=extra, groups=groups)


def _transposed_by_phases(y, w, stride):
    """Return the transposed convolution, put together from its phases.

    A phase is every stride-th pixel of the result, in x and in y: an ordinary convolution with every stride-th tap.
    """
    height, width = _transposed_size(y, w, stride, padding=(0, 0))
    shape = (len(y), w.shape[1], height, width)
    x = torch.empty(shape, dtype=y.dtype, memory_format=_memory_format(y))
    for i in range(stride):
        for j in range(stride):
            taps = w[:, :, i::stride, j::stride]
            kernel = taps.transpose(0, 1).flip([2, 3])
            kh, kw = taps.shape[2:]
            phase = F.conv2d(y, kernel, padding=(kh - 1, kw - 1))
            x[:, :, i::stride, j::stride] = phase
    return x


# --- Gradient for the weights ----------------------------------------------------------------------------------------


def _weight_gradient(x, y, stride, padding, kernel):
    """Return w[o, c, i, j] = sum over n, p, q of y[n, o, p, q] x[n, c, stride p + i - pad_y, stride q + j - pad_x].

    The pixels of x that a line of the kernel meets lie side by side: [n, p, q, (j, c)], with p and q those of y. There
    another line of the kernel is a constant distance between flat pixel numbers, so that the sum for a whole line is
    one plain matrix product of two slices, wide enough to be fast also where there are few channels.
    """
    x = x.permute(0, 2, 3, 1)
    y = y.permute(0, 2, 3, 1)
    n, height, width, y_channels = y.shape
    x_channels = x.shape[3]
    kh, kw = kernel
    halo = (kh - 1) // stride
    line_bytes = width * (kw * x_channels + y_channels) * x.element_size()

    w = x.new_zeros(kh, y_channels, kw * x_channels)
    for images, lines in bands(n, height, line_bytes, _BAND_BYTES, halo=halo):
        size = (lines.stop - lines.start + halo, width)
        left = _lines_with_halo(y[images, lines], halo).t()
        top = lines.start * stride - padding[0]
        neighbours = [_neighbours(x[images], (top + i, -padding[1]), stride, size, kw) for i in range(min(stride, kh))]
        for i in range(kh):
            shift = i // stride * width
            right = neighbours[i % stride][shift : shift + left.shape[1]]
            w[i].addmm_(left, right)
    return w.view(kh, y_channels, kw, x_channels).permute(1, 3, 0, 2)


def _torchs_weight_gradient(x, y, stride, padding, groups, kernel):
    """Return the same by torch, which is the faster one in 16 bits, and knows groups."""
    w = x.new_empty(y.shape[1], x.shape[1] // groups, *kernel)
    _, dw, _ = torch.ops.aten.convolution_backward(
        y,
        x,
        w,
        bias_sizes=None,
        stride=(stride, stride),
        padding=padding,
        dilation=(1, 1),
        transposed=False,
        output_padding=(0, 0),
        groups=groups,
        output_mask=(False, True, False),
    )
    return dw


def _is_narrow(x, y, stride, kernel):
    """Return whether torch's weight gradient is the faster one."""
    wide = max(x.shape[1], y.shape[1]) > _NARROW
    return x.dtype == torch.float32 and stride == 1 and kernel != (1, 1) and not wide


def _lines_with_halo(y, halo):
    """Return the pixels of y [N, H, W, C] with `halo` lines of zeros between images: [N (H + halo) W - halo W, C]."""
    n, height, width, channels = y.shape
    if n > 1 and halo > 0:
        spaced = y.new_zeros(n, height + halo, width, channels)
        spaced[:, :height] = y
        y = spaced
    pixels = y.reshape(-1, channels)
    return pixels[: (n * (height + halo) - halo) * width]


def _neighbours(x, first, step, size, count):
    """Return pixels first + step i, and the `count` - 1 right of each, of x [N, H, W, C] for i < size on both axes.

    Outside of x are zeros. The result has shape [N size_y size_x, count C].
    """
    n, height, width, channels = x.shape
    if count == 1 and first == (0, 0) and step == 1 and size == (height, width):
        return x.reshape(-1, channels)
    top, left = first
    size_y, size_x = size
    lines, inside = _common(height, top, step, size_y)
    pixels = x.new_empty(n, size_y, size_x, count, channels)
    pixels[:, : inside.start].zero_()
    pixels[:, inside.stop :].zero_()
    for j in range(count):
        columns, covered = _common(width, left + j, step, size_x)
        neighbour = pixels[:, inside, :, j]
        neighbour[:, :, : covered.start].zero_()
        neighbour[:, :, covered.stop :].zero_()
        neighbour[:, :, covered] = x[:, lines, columns]
    return pixels.view(-1, count * channels)


def _common(length: int, first: int, step: int, size: int) -> tuple[slice, slice]:
    """Return what an axis and its window (entry i: pixel first + step i) have in common, as slices of each."""
    skip = max(-(first // step), 0)  # entries before the first pixel
    start = first + step * skip
    pixels = len(range(start, length, step))
    count = max(min(pixels, size - skip), 0)
    in_axis = slice(start, start + step * count, step)
    in_window = slice(skip, skip + count)
    return in_axis, in_window
