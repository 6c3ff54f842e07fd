"""Alignment: from where a face is in a video to a square crop in which it always is at the same place.

All maps are similarities, float64 [F, 2, 3]: a point p of the source, in pixels, goes to A @ (p, 1). The first crop is
FFHQ's (Karras et al. 2019, appendix A), which takes size, place and roll from eyes and mouth, cut as EG3D cuts it; the
head's pose, found in it, then says where the final crop lies (`head_cameras.recrop`).
"""

import math

import cv2
import numpy as np

from preprocessing.records import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE

# FFHQ's square: half as long as the larger of these multiples of the distances between the eyes and from eyes to mouth.
EYES_SCALE = 2.0
MOUTH_SCALE = 1.8
# EG3D's crop in it, measured on 16 clips of the published PV3D data (76 frames): its part of the square's side; and how
# far from the eyes to the mouth its middle lies.
CROP_PART = 0.942
CROP_MIDDLE = 0.424
# A source with more pixels than the crop is blurred first, which leaves little above the crop's Nyquist frequency: by a
# Gaussian of this many pixels where the source has twice as many a side, else as sqrt(shrinking^2 - 1).
BLUR = 1.0

# --- Similarities ----------------------------------------------------------------------------------------------------


def apply(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points [F, N, 2] by similarities [F, 2, 3]."""
    return np.einsum("fij,fnj->fni", maps[:, :, :2], points) + maps[:, None, :, 2]


def compose(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """Return the similarities [F, 2, 3] that do `earlier` first, then `later`."""
    linear = later[:, :, :2] @ earlier[:, :, :2]
    shift = later[:, :, :2] @ earlier[:, :, 2:] + later[:, :, 2:]
    return np.concatenate([linear, shift], axis=2)


def invert(maps: np.ndarray) -> np.ndarray:
    """Return the similarities [F, 2, 3] that undo these."""
    linear = np.linalg.inv(maps[:, :, :2])
    return np.concatenate([linear, -linear @ maps[:, :, 2:]], axis=2)


def scales(maps: np.ndarray) -> np.ndarray:
    """Return how many pixels of the crop a pixel of the source becomes, [F]."""
    return np.sqrt(np.abs(np.linalg.det(maps[:, :, :2])))


# --- The first crop --------------------------------------------------------------------------------------------------


def align(landmarks: np.ndarray, side: int) -> np.ndarray:
    """Return the maps [F, 2, 3] from a video to the crop of its face.

    Args:
        landmarks: [F, 68, 2] in pixels of the source, smoothed: what trembles here makes the crop tremble.
        side: of the crop in pixels.
    """
    right_eye = landmarks[:, RIGHT_EYE].mean(axis=1)
    left_eye = landmarks[:, LEFT_EYE].mean(axis=1)
    eyes = (right_eye + left_eye) / 2
    mouth = landmarks[:, MOUTH_CORNERS].mean(axis=1)
    across = left_eye - right_eye
    down = mouth - eyes
    direction = across + np.stack([down[:, 1], -down[:, 0]], axis=1)  # down, turned by a quarter, points across, too
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    half = np.maximum(
        EYES_SCALE * np.linalg.norm(across, axis=1),
        MOUTH_SCALE * np.linalg.norm(down, axis=1),
    )
    scale = side / (2 * half * CROP_PART)
    return _similarities(direction, scale, eyes + CROP_MIDDLE * down, side)


def _similarities(direction: np.ndarray, scale: np.ndarray, middle: np.ndarray, side: int) -> np.ndarray:
    """Return the maps [F, 2, 3] that take `middle` [F, 2] to the crop's, and `direction` [F, 2] to its +x."""
    cosine, sine = (scale[:, None] * direction).T
    linear = np.stack([np.stack([cosine, sine], axis=1), np.stack([-sine, cosine], axis=1)], axis=1)
    shift = (side - 1) / 2 - np.einsum("fij,fj->fi", linear, middle)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


# --- Pixels ----------------------------------------------------------------------------------------------------------


def warp(image: np.ndarray, to_crop: np.ndarray, side: int, mirrored_edges: bool = True) -> np.ndarray:
    """Cut a crop uint8 [side, side, 3] out of an image uint8 [H, W, 3].

    Args:
        to_crop: [2, 3], from the image's pixels to the crop's.
        mirrored_edges: whether the image goes on mirrored beyond its edges, or there is black.
    """
    border = cv2.BORDER_REFLECT_101 if mirrored_edges else cv2.BORDER_CONSTANT
    shrinking = 1 / scales(to_crop[None])[0]
    if shrinking > 1:
        sigma = BLUR * math.sqrt((shrinking**2 - 1) / 3)
        image, to_crop = _region(image, to_crop, side, margin=math.ceil(4 * sigma))
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    return cv2.warpAffine(image, to_crop, (side, side), flags=cv2.INTER_CUBIC, borderMode=border)


def corners(to_crop: np.ndarray, side: int) -> np.ndarray:
    """Return where the corners of the crop lie in the source, [F, 4, 2], of maps [F, 2, 3]."""
    low, high = -0.5, side - 0.5
    square = np.array([[low, low], [high, low], [high, high], [low, high]])
    return apply(invert(to_crop), np.broadcast_to(square, (len(to_crop), 4, 2)))


def _region(image: np.ndarray, to_crop: np.ndarray, side: int, margin: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of an image that a crop shows, and so many pixels around it, and the map from there."""
    points = corners(to_crop[None], side)[0]
    height, width = image.shape[:2]
    low = np.floor(points.min(axis=0)).astype(int) - margin
    high = np.ceil(points.max(axis=0)).astype(int) + margin + 1
    left, top = np.clip(low, 0, [width - 1, height - 1])
    right, bottom = np.clip(high, [left + 1, top + 1], [width, height])
    shifted = to_crop.copy()
    shifted[:, 2] += to_crop[:, :2] @ [left, top]
    return image[top:bottom, left:right], shifted


def share_outside(to_crop: np.ndarray, side: int, width: int, height: int) -> np.ndarray:
    """Return which part of each crop, [F] of maps [F, 2, 3], lies beyond the edges of the source, to about 1 %."""
    steps = (np.arange(20) + 0.5) / 20 * side - 0.5
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, -1, 2)
    points = apply(invert(to_crop), np.broadcast_to(grid, (len(to_crop), *grid.shape[1:])))
    inside = (points > -0.5) & (points < np.array([width, height]) - 0.5)
    return 1 - inside.all(axis=2).mean(axis=1)
