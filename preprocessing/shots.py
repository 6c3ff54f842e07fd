"""Cuts: where a video goes on with another picture, found while it streams by.

A frame begins a new shot if it differs from the one before far more than frames have differed lately, apart from its
brightness. A flash that changes more than that counts as a cut, too: it parts a clip in two, which does no harm.
"""

from collections import deque

import cv2
import numpy as np

THUMBNAIL = (32, 18)  # width and height, so small that motion of faces hardly shows
LEAST_CHANGE = 12.0  # grey levels, mean over the thumbnail
TIMES_USUAL = 4.0  # the mean of the changes lately
RECENT = 8  # frames that count as lately


class CutFinder:
    """Takes the frames of a video one after another."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=RECENT)

    def is_cut(self, image: np.ndarray) -> bool:
        """Take the next frame, uint8 [H, W, 3]; return whether it begins a new shot. The first one does not."""
        thumbnail = _thumbnail(image)
        last, self._last = self._last, thumbnail
        if last is None:
            return False
        change = float(np.abs(thumbnail - last).mean())
        usual = float(np.mean(self._changes)) if self._changes else 0.0
        if change > max(LEAST_CHANGE, TIMES_USUAL * usual):
            self._changes.clear()
            return True
        self._changes.append(change)
        return False


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a small picture float32 [18, 32, 3] without its mean colour."""
    small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return small - small.mean(axis=(0, 1))
