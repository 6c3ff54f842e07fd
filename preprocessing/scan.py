"""The first pass over a video: cuts, faces from frame to frame, their landmarks. One frame is in memory at a time."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detectors.face_landmarks import FaceParts
from dnnlib.errors import UserError
from preprocessing.frames import Reading, read_source
from preprocessing.records import FaceTrack, Scan, SourceVideo
from preprocessing.shots import CutFinder
from preprocessing.tracking import FaceTracker

# Of a scan's and a track's file: what is plain, and what are arrays.
PLAIN = ("frames", "fps", "width", "height", "cuts", "detections", "notes")
ARRAYS = ("landmarks", "found", "boxes", "sharpness")


def scan_video(
    video: SourceVideo,
    reading: Reading,
    parts: FaceParts,
    *,
    detect_every: int,
) -> Scan:
    """Find the faces of a video.

    Args:
        reading: how the video is decoded.
        parts: detector and landmarks.
        detect_every: look for faces in every n-th frame of a shot, and in its first and last one; follow them between.

    Returns:
        a scan, of a video that is broken before its end up to there.

    Raises:
        UserError: not a single frame can be decoded.
    """
    tracker = FaceTracker(parts)
    notes = list(reading.notes)
    starts = [0]  # of shots
    count = 0
    with contextlib.closing(read_source(video, reading)) as source:
        for image, ends_shot in _with_ends_of_shots(_until_broken(source, notes)):
            height, width = image.shape[:2]
            tracker.follow(image)
            if ends_shot or (count - starts[-1]) % detect_every == 0:
                tracker.detect(count, image)
            count += 1
            if ends_shot:
                tracker.end_all()
                starts.append(count)
    return Scan(
        frames=count,
        fps=reading.fps,
        width=width,
        height=height,
        cuts=tuple(starts[1:-1]),
        tracks=tuple(sorted(tracker.tracks, key=_place)),
        detections=tracker.detections,
        notes=tuple(notes),
    )


def _until_broken(frames: Iterator[np.ndarray], notes: list[str]) -> Iterator[np.ndarray]:
    """Yield frames up to where the video is broken, of which a note is made; UserError if not even one can be read."""
    is_first = True
    try:
        for frame in frames:
            yield frame
            is_first = False
    except UserError as error:
        if is_first:
            raise
        notes.append(str(error))


def _with_ends_of_shots(frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield every frame, and whether it is the last one of a shot or of the video."""
    finder = CutFinder()
    waiting: np.ndarray | None = None
    for frame in frames:
        is_cut = finder.is_cut(frame)
        if waiting is not None:
            yield waiting, is_cut
        waiting = frame
    if waiting is not None:
        yield waiting, True


def _place(track: FaceTrack) -> tuple[int, float]:
    """Return a key that sorts tracks by when they begin, then from left to right."""
    return track.first, float(np.nanmin(track.boxes[:, 0]))


# --- Files -----------------------------------------------------------------------------------------------------------


def save_scan(path: Path, scan: Scan) -> None:
    """Write a scan to an .npz."""
    about = {name: getattr(scan, name) for name in PLAIN}
    arrays = {f"{number}.{name}": getattr(track, name) for number, track in enumerate(scan.tracks) for name in ARRAYS}
    with open(path, "wb") as file:
        np.savez_compressed(file, about=json.dumps(about), firsts=[track.first for track in scan.tracks], **arrays)


def load_scan(path: Path) -> Scan:
    """Read what `save_scan` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        tracks = [
            FaceTrack(first=int(first), **{name: arrays[f"{number}.{name}"] for name in ARRAYS})
            for number, first in enumerate(arrays["firsts"])
        ]
    about |= {"cuts": tuple(about["cuts"]), "notes": tuple(about["notes"])}
    return Scan(tracks=tuple(tracks), **about)
