"""Upsample, filter, downsample images: zero insertion, padding or cropping, 2D FIR filter, decimation.

Shapes: images [N, C, H, W], filters [taps] (separable, used along both axes) or [fh, fw]. Scales are an int or [x, y],
padding is an int, [x, y] or [left, right, top, bottom] in upsampled pixels; negative padding crops. Facts 1-3 of
StyleGAN2-type networks: the filter acts as a true convolution unless `flip_filter`, and the total gain is `gain`.
"""

import ctypes
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from torch_utils import custom_ops

Scale = int | Sequence[int]
Padding = int | Sequence[int]


def setup_filter(
    taps,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> torch.Tensor:
    """Prepare a FIR filter for the functions below.

    Args:
        taps: number, sequence or tensor of 1 or 2 dimensions; None is the identity.
        normalize: scale the taps to sum 1.
        flip_filter: reverse all axes.
        gain: factor of the whole filter, for both axes of a separable one together.
        separable: keep 1D taps 1D; otherwise they become their outer product. Default: 1D from 8 taps on.

    Returns:
        float32 filter, [taps] or [fh, fw].
    """
    f = torch.as_tensor(1.0 if taps is None else taps, dtype=torch.float32)
    if f.ndim == 0:
        f = f[None]
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise ValueError(f"a filter has 1 or 2 dimensions and at least one tap, not shape {list(f.shape)}")
    if separable is None:
        separable = f.ndim == 1 and len(f) >= 8
    if f.ndim == 1 and not separable:
        f = torch.outer(f, f)
    if separable and f.ndim != 1:
        raise ValueError("a 2D filter cannot be made separable")
    if normalize:
        f = f / f.sum()
    if flip_filter:
        f = f.flip(list(range(f.ndim)))
    return (f * gain ** (f.ndim / 2)).to(device)


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: Scale = 1,
    down: Scale = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> torch.Tensor:
    """Insert up - 1 zeros after each pixel, pad or crop, filter ("valid"), keep every down-th pixel.

    Args:
        x: [N, C, H, W], any float type; its memory format is kept.
        f: filter of `setup_filter`, or None for the identity. It receives no gradient.

    Returns:
        [N, C, (H up_y + top + bottom - fh) // down_y + 1, same for x]. Differentiable in x to any order.

    Raises:
        ValueError: the padded image is smaller than the filter.
    """
    up, down, pad = parse_scale(up), parse_scale(down), parse_padding(padding)
    fw, fh = filter_size(f)
    for size, u, p, taps in ((x.shape[3], up[0], pad[:2], fw), (x.shape[2], up[1], pad[2:], fh)):
        if size * u + sum(p) < taps:
            raise ValueError(f"{size} pixels, upsampled by {u} and padded by {p}, are fewer than {taps} filter taps")
    if custom_ops.library_for("upfirdn2d", x):
        return _UpFirDn.apply(x, f, up, down, pad, flip_filter, gain)
    return _upfirdn2d_native(x, f, up, down, pad, flip_filter, gain)


def filter2d(
    x: torch.Tensor, f: torch.Tensor | None, padding: Padding = 0, flip_filter: bool = False, gain: float = 1
) -> torch.Tensor:
    """Filter at the same resolution: [N, C, H, W] -> the same shape, plus what `padding` adds."""
    fw, fh = filter_size(f)
    left, right, top, bottom = parse_padding(padding)
    pad = (left + fw // 2, right + (fw - 1) // 2, top + fh // 2, bottom + (fh - 1) // 2)
    return upfirdn2d(x, f, padding=pad, flip_filter=flip_filter, gain=gain)


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: Scale = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> torch.Tensor:
    """Enlarge by `up`, keeping the mean value: [N, C, H, W] -> [N, C, H up_y, W up_x], plus what `padding` adds."""
    up_x, up_y = parse_scale(up)
    fw, fh = filter_size(f)
    left, right, top, bottom = parse_padding(padding)
    pad = (left + (fw + up_x - 1) // 2, right + (fw - up_x) // 2, top + (fh + up_y - 1) // 2, bottom + (fh - up_y) // 2)
    return upfirdn2d(x, f, up=up, padding=pad, flip_filter=flip_filter, gain=gain * up_x * up_y)


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    down: Scale = 2,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> torch.Tensor:
    """Shrink by `down`: [N, C, H, W] -> [N, C, H // down_y, W // down_x], plus what `padding` adds."""
    down_x, down_y = parse_scale(down)
    fw, fh = filter_size(f)
    left, right, top, bottom = parse_padding(padding)
    pad = (
        left + (fw - down_x + 1) // 2,
        right + (fw - down_x) // 2,
        top + (fh - down_y + 1) // 2,
        bottom + (fh - down_y) // 2,
    )
    return upfirdn2d(x, f, down=down, padding=pad, flip_filter=flip_filter, gain=gain)


def parse_scale(scale: Scale) -> tuple[int, int]:
    """int or [x, y] -> (x, y), both at least 1."""
    x, y = (scale, scale) if isinstance(scale, int) else scale
    if x < 1 or y < 1:
        raise ValueError(f"up and down scales are at least 1, not {scale}")
    return int(x), int(y)


def parse_padding(padding: Padding) -> tuple[int, int, int, int]:
    """int, [x, y] or [left, right, top, bottom] -> (left, right, top, bottom)."""
    values = [padding] if isinstance(padding, int) else list(padding)
    if len(values) == 1:
        values = values * 4
    elif len(values) == 2:
        values = [values[0], values[0], values[1], values[1]]
    if len(values) != 4:
        raise ValueError(f"padding is 1, 2 or 4 numbers, not {padding}")
    left, right, top, bottom = (int(v) for v in values)
    return left, right, top, bottom


def filter_size(f: torch.Tensor | None) -> tuple[int, int]:
    """Width and height of a filter in taps; (1, 1) for None."""
    if f is None:
        return 1, 1
    return f.shape[-1], f.shape[0]


# --- Plain PyTorch path ----------------------------------------------------------------------------------------------
# Depthwise convolutions: one pass over memory, no tensor with inserted zeros, derivatives of any order by autograd.


def _upfirdn2d_native(x, f, up, down, pad, flip_filter, gain):
    if f is None:
        f = x.new_ones(1, 1)
    f = f.detach().to(device=x.device, dtype=x.dtype)
    if not flip_filter:
        f = f.flip(list(range(f.ndim)))  # conv2d is a correlation
    if f.ndim == 1:  # one axis after the other
        x = _correlate(x, f[None, :] * gain, (up[0], 1), (down[0], 1), (*pad[:2], 0, 0))
        return _correlate(x, f[:, None], (1, up[1]), (1, down[1]), (0, 0, *pad[2:]))
    return _correlate(x, f * gain, up, down, pad)


def _correlate(x, f, up, down, pad):
    """Zero-insert, pad, correlate with f [fh, fw], decimate."""
    if up == (1, 1):
        return _correlate_down(x, f, down, pad)
    y = _correlate_up(x, f, up, pad)
    return y if down == (1, 1) else y[:, :, :: down[1], :: down[0]]


def _correlate_down(x, f, down, pad):
    """Without upsampling. A view crops the image; unequal padding becomes zero taps, which takes no extra pass."""
    if min(pad) < 0:
        x = F.pad(x, [min(p, 0) for p in pad])
        pad = tuple(max(p, 0) for p in pad)
    left, right, top, bottom = pad
    width, height = max(left, right), max(top, bottom)
    f = F.pad(f, [width - left, width - right, height - top, height - bottom])
    if f.numel() == 1 and down != (1, 1):  # pure decimation
        x = F.pad(x, [width, width, height, height])
        return x[:, :, :: down[1], :: down[0]] * f[0, 0]
    channels = x.shape[1]
    return F.conv2d(x, f.expand(channels, 1, *f.shape), stride=down[::-1], padding=(height, width), groups=channels)


def _correlate_up(x, f, up, pad):
    """By transposed convolution, whose result is the full convolution of the zero-inserted image, cropped."""
    fh, fw = f.shape
    crop = (fw - 1 - pad[0], fw - up[0] - pad[1], fh - 1 - pad[2], fh - up[1] - pad[3])
    inner = [max(min(crop[0], crop[1]), 0), max(min(crop[2], crop[3]), 0)]
    channels = x.shape[1]
    kernel = f.flip([0, 1]).expand(channels, 1, fh, fw)
    y = F.conv_transpose2d(x, kernel, stride=up[::-1], padding=inner[::-1], groups=channels)
    rest = [inner[0] - crop[0], inner[0] - crop[1], inner[1] - crop[2], inner[1] - crop[3]]
    return F.pad(y, rest) if any(rest) else y


# --- CUDA kernel -----------------------------------------------------------------------------------------------------


class _UpFirDn(torch.autograd.Function):
    """The adjoint of upsampling, filtering and downsampling is the same with the roles of `up` and `down` exchanged."""

    @staticmethod
    def forward(ctx, x, f, up, down, pad, flip_filter, gain):
        ctx.save_for_backward(f)
        ctx.size, ctx.settings = x.shape[2:], (up, down, pad, flip_filter, gain)
        taps = _filter_for(x, f)
        if taps.ndim == 2:
            return _launch(x, taps, up, down, pad, flip_filter, gain)
        x = _launch(x, taps[None, :], (up[0], 1), (down[0], 1), (*pad[:2], 0, 0), flip_filter, gain)
        return _launch(x, taps[:, None], (1, up[1]), (1, down[1]), (0, 0, *pad[2:]), flip_filter, 1.0)

    @staticmethod
    def backward(ctx, dy):
        (f,) = ctx.saved_tensors
        up, down, pad, flip_filter, gain = ctx.settings
        before = [taps - 1 - first for taps, first in zip(filter_size(f), pad[::2], strict=True)]
        after = [
            size * u - out * d + first - u + 1
            for size, out, u, d, first in zip(ctx.size[::-1], dy.shape[:1:-1], up, down, pad[::2], strict=True)
        ]
        adjoint = (before[0], after[0], before[1], after[1])
        dx = _UpFirDn.apply(dy, f, down, up, adjoint, not flip_filter, gain) if ctx.needs_input_grad[0] else None
        return dx, None, None, None, None, None, None


class _Params(ctypes.Structure):
    """UpfirdnParams of upfirdn2d.h."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in ("x", "f", "y")]
        + [(name, ctypes.c_int64 * 4) for name in ("x_stride", "y_stride")]
        + [(name, ctypes.c_int32 * 4) for name in ("in_size", "out_size")]
        + [(name, ctypes.c_int32 * 2) for name in ("filter", "up", "down", "pad")]
        + [(name, ctypes.c_int32) for name in ("flip", "channels_last")]
        + [("gain", ctypes.c_double)]
    )


def _filter_for(x, f):
    """Taps on the device of x, in the precision the kernel computes in."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return torch.ones(1, 1, dtype=dtype, device=x.device) if f is None else f.detach().to(x.device, dtype)


def _launch(x, f, up, down, pad, flip_filter, gain):
    """The kernel for a 2D filter [fh, fw]; any strides of x, result channels-last if x is."""
    f = f.contiguous()
    size = [
        (n * u + sum(p) - taps) // d + 1
        for n, u, d, p, taps in zip(x.shape[:1:-1], up, down, (pad[:2], pad[2:]), filter_size(f), strict=True)
    ]
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    y = torch.empty(
        *x.shape[:2],
        size[1],
        size[0],
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    order = (3, 2, 1, 0)  # the kernel's axes: x, y, channel, image
    params = _Params(
        x.data_ptr(),
        f.data_ptr(),
        y.data_ptr(),
        *((ctypes.c_int64 * 4)(*(t.stride(i) for i in order)) for t in (x, y)),
        *((ctypes.c_int32 * 4)(*(t.shape[i] for i in order)) for t in (x, y)),
        *((ctypes.c_int32 * 2)(*pair) for pair in (filter_size(f), up, down, pad[::2])),
        flip_filter,
        channels_last,
        gain,
    )
    custom_ops.launch(custom_ops.library_for("upfirdn2d", x).pv3d_upfirdn2d, params, y)
    return y
