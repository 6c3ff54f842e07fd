"""How far mouths are open in frames of procedural heads: whether a motion that was found or taken over is right.

A small network learns the opening (`Expression.jaw`: 0 closed to 1 wide open) from procedural frames, where the truth
is known. How well it reads people whom it has never seen is the floor: what frames of a perfect generator would score.
"""

from dataclasses import dataclass

import numpy as np

from metrics.frame_regressor import Design, FrameRegressor, learned_regressor, watched
from metrics.pose import STRETCH, draw_cameras
from metrics.variety import Estimate, mean_estimate, random_stream
from training import synthetic
from training.data.streams import Control

SIDE = 64  # of the largest frames that the network sees, pixels; a mouth is a dozen of them wide
DESIGN = Design(
    name="mouth regressor",
    signs=(1.0,),
    layers=((16, 2), (32, 2), (64, 2), (64, 2)),
    coarse=(2, 3),
)


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to learn: frames to learn from, steps, people to be tested on, and frames of the clip of each."""

    frames: int = 2000
    steps: int = 1000
    people: int = 32
    clip: int = 16


def openings(regressor: FrameRegressor, frames: np.ndarray) -> np.ndarray:
    """Return how far mouths are open in frames uint8 [N, 3, R, R]: float64 [N]."""
    return regressor.read(frames)[:, 0]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two rows of numbers [T]; 0 where one of them never changes."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def agreement(read: np.ndarray, truth: np.ndarray) -> Estimate:
    """Return the mean correlation over time of openings [N, T] read in N clips with the true ones [N, T].

    `error` is the mean absolute difference.
    """
    correlations = [correlation(*pair) for pair in zip(read, truth, strict=True)]
    return mean_estimate(np.array(correlations), error=float(np.abs(read - truth).mean()))


# --- Learning ---------------------------------------------------------------------------------------------------------


def train_mouth_regressor(
    resolution: int, seed: int = 0, effort: Effort = Effort(), progress: bool = False
) -> FrameRegressor:
    """Return a regressor of openings that has learned from procedural frames; a minute or two.

    Args:
        resolution: of the frames that it will see, pixels.
    """
    side = min(resolution, SIDE)
    frames, truth = _frames_to_learn(side, seed, effort.frames, progress)
    regressor = learned_regressor(DESIGN, frames, truth[:, None], steps=effort.steps, seed=seed, progress=progress)
    clips, truth = _held_out_clips(side, seed, effort, progress)
    read = openings(regressor, clips.reshape(-1, *clips.shape[2:])).reshape(truth.shape)
    regressor.floor = agreement(read, truth)
    return regressor


def _frames_to_learn(side: int, seed: int, count: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return frames uint8 [N, 3, side, side], each of another person, and how far their mouths are open [N]."""
    frames = []
    truth = []
    for index in watched(range(count), "procedural heads", "head", progress):
        rng = random_stream(seed, index, Control.MOUTH_LEARNING)
        person, motion = rng.integers(2**32, size=2).tolist()
        expression = synthetic.random_motion(motion, 1).expressions[0]
        (camera,) = draw_cameras(rng, 1, STRETCH).numpy()
        image, _ = synthetic.render_frame(synthetic.random_identity(person), expression, camera, side)
        frames.append(image)
        truth.append(expression.jaw)
    return np.stack(frames), np.array(truth)


def _held_out_clips(side: int, seed: int, effort: Effort, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return clips uint8 [N, T, 3, side, side] of other people, with moving cameras, and the truth [N, T]."""
    clips = []
    truth = []
    for index in watched(range(effort.people), "procedural clips", "clip", progress):
        rng = random_stream(seed, index, Control.MOUTH_HELD_OUT)
        person, number = rng.integers(2**32, size=2).tolist()
        motion = synthetic.random_motion(number, effort.clip)
        clips.append(synthetic.render_motion(synthetic.random_identity(person), motion, side).frames)
        truth.append([expression.jaw for expression in motion.expressions])
    return np.stack(clips), np.array(truth)
