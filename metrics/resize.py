"""Bilinear resizing of bytes as OpenCV does it, level for level (its `resize` with INTER_LINEAR on uint8)."""

import numpy as np

WEIGHT_BITS = 11  # of the fixed-point weights
ROW_SHIFT = 4  # bits dropped of a row's sum before its weight comes in
KEPT_BITS = 2  # fraction bits that the two rows' products keep until they are added


def resize_bytes(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [..., H, W] -> uint8 [..., height, width]; pixel centres at (i + 0.5) / size, no antialiasing.

    Halving both sides is the mean of 2 x 2 pixels, rounded half up. Any other ratio is computed with integers: weights
    are rounded to 1 / 2048, and the two rows' products are cut to 1 / 4 of a level each before they are added and
    rounded.
    """
    image = np.asarray(image)
    old_height, old_width = image.shape[-2:]
    if (old_height, old_width) == (height, width):
        return image
    levels = image.astype(np.int32)
    if (old_height, old_width) == (2 * height, 2 * width):
        pairs = levels[..., ::2, :] + levels[..., 1::2, :]
        return ((pairs[..., ::2] + pairs[..., 1::2] + 2) >> 2).astype(np.uint8)
    left, right, weight_left, weight_right = _taps(old_width, width)
    # Columns that need a neighbour outside take the outermost pixel alone, with all the weight: one product, not two.
    outside = left == right
    weight_left, weight_right = np.where(outside, 1 << WEIGHT_BITS, weight_left), np.where(outside, 0, weight_right)
    upper, lower, weight_upper, weight_lower = (
        taps[:, None] if k > 1 else taps for k, taps in enumerate(_taps(old_height, height))
    )
    rows = (levels[..., left] * weight_left + levels[..., right] * weight_right) >> ROW_SHIFT
    shift = 2 * WEIGHT_BITS - ROW_SHIFT - KEPT_BITS
    parts = (rows[..., upper, :] * weight_upper >> shift) + (rows[..., lower, :] * weight_lower >> shift)
    return (parts + (1 << KEPT_BITS - 1) >> KEPT_BITS).astype(np.uint8)


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each of `new` positions its two neighbours among `old`, clamped to the edge, and their weights of 11 bits."""
    position = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(position)
    fraction = position - first
    scale = np.float32(1 << WEIGHT_BITS)
    weights = (np.rint(part * scale).astype(np.int32) for part in (1 - fraction, fraction))
    return *(np.clip(first + step, 0, old - 1).astype(np.int64) for step in (0, 1)), *weights
