"""What speaks against a clip is said in words, with the option that decides it."""

from dataclasses import replace

import numpy as np
import pytest

from preprocessing.head_cameras import head_cameras
from preprocessing.head_pose import FRONTAL
from preprocessing.judging import fault_of, fault_of_flip
from preprocessing.options import ChoosingOptions
from preprocessing.posing import PosedClip, load_posed, save_posed
from preprocessing.records import HeadPoses
from training.cameras import RADIUS

FRAMES, SIDE = 10, 256


def good_clip(yaw_degrees: float = 0.0, residual: float = 0.005) -> PosedClip:
    """Return a clip of crops of 320 pixels, seen from so far to a side."""
    angle = np.radians(yaw_degrees)
    turn = np.array([[np.cos(angle), 0, -np.sin(angle)], [0, 1, 0], [np.sin(angle), 0, np.cos(angle)]])
    poses = HeadPoses(
        rotations=np.tile(FRONTAL @ turn, (FRAMES, 1, 1)),
        translations=np.tile([0.0, 0.0, RADIUS], (FRAMES, 1)),
        shape=np.zeros([68, 3]),
        residuals=np.full(FRAMES, residual),
    )
    scale = SIDE / 320
    return PosedClip(
        to_crop=np.tile([[scale, 0.0, 0.0], [0.0, scale, 0.0]], (FRAMES, 1, 1)),
        landmarks=np.zeros([FRAMES, 68, 2]),
        poses=poses,
        cameras=head_cameras(poses),
        outside=np.zeros(FRAMES),
        crowded=np.zeros(FRAMES, dtype=bool),
    )


def test_nothing_speaks_against_a_good_clip():
    assert fault_of(good_clip(), SIDE, ChoosingOptions()) is None
    assert fault_of_flip(1.0, ChoosingOptions()) is None


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (
            replace(good_clip(), to_crop=good_clip().to_crop * 2),
            "face too small: a crop of 160 pixels (--min-size=200)",
        ),
        (replace(good_clip(), crowded=np.arange(FRAMES) < 2), "several faces: another one in 20% of the frames"),
        (replace(good_clip(), outside=np.linspace(0, 0.4, FRAMES)), "cut off: 40% of a crop (--max-outside=0.25)"),
        (good_clip(yaw_degrees=70), "turned too far: yaw 70 degrees (--max-yaw=60)"),
        (good_clip(yaw_degrees=-70), "turned too far: yaw 70 degrees (--max-yaw=60)"),
        (good_clip(residual=0.03), "cameras doubtful: residual 0.030 (--max-residual=0.02)"),
        (replace(good_clip(), cameras=np.full([FRAMES, 25], np.nan)), "cameras doubtful: no head fits the landmarks"),
    ],
)
def test_faults(clip, words):
    assert fault_of(clip, SIDE, ChoosingOptions()) == words


def test_the_flip_test_has_a_limit():
    assert fault_of_flip(5.0, ChoosingOptions()) == "cameras doubtful: flip test 5.0 degrees (--max-flip-error=4)"


def test_posed_clips_are_kept_whole(tmp_path):
    clip = good_clip(yaw_degrees=12)
    save_posed(tmp_path / "pose.npz", clip)
    again = load_posed(tmp_path / "pose.npz")
    for name in ("to_crop", "landmarks", "cameras", "outside", "crowded"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clip, name))
    for name, value in vars(clip.poses).items():
        np.testing.assert_array_equal(getattr(again.poses, name), value)
