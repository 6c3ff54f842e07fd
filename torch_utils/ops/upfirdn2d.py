"""Upsample, filter, downsample images: zero insertion, padding or cropping, 2D FIR filter, decimation.

Shapes: images [N, C, H, W], filters [taps] (separable, used along both axes) or [fh, fw]. Scales are an int or [x, y],
padding is an int, [x, y] or [left, right, top, bottom] in upsampled pixels; negative padding crops. The filter acts as
a true convolution unless `flip_filter`, as in StyleGAN2; `gain` is the total gain.
"""

from collections.abc import Sequence
from ctypes import Structure, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from torch_utils import custom_ops
from torch_utils.ops.depthwise import depthwise_conv2d
from torch_utils.ops.padding import (
    Padding,
    Pair,
    Scale,
    Sides,
    filter_size,
    padding_to_resample,
    parse_padding,
    parse_scale,
    transposed_padding,
)


def setup_filter(
    taps: float | Sequence[float] | torch.Tensor | None,
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

    Raises:
        ValueError: no taps, more than 2 dimensions, or `separable` with 2D taps.
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
    settings = _Settings(
        up=parse_scale(up),
        down=parse_scale(down),
        pad=parse_padding(padding),
        flip_filter=flip_filter,
        gain=gain,
    )
    for pixels, taps in zip(settings.padded_size(x), filter_size(f), strict=True):
        if pixels < taps:
            raise ValueError(
                f"an image of shape {list(x.shape)}, upsampled by {up} and padded by {padding}, has {pixels} pixels "
                f"along an axis, fewer than {taps} filter taps"
            )
    if custom_ops.library_for("upfirdn2d", x):
        return _UpFirDn.apply(x, f, settings)
    return _upfirdn2d_native(x, f, settings)


def filter2d(
    x: torch.Tensor, f: torch.Tensor | None, padding: Padding = 0, flip_filter: bool = False, gain: float = 1
) -> torch.Tensor:
    """Filter at the same resolution: [N, C, H, W] -> the same shape, plus what `padding` adds."""
    pad = padding_to_resample(f, padding)
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
    pad = padding_to_resample(f, padding, up=up)
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
    pad = padding_to_resample(f, padding, down=down)
    return upfirdn2d(x, f, down=down, padding=pad, flip_filter=flip_filter, gain=gain)


# --- One call's settings ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """What one call does to an image, besides the taps of its filter."""

    up: Pair
    down: Pair
    pad: Sides
    flip_filter: bool
    gain: float

    def padded_size(self, x: torch.Tensor) -> Pair:
        """Return width and height of the upsampled and padded image."""
        height, width = x.shape[2:]
        left, right, top, bottom = self.pad
        return width * self.up[0] + left + right, height * self.up[1] + top + bottom

    def passes(self, f: torch.Tensor) -> list[tuple[torch.Tensor, "_Settings"]]:
        """Return the 2D filters [fh, fw] to apply one after the other: of a separable one, first along x, then y."""
        if f.ndim == 2:
            return [(f, self)]
        left, right, top, bottom = self.pad
        along_x = replace(self, up=(self.up[0], 1), down=(self.down[0], 1), pad=(left, right, 0, 0))
        along_y = replace(self, up=(1, self.up[1]), down=(1, self.down[1]), pad=(0, 0, top, bottom), gain=1.0)
        return [(f[None, :], along_x), (f[:, None], along_y)]

    def adjoint(self, f: torch.Tensor | None, size: torch.Size, result_size: torch.Size) -> "_Settings":
        """Return the settings of the adjoint, between the same sizes [N, C, H, W]: up and down are exchanged."""
        fw, fh = filter_size(f)
        left, _, top, _ = self.pad
        right = size[3] * self.up[0] - result_size[3] * self.down[0] + left - self.up[0] + 1
        bottom = size[2] * self.up[1] - result_size[2] * self.down[1] + top - self.up[1] + 1
        pad = (fw - 1 - left, right, fh - 1 - top, bottom)
        return replace(self, up=self.down, down=self.up, pad=pad, flip_filter=not self.flip_filter)


# --- Plain PyTorch path ----------------------------------------------------------------------------------------------
# Depthwise convolutions: one pass over memory, no tensor with inserted zeros, derivatives of any order.


def _upfirdn2d_native(x, f, settings):
    f = _filter_for(x, f, x.dtype)
    if not settings.flip_filter:
        f = f.flip(list(range(f.ndim)))  # conv2d is a correlation
    for taps, each in settings.passes(f):
        x = _correlate(x, taps * each.gain, each.up, each.down, each.pad)
    return x


def _filter_for(x, f, dtype):
    """Return the taps on the device of x, in this type."""
    if f is None:
        return torch.ones(1, 1, dtype=dtype, device=x.device)
    return f.detach().to(x.device, dtype)


def _correlate(x, f, up, down, pad):
    """Zero-insert, pad, correlate with f [fh, fw], decimate."""
    if up == (1, 1):
        return _correlate_down(x, f, down, pad)
    y = _correlate_up(x, f, up, pad)
    if down == (1, 1):
        return y
    return y[:, :, :: down[1], :: down[0]]


def _correlate_down(x, f, down, pad):
    """Pad, correlate, decimate. Unequal padding becomes zero taps, which takes no extra pass over the image."""
    if min(pad) < 0:  # a view crops the image
        x = F.pad(x, [min(p, 0) for p in pad])
        pad = [max(p, 0) for p in pad]
    left, right, top, bottom = pad
    width = max(left, right)
    height = max(top, bottom)
    f = F.pad(f, [width - left, width - right, height - top, height - bottom])
    if f.numel() == 1 and down != (1, 1):  # pure decimation
        x = F.pad(x, [width, width, height, height])
        return x[:, :, :: down[1], :: down[0]] * f[0, 0]
    return depthwise_conv2d(x, f, stride=down[::-1], padding=(height, width))


def _correlate_up(x, f, up, pad):
    """Zero-insert, pad, correlate, as a transposed convolution."""
    crop, rest = transposed_padding(filter_size(f), up, pad)
    y = depthwise_conv2d(x, f.flip([0, 1]), stride=up[::-1], padding=crop, transposed=True)
    return F.pad(y, rest) if any(rest) else y


# --- CUDA kernel -----------------------------------------------------------------------------------------------------


class _UpFirDn(torch.autograd.Function):
    """The adjoint of upsampling, filtering and downsampling is the same with the roles of `up` and `down` exchanged."""

    @staticmethod
    def forward(ctx, x, f, settings):
        ctx.save_for_backward(f)
        ctx.size = x.shape
        ctx.settings = settings
        taps_dtype = torch.float64 if x.dtype == torch.float64 else torch.float32  # what the kernel computes in
        for taps, each in settings.passes(_filter_for(x, f, taps_dtype)):
            x = _launch(x, taps, each)
        return x

    @staticmethod
    def backward(ctx, dy):
        if not ctx.needs_input_grad[0]:
            return None, None, None
        (f,) = ctx.saved_tensors
        adjoint = ctx.settings.adjoint(f, ctx.size, dy.shape)
        return _UpFirDn.apply(dy, f, adjoint), None, None


class _Params(Structure):
    """UpfirdnParams of upfirdn2d.h."""

    _fields_ = [
        ("x", c_void_p),
        ("f", c_void_p),
        ("y", c_void_p),
        ("x_stride", c_int64 * 4),
        ("y_stride", c_int64 * 4),
        ("in_size", c_int32 * 4),
        ("out_size", c_int32 * 4),
        ("filter", c_int32 * 2),
        ("up", c_int32 * 2),
        ("down", c_int32 * 2),
        ("pad", c_int32 * 2),
        ("flip", c_int32),
        ("channels_last", c_int32),
        ("gain", c_double),
    ]


def _launch(x, f, settings):
    """Run the kernel for a 2D filter [fh, fw]. x has any strides; the result is channels-last if x is."""
    f = f.contiguous()
    fw, fh = filter_size(f)
    padded_width, padded_height = settings.padded_size(x)
    width = (padded_width - fw) // settings.down[0] + 1
    height = (padded_height - fh) // settings.down[1] + 1
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    y = torch.empty(
        (*x.shape[:2], height, width),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )
    params = _Params(  # the kernel's axes: x, y, channel, image
        x=x.data_ptr(),
        f=f.data_ptr(),
        y=y.data_ptr(),
        x_stride=x.stride()[::-1],
        y_stride=y.stride()[::-1],
        in_size=x.shape[::-1],
        out_size=y.shape[::-1],
        filter=(fw, fh),
        up=settings.up,
        down=settings.down,
        pad=settings.pad[::2],
        flip=settings.flip_filter,
        channels_last=channels_last,
        gain=settings.gain,
    )
    library = custom_ops.library_for("upfirdn2d", x)
    assert library is not None
    custom_ops.launch(library.pv3d_upfirdn2d, params, y)
    return y


# --- Examination ------------------------------------------------------------------------------------------------------


def examples(device: torch.device, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return values and gradients of all kernels: 4 x 4 taps at three scales, separable or not, and other taps."""
    random = torch.Generator().manual_seed(0)
    smooth = setup_filter([1, 3, 3, 1], device=device)
    skewed = torch.arange(16, device=device).reshape(4, 4) / 64
    wide = setup_filter([1, 2, 3, 2, 1], device=device)
    calls = (
        (filter2d, smooth),
        (upsample2d, smooth),
        (downsample2d, smooth),
        (filter2d, skewed),
        (filter2d, wide),
    )
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        for resample, taps in calls:
            x = torch.randint(-16, 17, [2, 8, 10, 12], generator=random) / 8
            x = x.to(device, dtype, memory_format=layout).requires_grad_(True)
            y = resample(x, taps)
            upstream = torch.randint(-16, 17, y.shape, generator=random) / 8
            (gradient,) = torch.autograd.grad(y, x, upstream.to(y))
            results += [y.detach(), gradient]
    return results
