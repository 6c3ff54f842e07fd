"""A clip's crop and cameras, from where its landmarks are: low-pass, alignment, fit of the head, final crop."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from preprocessing import alignment
from preprocessing.cutting import Segment
from preprocessing.head_cameras import head_cameras, recrop, smooth_poses
from preprocessing.head_pose import fit_head
from preprocessing.options import CameraOptions
from preprocessing.records import HeadPoses, Scan
from preprocessing.smoothing import low_pass

POSES = "poses."  # before the names of a head's arrays in a file


@dataclass(frozen=True, kw_only=True)
class PosedClip:
    """Where a clip's crops lie, and from where they see the head.

    Attributes:
        to_crop: float64 [F, 2, 3], from pixels of the video to pixels of the crop.
        landmarks: float64 [F, 68, 2] in pixels of the video, after the low-pass.
        poses: of the head in the crops.
        cameras: float64 [F, 25].
        outside: float64 [F], part of each crop beyond the edges of the video.
        crowded: bool [F], whether another face is in the crop.
    """

    to_crop: np.ndarray
    landmarks: np.ndarray
    poses: HeadPoses
    cameras: np.ndarray
    outside: np.ndarray
    crowded: np.ndarray


def pose_clip(scan: Scan, segment: Segment, options: CameraOptions, landmarks_of: str) -> PosedClip:
    """Fit a head to a clip's landmarks; return its crops and cameras."""
    track = scan.tracks[segment.track]
    frames = slice(segment.start, segment.stop)
    found = track.found[frames]
    side = options.resolution
    landmarks = low_pass(track.landmarks[frames], found, options.smooth_landmarks * segment.fps)
    to_first = alignment.align(landmarks, side)
    seen = alignment.apply(to_first, landmarks)
    seen[~found] = np.nan
    fitted = fit_head(seen, side, landmarks_of)
    smooth = smooth_poses(fitted, options.smooth_cameras * segment.fps)
    to_final, poses = recrop(smooth, side, options.centre)
    to_crop = alignment.compose(to_final, to_first)
    return PosedClip(
        to_crop=to_crop,
        landmarks=landmarks,
        poses=poses,
        cameras=head_cameras(poses),
        outside=alignment.share_outside(to_crop, side, scan.width, scan.height),
        crowded=_crowded(scan, segment, to_crop, side),
    )


def _crowded(scan: Scan, segment: Segment, to_crop: np.ndarray, side: int) -> np.ndarray:
    """Return in which frames [F] the middle of another face's box lies in the crop."""
    first = segment.first(scan)
    crowded = np.zeros(segment.frames, dtype=bool)
    for number, other in enumerate(scan.tracks):
        start = max(first, other.first)
        stop = min(first + segment.frames, other.first + len(other.boxes))
        if number == segment.track or start >= stop:
            continue
        boxes = other.boxes[start - other.first : stop - other.first]
        middles = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        places = alignment.apply(to_crop[start - first : stop - first], middles)[:, 0]
        crowded[start - first : stop - first] |= ((places > 0) & (places < side)).all(axis=1)
    return crowded


# --- Files -----------------------------------------------------------------------------------------------------------


def save_posed(path: Path, clip: PosedClip) -> None:
    """Write a clip's crops and cameras to an .npz."""
    arrays = {name: value for name, value in vars(clip).items() if name != "poses"}
    poses = {f"{POSES}{name}": value for name, value in vars(clip.poses).items()}
    with open(path, "wb") as file:
        np.savez(file, **arrays, **poses)


def load_posed(path: Path) -> PosedClip:
    """Read what `save_posed` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        named = {name: arrays[name] for name in arrays.files}
    poses = {name.removeprefix(POSES): named.pop(name) for name in list(named) if name.startswith(POSES)}
    return PosedClip(poses=HeadPoses(**poses), **named)
