"""Bilinear resizing of bytes as OpenCV does it, level for level (its `resize` with INTER_LINEAR on uint8)."""

from dataclasses import dataclass

import numpy as np

WEIGHT_BITS = 11  # of the fixed-point weights
WHOLE_WEIGHT = 1 << WEIGHT_BITS
ROW_SHIFT = 4  # bits dropped of a row's sum before its weight comes in
KEPT_BITS = 2  # fraction bits that the two rows' products keep until they are added
ROUND_HALF = 1 << KEPT_BITS - 1
PRODUCT_SHIFT = 2 * WEIGHT_BITS - ROW_SHIFT - KEPT_BITS


@dataclass(frozen=True, kw_only=True)
class _Taps:
    """The two neighbours of each new position along an axis, clamped to its ends, and their weights of 11 bits."""

    first: np.ndarray
    second: np.ndarray
    first_weight: np.ndarray
    second_weight: np.ndarray


def resize_bytes(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 [..., H, W] to uint8 [..., height, width]; pixel centres at (i + 0.5) / size, no antialiasing.

    Halving both sides is the mean of 2 x 2 pixels, rounded half up. Any other ratio is computed with integers: weights
    are rounded to 1 / 2048, and the two rows' products are cut to 1 / 4 of a level each before they are added and
    rounded.
    """
    old_size = image.shape[-2:]
    if old_size == (height, width):
        return image
    levels = image.astype(np.int32)
    if old_size == (2 * height, 2 * width):
        resized = _halved(levels)
    else:
        blended = _blend_columns(levels, width)
        resized = _blend_rows(blended, height)
    return resized.astype(np.uint8)


def _halved(levels: np.ndarray) -> np.ndarray:
    """Average 2 x 2 pixels of [..., 2 h, 2 w]."""
    rows = levels[..., ::2, :] + levels[..., 1::2, :]
    sums = rows[..., ::2] + rows[..., 1::2]
    rounded_up = sums + 2
    return rounded_up >> 2


def _blend_columns(levels: np.ndarray, width: int) -> np.ndarray:
    """Resize [..., H, W] to [..., H, width], in units of 2 ** (ROW_SHIFT - WEIGHT_BITS) levels."""
    taps = _taps(levels.shape[-1], width)
    # Columns that need a neighbour outside take the outermost pixel alone, with all the weight: one product, not two.
    outside = taps.first == taps.second
    taps.first_weight[outside] = WHOLE_WEIGHT
    taps.second_weight[outside] = 0
    left = levels[..., taps.first] * taps.first_weight
    right = levels[..., taps.second] * taps.second_weight
    total = left + right
    return total >> ROW_SHIFT


def _blend_rows(blended: np.ndarray, height: int) -> np.ndarray:
    """Resize what `_blend_columns` gives, [..., H, width], to levels [..., height, width]."""
    taps = _taps(blended.shape[-2], height)
    upper = blended[..., taps.first, :] * taps.first_weight[:, None]
    lower = blended[..., taps.second, :] * taps.second_weight[:, None]
    upper >>= PRODUCT_SHIFT
    lower >>= PRODUCT_SHIFT
    total = upper + lower + ROUND_HALF
    return total >> KEPT_BITS


def _taps(old: int, new: int) -> _Taps:
    """Return the taps of `new` positions among `old` ones."""
    step = old / new
    centres = np.arange(new) + 0.5
    positions = centres * step - 0.5
    positions = positions.astype(np.float32)
    floor = np.floor(positions)
    fraction = positions - floor
    first_weight = np.rint((1 - fraction) * WHOLE_WEIGHT)
    second_weight = np.rint(fraction * WHOLE_WEIGHT)
    before = floor.astype(np.int64)
    last = old - 1
    return _Taps(
        first=np.clip(before, 0, last),
        second=np.clip(before + 1, 0, last),
        first_weight=first_weight.astype(np.int32),
        second_weight=second_weight.astype(np.int32),
    )
