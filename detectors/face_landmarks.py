"""Faces in pictures, and 68 landmarks of each: what preprocessing asks of a detector and a landmark model.

Landmarks are those of iBUG 300-W: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67. Pixels are counted as
OpenCV does: (0, 0) is the middle of the top left pixel.
"""

from typing import NamedTuple, Protocol

import numpy as np


class FaceRegion(NamedTuple):
    """Where a face is: a square in which its landmarks are looked for."""

    x: float  # its middle, in pixels
    y: float
    size: float  # its side, in pixels
    roll: float = 0.0  # radians by which it is turned, clockwise as one sees it
    score: float = 1.0  # the detector's confidence; each detector has a scale of its own

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the square without its roll."""
        half = self.size / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


class FaceParts(Protocol):
    """A face detector and a landmark model that fit together.

    Attributes:
        name: as in `--landmarks`.
        licences: a sentence on each model.
        least_presence: below it there is no face where the landmarks were looked for.
    """

    name: str
    licences: tuple[str, ...]
    least_presence: float

    def detect(self, image: np.ndarray) -> list[FaceRegion]:
        """Return all faces of an image uint8 [H, W, 3] RGB, the most certain first."""

    def landmarks(self, image: np.ndarray, region: FaceRegion) -> tuple[np.ndarray, float]:
        """Return landmarks float32 [68, 2] of the face in a region, in pixels, and whether there is one (0 to 1)."""

    def region_of(self, landmarks: np.ndarray) -> FaceRegion:
        """Return the region of a face with these landmarks, as the detector would give it: to find it again by."""
