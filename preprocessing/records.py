"""What the stages of preprocessing hand on: videos, tracks of faces, poses of heads, clips with cameras.

Letters in shapes: F frames of a track, L = 68 landmarks in the order of iBUG 300-W (jaw 0-16, brows 17-26, nose 27-35,
eyes 36-47, mouth 48-67; "right" parts first, which are on the left of the picture). Pixels are counted as OpenCV does:
(0, 0) is the middle of the top left pixel. The world is EG3D's: its origin in the head, +x to the right of a frontal
picture, +y up, +z out of the face; a frontal camera stands at (0, 0, 2.7).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LANDMARKS = 68
JAW = slice(0, 17)
INNER = slice(17, 68)  # contour points slide along the cheek when the head turns: poses come from these 51 alone
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # of the person
MOUTH = slice(48, 68)
MOUTH_CORNERS = (48, 54)


@dataclass(frozen=True, kw_only=True)
class SourceVideo:
    """A video or picture to take clips from.

    Attributes:
        name: what its clips are called after: its path below the source folder, without suffix.
        path: the file.
        speaker: who is in it, if the user says so.
    """

    name: str
    path: Path
    speaker: str | None = None


@dataclass(frozen=True, kw_only=True)
class FaceTrack:
    """One face from frame to frame of a source video, within one shot.

    Attributes:
        first: number of its first frame in the video; the others follow without gap.
        landmarks: float32 [F, 68, 2], (x, y) in pixels of the video's upright frames, as found: not smoothed. NaN where
            the face was not found.
        found: bool [F], whether it was.
        boxes: float32 [F, 4], left, top, right, bottom of the face; NaN where it was not found.
        sharpness: float32 [F], standard deviation of the Laplacian of the face at a fixed size (grey levels); NaN where
            it was not found.
    """

    first: int
    landmarks: np.ndarray
    found: np.ndarray
    boxes: np.ndarray
    sharpness: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one pass over a source video has found.

    Attributes:
        frames: frames of the video, from its start to where it ends or breaks.
        fps: frames a second at which they are shown.
        width, height: of the upright frames, in pixels.
        cuts: numbers of the frames that begin a new shot; 0 is not among them.
        tracks: in the order of their first frames, then from left to right.
        detections: frames in which the detector looked for faces.
        notes: sentences for the report (a file broken before its end, uneven time stamps).
    """

    frames: int
    fps: float
    width: int
    height: int
    cuts: tuple[int, ...]
    tracks: tuple[FaceTrack, ...]
    detections: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HeadPoses:
    """A head's shape, and its pose in every frame of a track, as a camera with EG3D's focal length sees it.

    A point p of the world is at rotations[f] @ p + translations[f] in the axes of OpenCV's camera (x right, y down, z
    forward); after smoothing, where that was asked for.

    Attributes:
        rotations: float64 [F, 3, 3].
        translations: float64 [F, 3].
        shape: float64 [68, 3], this person's landmarks with a mean expression, in the world.
        residuals: float64 [F], root mean square of the inner landmarks' distances from their projections, in parts of
            the frame's side; NaN where none were found.
    """

    rotations: np.ndarray
    translations: np.ndarray
    shape: np.ndarray
    residuals: np.ndarray

    @property
    def residual(self) -> float:
        """Root mean square of the residuals, over the frames that have one."""
        return float(np.sqrt(np.nanmean(self.residuals**2)))
