"""`motion-share`: the part of a generator's motion that the motion code decides, for procedural heads.

One person moves with MOTIONS motion codes under the canonical camera. A change is a frame less the frame at t = 0 of
the same clip, in CIELAB after averaging (`metrics.variety.lab_features`). The mean square of the changes is their
energy; the mean product of the changes of two different codes is what all codes have in common, without a bias however
few they are. The rest is the share that the code decides: 0 where every code moves a head alike, about 1 where the
motions have nothing to do with each other.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from metrics.variety import Estimate, lab_features, random_stream, render_person, still_frames
from metrics.video_sources import code_spec, scored_times
from training import synthetic
from training.cameras import canonical_label
from training.checkpoints.snapshots import Snapshot
from training.data.streams import Control
from training.sampling.clips import PAPER_FRAMES

MOTIONS = 8  # of each person
MOMENTS = (0, 5, 10, 15)  # frames of a video that are looked at
WIDTH = 2  # numbers in a row: energy, and what all motions have in common


def motion_share_row(snapshot: Snapshot, seed: int, index: int) -> np.ndarray:
    """Return energy and common part [WIDTH] of the motions of appearance `index`.

    No two indices share a motion.
    """
    times = scored_times(snapshot)[list(MOMENTS)]
    cameras = canonical_label().expand(len(times), -1)
    spec = replace(code_spec(snapshot, seed, index, cameras), times=times)
    codes = [code_spec(snapshot, seed, MOTIONS * index + number, cameras).z_motion for number in range(MOTIONS)]
    return shared_energy(still_frames(snapshot, replace(spec, z_motion=code)) for code in codes)


def procedural_share_row(fps: float, seed: int, index: int) -> np.ndarray:
    """Return what `motion_share_row` would be if procedural heads of `fps` frames a second were generated."""
    person, *motions = random_stream(seed, index, Control.MOTION_SHARE).integers(2**32, size=1 + MOTIONS).tolist()
    clips = []
    for motion in motions:
        expressions = synthetic.random_motion(motion, PAPER_FRAMES, fps).expressions
        clips.append(np.stack([render_person(person, expressions[moment]) for moment in MOMENTS]))
    return shared_energy(clips)


def shared_energy(clips: Iterable[np.ndarray]) -> np.ndarray:
    """Return energy and common part [WIDTH] of clips uint8 [T, 3, H, W] of one person, at least two."""
    features = np.stack([lab_features(clip) for clip in clips])
    changes = features[:, 1:] - features[:, :1]
    count = len(changes)
    squares = (changes**2).sum()
    # |sum of d|^2 is the sum of all products: of motions with themselves, and of count (count - 1) ordered pairs.
    products = (changes.sum(axis=0) ** 2).sum() - squares
    return np.array([squares / count, products / (count * (count - 1))])


def motion_share(rows: np.ndarray) -> Estimate:
    """Return the share over rows [N, WIDTH]: 1 - common part / energy, of all together; 0 where nothing moves."""
    energy, common = np.asarray(rows, dtype=np.float64).T
    total = energy.sum()
    if total == 0:
        return Estimate(0.0, None)
    share = float(1 - common.sum() / total)
    if len(rows) == 1:
        return Estimate(share, None)
    # To first order the ratio's error is that of the mean of these, which sum to zero.
    residuals = (energy - common - share * energy) / energy.mean()
    return Estimate(share, float(residuals.std(ddof=1) / math.sqrt(len(rows))))
