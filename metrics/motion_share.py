"""`motion-share`: the part of a generator's motion that the motion code decides, for procedural heads.

One person moves with MOTIONS motion codes under the canonical camera. A change is a frame less the frame at t = 0 of
the same clip, in CIELAB after averaging (`metrics.variety.lab_features`). The mean square of the changes is their
energy; the mean product of the changes of two different codes is what all codes have in common, without a bias however
few they are. The rest is the share that the code decides: 0 where every code moves a head alike, about 1 where the
motions have nothing to do with each other.

No good generator reaches 1. At t = 0 its motion code is multiplied by zero, so all motions of a person begin with one
frame, and a mouth that is open there closes in most of them. What is expected of a change, given the first frame, is
common to all codes. Where frames at two moments correlate by rho around the person's mean, of variance V, a change has
the energy E = 2 (1 - rho) V, of which (1 - rho)^2 V = E^2 / (4 V) is expected. `reachable_share` takes that off.
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
from training.sampling.options import PAPER_FRAMES

MOTIONS = 8  # of each person
MOMENTS = (0, 5, 10, 15)  # frames of a video that are looked at
WIDTH = 2  # numbers in a row: energy, and what all motions have in common
PROCEDURAL_WIDTH = len(MOMENTS)  # energies of the changes to all but the first, and the variance of a frame


def motion_share_row(snapshot: Snapshot, seed: int, index: int) -> np.ndarray:
    """Return energy and common part [WIDTH] of the motions of appearance `index`.

    No two indices share a motion.
    """
    times = scored_times(snapshot)[list(MOMENTS)]
    cameras = canonical_label().expand(len(times), -1)
    spec = replace(code_spec(snapshot, seed, index, cameras), times=times)
    codes = [code_spec(snapshot, seed, MOTIONS * index + number, cameras).z_motion for number in range(MOTIONS)]
    return shared_energy(still_frames(snapshot, replace(spec, z_motion=code)) for code in codes)


def procedural_row(fps: float, seed: int, index: int) -> np.ndarray:
    """Return what `reachable_share` wants [PROCEDURAL_WIDTH] of motions of a procedural head, fps frames a second."""
    person, *motions = random_stream(seed, index, Control.MOTION_SHARE).integers(2**32, size=1 + MOTIONS).tolist()
    clips = []
    for motion in motions:
        expressions = synthetic.random_motion(motion, PAPER_FRAMES, fps).expressions
        clips.append(np.stack([render_person(person, expressions[moment]) for moment in MOMENTS]))
    return energies_and_variance(np.stack([lab_features(clip) for clip in clips]))


def energies_and_variance(features: np.ndarray) -> np.ndarray:
    """Return the energy of the change to each moment but the first, and the variance of a frame [T].

    Args:
        features: [M, T, ...] of M motions of one person, which do not begin with one frame.
    """
    moments = features.shape[1]
    flat = features.reshape(len(features), moments, -1)
    energies = ((flat[:, 1:] - flat[:, :1]) ** 2).sum(axis=-1).mean(axis=0)
    variance = flat.var(axis=0, ddof=1).sum(axis=-1).mean()
    return np.append(energies, variance)


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


def reachable_share(rows: np.ndarray) -> Estimate:
    """Return the share that is left to the code where all motions of a person begin with one frame (see above).

    Args:
        rows: [N, PROCEDURAL_WIDTH] of people whose motions do not, 1 and more; the error is the jackknife's.
    """
    rows = np.asarray(rows, dtype=np.float64)
    count = len(rows)
    value = _reachable(rows.sum(axis=0))
    if count == 1:
        return Estimate(value, None)
    without = np.array([_reachable(rest) for rest in rows.sum(axis=0) - rows])
    return Estimate(value, float(without.std() * math.sqrt(count - 1)))


def _reachable(sums: np.ndarray) -> float:
    *energies, variance = sums
    total = np.sum(energies)
    if total == 0:
        return 0.0
    return float(1 - np.square(energies).sum() / (4 * variance * total))
