"""Faces from frame to frame: looked for now and then, followed by their landmarks in between.

The landmarks of one frame say where to look for those of the next. What was followed so counts only once the detector
finds a face at the same place: until then it may be the wall that a face has left. So a track ends at the last frame in
which it was confirmed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from detectors.face_landmarks import FaceParts, FaceRegion
from preprocessing.records import LANDMARKS, FaceTrack

SAME_FACE = 0.4  # least intersection over union of a tracked and a detected box
OTHER_FACE = 0.25  # largest one of two tracks: beyond it nobody knows whose landmarks are whose
MAX_MISSES = 2  # times in a row that the detector may overlook a face, as it does in profile
LARGEST_STEP = 0.5  # of a box's size by which a face may move in a frame
SHARPNESS_SIDE = 128  # pixels of the face whose sharpness is measured


@dataclass(kw_only=True)
class _Growing:
    """A track as it grows, frame by frame; `None` where the face was not found."""

    first: int
    landmarks: list[np.ndarray | None] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)  # of the frames that have landmarks
    sharpness: list[float] = field(default_factory=list)  # of the same frames
    confirmed: int = 0  # frames up to the last one in which the detector found it
    misses: int = 0
    last: np.ndarray  # landmarks that were found last


class FaceTracker:
    """Follows all faces of a video, whose frames it takes one after another.

    Attributes:
        tracks: those that have ended.
        detections: frames in which the detector has looked.
    """

    def __init__(self, parts: FaceParts) -> None:
        self._parts = parts
        self._growing: list[_Growing] = []
        self.tracks: list[FaceTrack] = []
        self.detections = 0

    def follow(self, image: np.ndarray) -> None:
        """Find the faces of the frame before in this one."""
        for track in self._growing:
            landmarks = self._follow_one(track, image)
            track.landmarks.append(landmarks)
            if landmarks is not None:
                track.last = landmarks
                track.boxes.append(box_of(landmarks))
                track.sharpness.append(sharpness_of(image, track.boxes[-1]))
        self._part_those_that_meet()

    def _follow_one(self, track: _Growing, image: np.ndarray) -> np.ndarray | None:
        landmarks, presence = self._parts.landmarks(image, self._parts.region_of(track.last))
        box = box_of(track.last)
        step = np.linalg.norm(landmarks.mean(axis=0) - track.last.mean(axis=0))
        is_there = presence >= self._parts.least_presence and step < LARGEST_STEP * (box[2:] - box[:2]).mean()
        return landmarks if is_there else None

    def _part_those_that_meet(self) -> None:
        """End tracks that have come to lie on each other."""
        meeting = []
        for place, track in enumerate(self._growing):
            for other in self._growing[:place]:
                if overlap(box_of(track.last), box_of(other.last)) > OTHER_FACE:
                    meeting += [track, other]
        for track in meeting:
            self._end(track)

    def detect(self, number: int, image: np.ndarray) -> None:
        """Look for faces in a frame that has been followed: confirm tracks, begin new ones, end those that are lost."""
        self.detections += 1
        found = [self._settled(image, region) for region in self._parts.detect(image)]
        new = [landmarks for landmarks in found if landmarks is not None]
        for track in list(self._growing):
            match = _best_match(track, new)
            if match is not None and track.landmarks[-1] is not None:
                new.pop(match)
                track.confirmed = len(track.landmarks)
                track.misses = 0
                continue
            track.misses += 1
            if track.misses > MAX_MISSES or match is not None:
                self._end(track)
        for landmarks in new:
            self._begin(number, image, landmarks)

    def _settled(self, image: np.ndarray, region: FaceRegion) -> np.ndarray | None:
        """Return the landmarks of a face that was detected, found again by themselves, as in the frames between."""
        landmarks, presence = self._parts.landmarks(image, region)
        if presence < self._parts.least_presence:
            return None
        return self._parts.landmarks(image, self._parts.region_of(landmarks))[0]

    def _begin(self, number: int, image: np.ndarray, landmarks: np.ndarray) -> None:
        box = box_of(landmarks)
        if any(overlap(box, box_of(track.last)) > OTHER_FACE for track in self._growing):
            return  # a second box of a face, or too close to tell apart
        self._growing.append(
            _Growing(
                first=number,
                landmarks=[landmarks],
                boxes=[box],
                sharpness=[sharpness_of(image, box)],
                confirmed=1,
                last=landmarks,
            )
        )

    def end_all(self) -> None:
        """End all tracks: at a cut, or at the end of the video."""
        for track in list(self._growing):
            self._end(track)

    def _end(self, track: _Growing) -> None:
        """Keep a track up to where it was confirmed."""
        if track in self._growing:
            self._growing.remove(track)
            self.tracks.append(_finished(track))


def _best_match(track: _Growing, found: Sequence[np.ndarray]) -> int | None:
    """Return which of the detected landmarks belong to a track; None if none do."""
    if not found:
        return None
    overlaps = [overlap(box_of(track.last), box_of(landmarks)) for landmarks in found]
    best = int(np.argmax(overlaps))
    return best if overlaps[best] >= SAME_FACE else None


def _finished(track: _Growing) -> FaceTrack:
    """Return a track as a record, up to the last frame in which it was confirmed."""
    kept = track.landmarks[: track.confirmed]
    found = np.array([landmarks is not None for landmarks in kept])
    landmarks = np.full([len(kept), LANDMARKS, 2], np.nan, dtype=np.float32)
    boxes = np.full([len(kept), 4], np.nan, dtype=np.float32)
    sharpness = np.full(len(kept), np.nan, dtype=np.float32)
    count = int(found.sum())
    landmarks[found] = [points for points in kept if points is not None]
    boxes[found] = track.boxes[:count]
    sharpness[found] = track.sharpness[:count]
    return FaceTrack(first=track.first, landmarks=landmarks, found=found, boxes=boxes, sharpness=sharpness)


# --- Boxes -----------------------------------------------------------------------------------------------------------


def box_of(landmarks: np.ndarray) -> np.ndarray:
    """Return the box around landmarks [68, 2]: left, top, right, bottom."""
    return np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)])


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(one[2:], other[2:])
    common = np.clip(high - low, 0, None).prod()
    areas = (one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod()
    return float(common / max(areas - common, 1e-9))


def sharpness_of(image: np.ndarray, box: np.ndarray) -> float:
    """Return the standard deviation of the Laplacian of a face, scaled to SHARPNESS_SIDE pixels, in grey levels."""
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(box[:2]).astype(int), 0, [width - 1, height - 1])
    right, bottom = np.clip(np.ceil(box[2:]).astype(int) + 1, [left + 1, top + 1], [width, height])
    grey = cv2.cvtColor(np.ascontiguousarray(image[top:bottom, left:right]), cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if min(grey.shape) >= SHARPNESS_SIDE else cv2.INTER_LINEAR
    face = cv2.resize(grey, (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=method)
    return float(cv2.Laplacian(face, cv2.CV_32F).std())
