"""Convolution and transposed convolution that are fast on a CPU, gradients for the weights included, at every order.

On CPUs torch's weight gradient for channels-last tensors reaches 20 to 60 % of the matrix-multiply peak (when strided
10 to 20 %); here it is one matrix product per kernel position, at 80 to 95 %. Strided transposed convolutions reach 40
to 95 %; one convolution per phase of the result, 55 to 97 %. Plain 3 x 3 convolutions of wide layers that need no
gradients go through `winograd.py`, about twice as fast (where gradients are wanted its rounding would move a few more
activations over the kink of their nonlinearity). Everything else is torch's own.

All three operations are partial derivatives of one form, T(x, w, y) = sum(conv2d(x, w) y), that is linear in each of
x [N, Cin, H, W], w [Cout, Cin, kh, kw] and y [N, Cout, H', W']. So each one's gradients are the other two, which gives
derivatives of any order.
"""

import torch
import torch.nn.functional as F

from torch_utils.ops import winograd

_BAND_BYTES = 8 << 20  # pixels worked on at a time: small enough to stay in the last-level cache
_PHASE_PIXELS = 16**2  # from here on one convolution per phase beats a strided transposed convolution
Pair = tuple[int, int]


def conv2d(x: torch.Tensor, w: torch.Tensor, stride: int = 1, padding: int | Pair = 0, groups: int = 1) -> torch.Tensor:
    """`torch.nn.functional.conv2d`, a correlation: x [N, Cin, H, W], w [Cout, Cin / groups, kh, kw]; padding (y, x)."""
    padding = (padding, padding) if isinstance(padding, int) else tuple(padding)
    if _is_ours(x, w, groups):
        return _Convolution.apply(x, w, stride, padding)
    if stride == groups == 1 and padding == (1, 1) and winograd.worthwhile(x, w):
        return winograd.conv3x3(x, w)
    return F.conv2d(x, w, stride=stride, padding=padding, groups=groups)


def conv_transpose2d(
    x: torch.Tensor, w: torch.Tensor, stride: int = 1, padding: int | Pair = 0, groups: int = 1
) -> torch.Tensor:
    """`torch.nn.functional.conv_transpose2d`, adjoint of `conv2d`: x [N, Cin, H, W], w [Cin, Cout / groups, kh, kw]."""
    padding = (padding, padding) if isinstance(padding, int) else tuple(padding)
    if _is_ours(x, w, groups):
        size = tuple((x.shape[i] - 1) * stride + w.shape[i] - 2 * padding[i - 2] for i in (2, 3))
        return _Transposed.apply(x, w, stride, padding, size)
    return _transposed(x, w, stride, padding, (0, 0), groups)


def _is_ours(x, w, groups):
    return (
        x.device.type == "cpu"
        and groups == 1
        and x.dtype == w.dtype
        and x.dtype in (torch.float32, torch.float64)
        and (x.requires_grad or w.requires_grad)
        and torch.is_grad_enabled()
    )


class _Convolution(torch.autograd.Function):
    """(x, w) -> y."""

    @staticmethod
    def forward(ctx, x, w, stride, padding):
        ctx.save_for_backward(x, w)
        ctx.geometry = stride, padding
        return F.conv2d(x, w, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        dy = _laid_out_like(x, dy)
        dx = _Transposed.apply(dy, w, *ctx.geometry, tuple(x.shape[2:])) if ctx.needs_input_grad[0] else None
        dw = _WeightGradient.apply(x, dy, *ctx.geometry, tuple(w.shape[2:])) if ctx.needs_input_grad[1] else None
        return dx, dw, None, None


class _Transposed(torch.autograd.Function):
    """(y, w) -> x of spatial size `size` (several sizes share one y when strided)."""

    @staticmethod
    def forward(ctx, y, w, stride, padding, size):
        ctx.save_for_backward(y, w)
        ctx.geometry = stride, padding
        extra = [size[i] - ((y.shape[2 + i] - 1) * stride + w.shape[2 + i] - 2 * padding[i]) for i in (0, 1)]
        return _transposed(y, w, stride, padding, extra)

    @staticmethod
    def backward(ctx, dx):
        y, w = ctx.saved_tensors
        dx = _laid_out_like(y, dx)
        dy = _Convolution.apply(dx, w, *ctx.geometry) if ctx.needs_input_grad[0] else None
        dw = _WeightGradient.apply(dx, y, *ctx.geometry, tuple(w.shape[2:])) if ctx.needs_input_grad[1] else None
        return dy, dw, None, None, None


class _WeightGradient(torch.autograd.Function):
    """(x, y) -> w."""

    @staticmethod
    def forward(ctx, x, y, stride, padding, kernel):
        ctx.save_for_backward(x, y)
        ctx.geometry = stride, padding
        return _weight_gradient(x, y, stride, padding, kernel)

    @staticmethod
    def backward(ctx, dw):
        x, y = ctx.saved_tensors
        dx = _Transposed.apply(y, dw, *ctx.geometry, tuple(x.shape[2:])) if ctx.needs_input_grad[0] else None
        dy = _Convolution.apply(x, dw, *ctx.geometry) if ctx.needs_input_grad[1] else None
        return dx, dy, None, None, None


def _laid_out_like(image, other):
    """`other` in the memory format of `image`: gradients of thin images (to-RGB, the losses) may arrive in the other
    one, which every layer below would inherit."""
    channels_last = image.is_contiguous(memory_format=torch.channels_last)
    return other.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def _transposed(y, w, stride, padding, extra, groups=1):
    """torch's transposed convolution, or the same from its phases: every stride-th pixel of the result, in x and in y,
    is an ordinary convolution with every stride-th tap of the kernel."""
    plain = (
        y.device.type != "cpu"
        or y.dtype != torch.float32
        or groups > 1
        or any(padding)
        or any(extra)
        or not 1 < stride <= min(w.shape[2:])
        or y.shape[0] * y.shape[2] * y.shape[3] < _PHASE_PIXELS
    )
    if plain:
        return F.conv_transpose2d(y, w, stride=stride, padding=padding, output_padding=extra, groups=groups)
    size = [(y.shape[2 + i] - 1) * stride + w.shape[2 + i] for i in (0, 1)]
    channels_last = y.is_contiguous(memory_format=torch.channels_last)
    x = torch.empty(
        len(y),
        w.shape[1],
        *size,
        dtype=y.dtype,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    for i in range(stride):
        for j in range(stride):
            taps = w[:, :, i::stride, j::stride].transpose(0, 1).flip([2, 3])
            x[:, :, i::stride, j::stride] = F.conv2d(y, taps, padding=(taps.shape[2] - 1, taps.shape[3] - 1))
    return x


def _weight_gradient(x, y, stride, padding, kernel):
    """w[o, c, i, j] = sum over n, p, q of y[n, o, p, q] x[n, c, stride p + i - padding, stride q + j - padding].

    Both images are copied onto grids of the same width, x split into its stride^2 phases. There a kernel position is a
    constant distance between flat pixel numbers, so that its sum is a plain matrix product of two slices. Where a slice
    runs over the end of a line, y's grid is zero.
    """
    x, y = x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1)
    (n, height, width, y_channels), (x_channels, (kh, kw)) = y.shape, (x.shape[3], kernel)
    halo_y, halo_x = (kh - 1) // stride, (kw - 1) // stride
    width += halo_x
    w = x.new_zeros(y_channels, kh, kw, x_channels)
    for images, lines in _bands(n, height, halo_y, width * (x_channels + y_channels) * x.element_size()):
        size = (lines.stop - lines.start + halo_y, width)
        y_grid = _window(y[images, lines], (0, 0), 1, size)
        first = lines.start * stride - padding[0]
        x_grids = {
            (i, j): _window(x[images], (first + i, j - padding[1]), stride, size)
            for i in range(min(stride, kh))
            for j in range(min(stride, kw))
        }
        count = len(y_grid) - halo_y * width - halo_x
        left = y_grid[:count].t()
        for i in range(kh):
            for j in range(kw):
                shift = i // stride * width + j // stride
                w[:, i, j].addmm_(left, x_grids[i % stride, j % stride][shift : shift + count])
    return w.permute(0, 3, 1, 2)


def _bands(n, height, halo, line_bytes):
    """Slices of images and of lines, about _BAND_BYTES together: several whole images, or a part of one."""
    lines = max(_BAND_BYTES // line_bytes, 1)
    images = max(lines // (height + halo), 1)
    for first_image in range(0, n, images):
        for first_line in range(0, height, lines):
            yield (slice(first_image, min(first_image + images, n)), slice(first_line, min(first_line + lines, height)))


def _window(x, first, step, size):
    """Pixels first + step i of x [N, H, W, C] for i < size on both axes, zeros outside: [N size_y size_x, C]."""
    if first == (0, 0) and step == 1 and x.shape[1:3] == size:
        return x.reshape(-1, x.shape[3])
    out = x.new_zeros(x.shape[0], *size, x.shape[3])
    source, target = [slice(None)], [slice(None)]
    for axis in (0, 1):
        skip = max(-(first[axis] // step), 0)  # entries before the first pixel
        start = first[axis] + step * skip
        count = max(min(len(range(start, x.shape[1 + axis], step)), size[axis] - skip), 0)
        source.append(slice(start, start + step * count, step))
        target.append(slice(skip, skip + count))
    out[tuple(target)] = x[tuple(source)]
    return out.view(-1, x.shape[3])
