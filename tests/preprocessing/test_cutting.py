"""Tracks become clips: gaps end them, long ones are divided, short and blurred ones have a reason."""

from pathlib import Path

import numpy as np
import pytest

from preprocessing.cutting import cut_tracks
from preprocessing.options import ChoosingOptions
from preprocessing.records import FaceTrack, Scan, SourceVideo

VIDEO = SourceVideo(name="talk", path=Path("talk.mp4"))


def track(first: int, found: str, sharpness: float = 20.0) -> FaceTrack:
    """Return a track in which `1` says where the face was found."""
    is_found = np.array([mark == "1" for mark in found])
    count = len(found)
    return FaceTrack(
        first=first,
        landmarks=np.zeros([count, 68, 2], dtype=np.float32),
        found=is_found,
        boxes=np.zeros([count, 4], dtype=np.float32),
        sharpness=np.full(count, sharpness, dtype=np.float32),
    )


def scan(*tracks: FaceTrack, frames: int = 1000) -> Scan:
    return Scan(frames=frames, fps=25.0, width=640, height=360, cuts=(), tracks=tracks, detections=0)


@pytest.mark.parametrize(
    ("found", "stretches"),
    [
        ("1" * 40, [(0, 40)]),
        ("1" * 20 + "0" * 5 + "1" * 20, [(0, 45)]),  # 0.2 s are bridged
        ("1" * 20 + "0" * 6 + "1" * 20, [(0, 20), (26, 46)]),
        ("000" + "1" * 10 + "00", [(3, 13)]),
        ("1" * 110, [(0, 36), (36, 73), (73, 110)]),
        ("0" * 30, []),
    ],
)
def test_stretches(found, stretches):
    options = ChoosingOptions(min_frames=1, max_frames=50)
    segments = list(cut_tracks(VIDEO, scan(track(100, found)), options))
    assert [(segment.start, segment.stop) for segment in segments] == stretches
    assert all(segment.fault is None for segment in segments)
    assert [segment.name for segment in segments] == [f"talk/{100 + start:06d}-0" for start, _ in stretches]


def test_reasons():
    tracks = [track(0, "1" * 31), track(0, "1" * 40, sharpness=1.5), track(0, "1" * 40)]
    options = ChoosingOptions(min_frames=32, min_sharpness=4.0)
    short, blurred, good = cut_tracks(VIDEO, scan(*tracks), options)
    assert short.fault == "too short: 31 frames (--min-frames=32)"
    assert blurred.fault == "blurred: sharpness 1.5 (--min-sharpness=4)"
    assert good.fault is None


def test_a_short_video_is_too_short():
    (segment,) = cut_tracks(VIDEO, scan(track(0, "1" * 5), frames=5), ChoosingOptions())
    assert segment.fault == "too short: 5 frames (--min-frames=32)"


def test_a_picture_is_a_clip_of_one_frame_called_what_it_is():
    (segment,) = cut_tracks(VIDEO, scan(track(0, "1"), frames=1), ChoosingOptions())
    assert (segment.name, segment.frames, segment.fault) == ("talk", 1, None)


def test_people_of_one_picture_are_told_apart():
    segments = list(cut_tracks(VIDEO, scan(track(0, "1"), track(0, "1"), frames=1), ChoosingOptions()))
    assert [segment.name for segment in segments] == ["talk/000000-0", "talk/000000-1"]
