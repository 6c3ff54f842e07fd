"""Scales, padding and filter sizes of resampled images, in the forms that callers may give them.

Scales are an int or [x, y]. Padding is an int, [x, y] or [left, right, top, bottom], in upsampled pixels; negative
padding crops.
"""

from collections.abc import Sequence

import torch

Scale = int | Sequence[int]
Padding = int | Sequence[int]
Pair = tuple[int, int]  # x, y
Sides = tuple[int, int, int, int]  # left, right, top, bottom


def parse_scale(scale: Scale) -> Pair:
    """Return an int or [x, y] as (x, y). Raises ValueError below 1."""
    if isinstance(scale, int):
        scale = (scale, scale)
    x, y = scale
    if x < 1 or y < 1:
        raise ValueError(f"up and down scales are at least 1, not {scale}")
    return int(x), int(y)


def parse_padding(padding: Padding) -> Sides:
    """Return an int, [x, y] or [left, right, top, bottom] as (left, right, top, bottom). Raises ValueError."""
    values = [padding] if isinstance(padding, int) else list(padding)
    if len(values) == 1:
        values = values * 2
    if len(values) == 2:
        x, y = values
        values = [x, x, y, y]
    if len(values) != 4:
        raise ValueError(f"padding is 1, 2 or 4 numbers, not {padding}")
    left, right, top, bottom = (int(value) for value in values)
    return left, right, top, bottom


def filter_size(f: torch.Tensor | None) -> Pair:
    """Return width and height of a filter in taps; (1, 1) for None."""
    if f is None:
        return 1, 1
    return f.shape[-1], f.shape[0]


def padding_to_resample(f: torch.Tensor | None, padding: Padding, up: Scale = 1, down: Scale = 1) -> Sides:
    """Return `padding` plus what keeps an image in place that is upsampled, filtered with f, then downsampled.

    Along each axis one of the two scales is 1.
    """
    up_x, up_y = parse_scale(up)
    down_x, down_y = parse_scale(down)
    fw, fh = filter_size(f)
    left, right, top, bottom = parse_padding(padding)
    left += (fw + up_x - down_x) // 2
    right += (fw - up_x * down_x) // 2
    top += (fh + up_y - down_y) // 2
    bottom += (fh - up_y * down_y) // 2
    return left, right, top, bottom


def transposed_padding(taps: Pair, up: Pair, pad: Sides) -> tuple[Pair, Sides]:
    """Divide the padding of a zero-inserted image between a transposed convolution and its result.

    The transposed convolution gives the full convolution of the zero-inserted image, and can crop it by the same amount
    on opposite sides.

    Args:
        taps: width and height of the kernel.

    Returns:
        Pixels (y, x) that the transposed convolution crops, and the padding that is then left to do.
    """
    fw, fh = taps
    left, right, top, bottom = pad
    left -= fw - 1
    right -= fw - up[0]
    top -= fh - 1
    bottom -= fh - up[1]
    crop_x = max(-max(left, right), 0)
    crop_y = max(-max(top, bottom), 0)
    rest = (left + crop_x, right + crop_x, top + crop_y, bottom + crop_y)
    return (crop_y, crop_x), rest
