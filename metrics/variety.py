"""`diversity` and `motion`: what a collapsed or a frozen generator of procedural heads lacks.

Both are mean distances of frames in CIELAB, after averaging down to FEATURE_SIDE pixels. So they are in units of the
colour difference dE*ab (CIE 1976): 1 is just visible, 100 is black against white. Nothing is learned, and noise of
single pixels largely averages out. What procedural heads have, seen in the same way, is the number to compare with.

A row of numbers is a pure function of (seed, index); index is the video's number.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from metrics.video_sources import code_spec, scored_times, stored_frames
from training import synthetic
from training.cameras import canonical_label
from training.checkpoints.snapshots import Snapshot
from training.data.streams import Control, Stream
from training.sampling.clips import ClipSpec, generate
from training.sampling.options import PAPER_FRAMES, SamplingOptions

FEATURE_SIDE = 16  # pixels: a mouth is three of them wide; half as much noise as with 32
RENDER_SIDE = 64  # of procedural frames: enough for such features
MOMENTS = range(0, PAPER_FRAMES, 5)  # frames of a video that `motion` compares with one another
WIDTH = 1  # numbers in a row
# sRGB (IEC 61966-2-1) to XYZ, divided by the white point D65; then CIE L*a*b*.
XYZ_OF_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
LAB_OF_ROOTS = np.array(
    [
        [0, 116, 0],
        [500, -500, 0],
        [0, 200, -200],
    ]
)
LAB_KNEE = 6 / 29


@dataclass(frozen=True)
class Estimate:
    """A mean over videos, its standard error (None for one video), and other numbers that belong to it by name."""

    value: float
    standard_error: float | None
    details: dict[str, float] = field(default_factory=dict)


def mean_estimate(values: np.ndarray, **details: float) -> Estimate:
    """Estimate a mean from one number per video, [N] or [N, 1]."""
    numbers = np.asarray(values, dtype=np.float64).reshape(-1)
    count = len(numbers)
    if count == 0:
        return Estimate(math.nan, None, details)
    standard_error = None
    if count > 1:
        standard_error = float(numbers.std(ddof=1) / math.sqrt(count))
    return Estimate(float(numbers.mean()), standard_error, details)


# --- Rows of generated videos -----------------------------------------------------------------------------------------


def diversity_row(snapshot: Snapshot, seed: int, index: int) -> np.ndarray:
    """Return the distance [1] of appearances 2 index and 2 index + 1: one motion, one moment, the canonical camera.

    No two indices share an appearance, so that the rows are independent.
    """
    camera = canonical_label()[None]
    first = code_spec(snapshot, seed, 2 * index, camera)
    second = code_spec(snapshot, seed, 2 * index + 1, camera)
    moment = scored_times(snapshot)[_moment(seed, index)][None]
    first = replace(first, times=moment)
    frames = [
        still_frames(snapshot, first),
        still_frames(snapshot, replace(first, z=second.z)),
    ]
    return _distance_row(np.concatenate(frames))


def motion_row(snapshot: Snapshot, seed: int, index: int) -> np.ndarray:
    """Return the mean distance [1] between frames of video `index` under the canonical camera."""
    moments = scored_times(snapshot)[list(MOMENTS)]
    cameras = canonical_label().expand(len(moments), -1)
    spec = code_spec(snapshot, seed, index, cameras)
    return _distance_row(still_frames(snapshot, replace(spec, times=moments)))


def still_frames(snapshot: Snapshot, spec: ClipSpec) -> np.ndarray:
    """Generate frames uint8 [T, 3, R, R] of a clip one at a time: equal inputs give equal bits, whatever the others."""
    one_at_a_time = SamplingOptions(frames_per_batch=1)
    return stored_frames(generate(snapshot.G, spec, one_at_a_time))


# --- Rows of procedural videos ----------------------------------------------------------------------------------------


def procedural_diversity_row(seed: int, index: int) -> np.ndarray:
    """Return what `diversity_row` would be if procedural heads were generated: two people, one motion."""
    first, second, motion = _seeds(seed, index, Control.DIVERSITY, 3)
    expressions = synthetic.random_motion(motion, PAPER_FRAMES).expressions
    expression = expressions[_moment(seed, index)]
    frames = [render_person(person, expression) for person in (first, second)]
    return _distance_row(np.stack(frames))


def procedural_motion_row(fps: float, seed: int, index: int) -> np.ndarray:
    """Return what `motion_row` would be if procedural heads of `fps` frames a second were generated.

    Rendered anew, for the cameras of a dataset's clips move.
    """
    person, motion = _seeds(seed, index, Control.MOTION, 2)
    expressions = synthetic.random_motion(motion, PAPER_FRAMES, fps).expressions
    frames = [render_person(person, expressions[moment]) for moment in MOMENTS]
    return _distance_row(np.stack(frames))


def render_person(person: int, expression: synthetic.Expression) -> np.ndarray:
    """Render uint8 [3, 64, 64] of a person under the canonical camera."""
    identity = synthetic.random_identity(person)
    camera = canonical_label().numpy()
    image, _ = synthetic.render_frame(identity, expression, camera, RENDER_SIDE)
    return image


# --- Distances in CIELAB ----------------------------------------------------------------------------------------------


def _distance_row(frames: np.ndarray) -> np.ndarray:
    """Return the mean distance of frames uint8 [N, 3, H, W] as a row [1]."""
    return np.array([mean_distance(lab_features(frames))])


def lab_features(frames: np.ndarray) -> np.ndarray:
    """Return CIELAB float64 [N, 3, 16, 16] of averages of frames uint8 [N, 3, H, W] (L* 0 to 100)."""
    levels = torch.from_numpy(frames).double() / 255
    small = adaptive_avg_pool2d(levels, FEATURE_SIDE).numpy()
    linear = np.where(small <= 0.04045, small / 12.92, ((small + 0.055) / 1.055) ** 2.4)
    white = XYZ_OF_RGB.sum(axis=1, keepdims=True)
    relative = np.einsum("ij,njhw->nihw", XYZ_OF_RGB / white, linear)
    near_black = relative / (3 * LAB_KNEE**2) + 4 / 29
    roots = np.where(relative > LAB_KNEE**3, np.cbrt(relative), near_black)
    lab = np.einsum("ij,njhw->nihw", LAB_OF_ROOTS, roots)
    lab[:, 0] -= 16
    return lab


def mean_distance(features: np.ndarray) -> float:
    """Return the mean dE*ab over pixels and over all pairs of frames; CIELAB [N, 3, H, W], N >= 2."""
    first, second = np.triu_indices(len(features), k=1)
    differences = features[first] - features[second]
    return float(np.linalg.norm(differences, axis=1).mean())


# --- Random numbers ---------------------------------------------------------------------------------------------------


def random_stream(seed: int, index: int, control: int) -> np.random.Generator:
    """Return the random numbers of a video for one of the controls."""
    return np.random.default_rng([seed, index, Stream.CONTROLS, control])


def _moment(seed: int, index: int) -> int:
    """Draw the number of a frame."""
    rng = random_stream(seed, index, Control.DIVERSITY)
    return int(rng.integers(PAPER_FRAMES))


def _seeds(seed: int, index: int, control: int, count: int) -> list[int]:
    """Draw seeds of procedural people and motions, none of them a clip's of a dataset but by chance."""
    numbers = random_stream(seed, index, control).integers(2**32, size=1 + count)
    return numbers[1:].tolist()  # the first one is the moment's
