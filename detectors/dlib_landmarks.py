"""dlib's frontal face detector (HOG) and its 68 landmarks (Kazemi and Sullivan, 2014), whose weights are a package."""

import cv2
import numpy as np

from detectors.dlib_face import require_packages
from detectors.face_landmarks import FaceRegion

# The detector finds faces of 80 pixels and more: small images are enlarged, and in large ones, where that would take
# long, faces have to be larger.
LEAST_SIDE = 256
LARGEST_SIDE = 1280
# A detector's square by the landmarks found in it: its side, and how far its middle is above that of the landmarks, in
# root mean squares of their distances from their middle. Measured on 57 frames of 18 people; the side varies by 6 %,
# which is what the detector's steps of 20 % in size leave.
SQUARE_SIDE = 2.72
SQUARE_RISE = 0.175


class DlibFaceParts:
    """dlib's detector and 68 landmarks (`face_landmarks.FaceParts`).

    Raises:
        UserError: the packages are not installed.
    """

    name = "dlib"
    licences: tuple[str, ...] = (
        "dlib's face detector: Boost licence.",
        "dlib's 68 landmarks: trained on iBUG 300-W, whose licence excludes commercial use.",
    )
    least_presence = 0.0  # the model does not say

    def __init__(self) -> None:
        self._dlib, models = require_packages()
        self._detector = self._dlib.get_frontal_face_detector()
        self._predictor = self._dlib.shape_predictor(models.pose_predictor_model_location())

    def detect(self, image: np.ndarray) -> list[FaceRegion]:
        """Return all faces of an image, as in `FaceParts`."""
        height, width = image.shape[:2]
        scale = max(1.0, LEAST_SIDE / min(height, width)) * min(1.0, LARGEST_SIDE / max(height, width))
        if scale != 1:
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            image = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=method)
        boxes, scores, _ = self._detector.run(image, 0, 0.0)
        found = [_region(box, score, scale) for box, score in zip(boxes, scores, strict=True)]
        return sorted(found, key=lambda region: -region.score)

    def landmarks(self, image: np.ndarray, region: FaceRegion) -> tuple[np.ndarray, float]:
        """Return landmarks of the face in a region, as in `FaceParts`; the presence is always 1."""
        box = self._dlib.rectangle(*(round(edge) for edge in region.box))
        parts = self._predictor(image, box).parts()
        return np.array([(part.x, part.y) for part in parts], dtype=np.float32), 1.0

    def region_of(self, landmarks: np.ndarray) -> FaceRegion:
        """Return the square that the detector would give, as in `FaceParts`."""
        middle = landmarks.mean(axis=0)
        spread = float(np.sqrt(((landmarks - middle) ** 2).sum(axis=1).mean()))
        return FaceRegion(float(middle[0]), float(middle[1]) - SQUARE_RISE * spread, SQUARE_SIDE * spread)


def _region(box: object, score: float, scale: float) -> FaceRegion:
    """Return dlib's rectangle in an image enlarged by `scale` as a region of the image itself."""
    left, top, right, bottom = box.left(), box.top(), box.right(), box.bottom()  # type: ignore[attr-defined]
    middle = ((left + right + 1) / 2 / scale - 0.5, (top + bottom + 1) / 2 / scale - 0.5)
    return FaceRegion(*middle, size=(right - left + 1) / scale, score=score)
