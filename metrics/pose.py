"""`pose`, `pose-side`: the angle between the camera asked for and the one seen, for procedural heads, degrees.

A small network learns on procedural frames, where the truth is known, from which direction a frame was taken: the
direction from the middle of the face (LOOK_AT) to the camera, as yaw and elevation in the world. Procedural heads turn
a little while they talk (about 3 degrees), and their cameras do not turn along. So the frames that it learns from have
turned heads too, and the truth stays the camera: what a generator of such clips is asked for. What the network itself
errs, on people it has never seen, is the floor: the score of a perfect generator.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from metrics.frame_regressor import Design, FrameRegressor, learned_regressor, watched
from metrics.variety import Estimate, mean_estimate, random_stream
from metrics.video_sources import code_spec, scored_times, stored_frames
from training import synthetic
from training.cameras import LOOK_AT, canonical_label, frontal_label
from training.checkpoints.snapshots import Snapshot
from training.data.options import YAW_RANGE
from training.data.streams import Control
from training.sampling.clips import generate_views
from training.synthetic.motion import PITCH_RANGE

SIDE = 64  # of the largest frames that the network sees, pixels
CAMERAS = 4  # asked of each video
WIDTH = CAMERAS * 4  # numbers in a row: yaw and elevation asked for, yaw and elevation seen
STRETCH = 1.2  # cameras to learn from: beyond those asked for, so that no edge attracts
FRONT = (0.0, YAW_RANGE)  # yaw to either side that `pose` asks for, radians: that of procedural clips
SIDES = (math.radians(25), math.radians(50))  # and `pose-side`
DESIGN = Design(
    name="pose regressor",
    signs=(-1.0, 1.0),  # of yaw and elevation
    layers=((16, 2), (32, 2), (64, 2), (64, 2)),
    coarse=(2, 7),
)


@dataclass(frozen=True)
class Effort:
    """How long to learn: frames to learn from, steps, and people (of CAMERAS frames each) to be tested on."""

    frames: int = 1500
    steps: int = 800
    people: int = 64


# --- Directions -------------------------------------------------------------------------------------------------------


def viewing_angles(cameras: np.ndarray) -> np.ndarray:
    """Return yaw (to +x) and elevation (to +y) from LOOK_AT to cameras [..., 25]: float64 [..., 2], radians."""
    offsets = np.asarray(cameras, dtype=np.float64)[..., [3, 7, 11]] - LOOK_AT
    x, y, z = np.moveaxis(offsets, -1, 0)
    yaw = np.arctan2(x, z)
    elevation = np.arctan2(y, np.hypot(x, z))
    return np.stack([yaw, elevation], axis=-1)


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return angles [...] between two directions given as yaw and elevation [..., 2]; all in radians."""
    chord = np.linalg.norm(_unit_vectors(first) - _unit_vectors(second), axis=-1)
    return 2 * np.arcsin(np.minimum(chord / 2, 1))


def _unit_vectors(angles: np.ndarray) -> np.ndarray:
    yaw = angles[..., 0]
    elevation = angles[..., 1]
    level = np.cos(elevation)
    return np.stack([np.sin(yaw) * level, np.sin(elevation), np.cos(yaw) * level], axis=-1)


def draw_cameras(
    rng: np.random.Generator, count: int, stretch: float = 1.0, yaw_range: tuple[float, float] = FRONT
) -> torch.Tensor:
    """Draw labels [count, 25], uniform in yaw and in the pitch of procedural clips.

    Args:
        stretch: a factor of all angles.
        yaw_range: least and greatest yaw to either side, radians.
    """
    least, greatest = yaw_range
    beyond = rng.uniform(least - greatest, greatest - least, count)
    yaw = torch.from_numpy(beyond + np.copysign(least, beyond))
    pitch = torch.from_numpy(rng.uniform(-PITCH_RANGE, PITCH_RANGE, count))
    return frontal_label(yaw.float() * stretch, pitch.float() * stretch)


# --- The score --------------------------------------------------------------------------------------------------------


def pose_row(
    snapshot: Snapshot, regressor: FrameRegressor, yaw_range: tuple[float, float], seed: int, index: int
) -> np.ndarray:
    """Return the numbers [WIDTH] of video `index` at one moment, seen by CAMERAS cameras, that `pose_errors` takes.

    The mapping network is given the canonical camera, or as of `generate_views`; codes are those of
    `gen_videos.py --seeds=index` where seed is 0.
    """
    rng = random_stream(seed, index, Control.POSE)
    cameras = draw_cameras(rng, CAMERAS, yaw_range=yaw_range)
    times = scored_times(snapshot)
    moment = times[rng.integers(len(times))]
    spec = replace(code_spec(snapshot, seed, index, canonical_label()[None]), times=moment[None])
    (views,) = generate_views(snapshot.G, spec, list(cameras[:, None]))
    return _row(cameras.numpy(), regressor.read(stored_frames(views)))


def _row(cameras: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return np.concatenate([viewing_angles(cameras), seen], axis=1).reshape(-1)


def pose_errors(rows: np.ndarray) -> Estimate:
    """Return the score of rows [N, WIDTH]: mean angle in degrees.

    `yaw_slope` and `elevation_slope` say by how much the angle seen changes with the one asked for: 1 where the view
    follows the camera, 0 where it does not.
    """
    angles = rows.reshape(len(rows), CAMERAS, 2, 2)
    asked = angles[:, :, 0]
    seen = angles[:, :, 1]
    degrees = np.rad2deg(angle_between(asked, seen))
    return mean_estimate(
        degrees.mean(axis=1),
        yaw_slope=_slope(asked[..., 0], seen[..., 0]),
        elevation_slope=_slope(asked[..., 1], seen[..., 1]),
    )


def _slope(asked: np.ndarray, seen: np.ndarray) -> float:
    """Return the slope of the straight line through points (asked, seen)."""
    slope, _ = np.polyfit(asked.ravel(), seen.ravel(), 1)
    return float(slope)


# --- Learning ---------------------------------------------------------------------------------------------------------


def train_pose_regressor(
    resolution: int,
    yaw_range: tuple[float, float] = FRONT,
    seed: int = 0,
    effort: Effort = Effort(),
    progress: bool = False,
) -> FrameRegressor:
    """Return a regressor of yaw and elevation, radians, that has learned from procedural frames; about a minute.

    Args:
        resolution: of the frames that it will see, pixels.
        yaw_range: that they are taken from; it learns from the front up to the greatest.
    """
    side = min(resolution, SIDE)
    frames, cameras = _frames_and_labels(
        side=side,
        seed=seed,
        stream=Control.POSE_LEARNING,
        people=effort.frames,
        cameras=1,
        stretch=STRETCH,
        yaw_range=(0.0, yaw_range[1]),
        progress=progress,
    )
    angles = viewing_angles(cameras)
    regressor = learned_regressor(DESIGN, frames, angles, steps=effort.steps, seed=seed, progress=progress)
    frames, cameras = _frames_and_labels(
        side=side,
        seed=seed,
        stream=Control.POSE_HELD_OUT,
        people=effort.people,
        cameras=CAMERAS,
        stretch=1.0,
        yaw_range=yaw_range,
        progress=progress,
    )
    asked = cameras.reshape(effort.people, CAMERAS, -1)
    seen = regressor.read(frames).reshape(effort.people, CAMERAS, -1)
    rows = [_row(asked[person], seen[person]) for person in range(effort.people)]
    regressor.floor = pose_errors(np.stack(rows))
    return regressor


def procedural_views(
    *,
    side: int,
    seed: int,
    stream: int,
    people: int,
    cameras: int,
    stretch: float = 1.0,
    yaw_range: tuple[float, float] = FRONT,
    progress: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield frames uint8 [3, side, side] of procedural heads, `cameras` of each, with depth [side, side] and label."""
    for index in watched(range(people), "procedural heads", "head", progress):
        rng = random_stream(seed, index, stream)
        person, motion = rng.integers(2**32, size=2)
        identity = synthetic.random_identity(int(person))
        expression = synthetic.random_motion(int(motion), 1).expressions[0]
        for label in draw_cameras(rng, cameras, stretch, yaw_range).numpy():
            image, depth = synthetic.render_frame(identity, expression, label, side)
            yield image, depth, label


def _frames_and_labels(**options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return all frames [N, 3, side, side] and labels [N, 25] of `procedural_views`."""
    frames, _, labels = zip(*procedural_views(**options), strict=True)
    return np.stack(frames), np.stack(labels)
