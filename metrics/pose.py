"""`pose`: the angle between the camera asked for and the one seen in generated frames of procedural heads, degrees.

A small network learns on procedural frames, where the truth is known, from which direction a frame was taken: the
direction from the middle of the face (LOOK_AT) to the camera, as yaw and elevation in the world. Procedural heads turn
a little while they talk (about 3 degrees), and their cameras do not turn along. So the frames that it learns from have
turned heads too, and the truth stays the camera: what a generator of such clips is asked for. What the network itself
errs, on people it has never seen, is the floor: the score of a perfect generator.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from dnnlib.progress import Counter, counted
from metrics.variety import Estimate, mean_estimate, random_stream
from metrics.video_sources import code_spec, scored_times, stored_frames
from training import synthetic
from training.cameras import LOOK_AT, canonical_label, frontal_label
from training.checkpoints.snapshots import Snapshot
from training.data.streams import Control
from training.sampling.clips import generate_views
from training.synthetic.motion import PITCH_RANGE, YAW_RANGE

SIDE = 64  # of the largest frames that the network sees, pixels
CAMERAS = 4  # asked of each video
WIDTH = CAMERAS * 4  # numbers in a row: yaw and elevation asked for, yaw and elevation seen
STRETCH = 1.2  # cameras to learn from: beyond those asked for, so that no edge attracts
CHANNELS = 16
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
BATCH = 32
# Standard deviations of changes to each colour, for frames in [-1, 1].
GAIN = 0.3
SHIFT = 0.2
NOISE = 0.05
COARSE = (2, 7)  # every other batch is blurred: averaged over 2 to 6 pixels


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


def draw_cameras(rng: np.random.Generator, count: int, stretch: float = 1.0) -> torch.Tensor:
    """Draw labels [count, 25], uniform in the yaw and pitch of procedural clips (26 degrees to either side)."""
    yaw = torch.from_numpy(rng.uniform(-YAW_RANGE, YAW_RANGE, count))
    pitch = torch.from_numpy(rng.uniform(-PITCH_RANGE, PITCH_RANGE, count))
    return frontal_label(yaw.float() * stretch, pitch.float() * stretch)


# --- The score --------------------------------------------------------------------------------------------------------


class PoseRegressor(nn.Module):
    """Frames to viewing directions. Larger frames are averaged down to `side` pixels.

    `floor` is its own score on procedural people whom it has not seen; it is there once it is trained.
    """

    floor: Estimate
    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        self.trunk = nn.Sequential()
        channels = 3
        for width in (CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS):
            self.trunk.extend(
                [
                    nn.Conv2d(channels, width, 3, stride=2, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
            )
            channels = width
        self.trunk.extend(
            [
                nn.Flatten(),
                nn.LazyLinear(64),
                nn.ReLU(),
                nn.Linear(64, 2),
            ]
        )
        self.register_buffer("centre", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.trunk(torch.zeros(2, 3, side, side))  # gives the lazy layer its size

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return yaw and elevation [N, 2], in units of `spread` about `centre`, of [N, 3, side, side] in [-1, 1]."""
        return self.trunk(frames)

    @torch.inference_mode()
    def angles(self, frames: np.ndarray) -> np.ndarray:
        """Return yaw and elevation float64 [N, 2], radians, of uint8 [N, 3, R, R]; each frame's from it alone."""
        with _one_thread():
            small = adaptive_avg_pool2d(torch.from_numpy(frames).float(), self.side) / 127.5 - 1
            seen = torch.cat([self(frame) for frame in small.split(1)])
            angles = seen * self.spread + self.centre
        return angles.double().numpy()


def pose_row(snapshot: Snapshot, regressor: PoseRegressor, seed: int, index: int) -> np.ndarray:
    """Return the numbers [WIDTH] of video `index` at one moment, seen by CAMERAS cameras, that `pose_errors` takes.

    The mapping network is given the canonical camera; codes are those of `gen_videos.py --seeds=index` where seed is 0.
    """
    rng = random_stream(seed, index, Control.POSE)
    cameras = draw_cameras(rng, CAMERAS)
    times = scored_times(snapshot)
    moment = times[rng.integers(len(times))]
    spec = replace(code_spec(snapshot, seed, index, canonical_label()[None]), times=moment[None])
    (views,) = generate_views(snapshot.G, spec, list(cameras[:, None]))
    return _row(cameras.numpy(), regressor.angles(stored_frames(views)))


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
    resolution: int, seed: int = 0, effort: Effort = Effort(), progress: bool = False
) -> PoseRegressor:
    """Return a regressor that has learned from procedural frames; about a minute.

    It learns on the CPU, on one thread, whatever runs elsewhere: so it is the same for the same arguments.

    Args:
        resolution: of the frames that it will see, pixels.
    """
    side = min(resolution, SIDE)
    with _one_thread(), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        regressor = PoseRegressor(side)
        frames, cameras = _procedural_frames(
            side=side,
            seed=seed,
            stream=Control.POSE_LEARNING,
            people=effort.frames,
            cameras=1,
            stretch=STRETCH,
            progress=progress,
        )
        _fit(regressor, frames, viewing_angles(cameras), effort.steps, progress)
        regressor.eval().requires_grad_(False)
    frames, cameras = _procedural_frames(
        side=side,
        seed=seed,
        stream=Control.POSE_HELD_OUT,
        people=effort.people,
        cameras=CAMERAS,
        stretch=1.0,
        progress=progress,
    )
    asked = cameras.reshape(effort.people, CAMERAS, -1)
    seen = regressor.angles(frames).reshape(effort.people, CAMERAS, -1)
    rows = [_row(asked[person], seen[person]) for person in range(effort.people)]
    regressor.floor = pose_errors(np.stack(rows))
    return regressor


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, so that sums are taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _procedural_frames(
    *, side: int, seed: int, stream: int, people: int, cameras: int, stretch: float, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames uint8 [people * cameras, 3, side, side] of procedural heads, and the labels of their cameras."""
    frames = []
    labels = []
    for index in _counted(range(people), "procedural heads", "head", progress):
        rng = random_stream(seed, index, stream)
        person, motion = rng.integers(2**32, size=2)
        identity = synthetic.random_identity(int(person))
        expression = synthetic.random_motion(int(motion), 1).expressions[0]
        for label in draw_cameras(rng, cameras, stretch).numpy():
            image, _ = synthetic.render_frame(identity, expression, label, side)
            frames.append(image)
            labels.append(label)
    return np.stack(frames), np.stack(labels)


def _counted(numbers: range, title: str, unit: str, progress: bool) -> Iterator[int]:
    with Counter(len(numbers), title=title, unit=unit, leave=False, silent=not progress) as counter:
        yield from counted(numbers, counter)


def _fit(regressor: PoseRegressor, frames: np.ndarray, angles: np.ndarray, steps: int, progress: bool) -> None:
    """Fit by least squares on random frames; random numbers come from torch's own generator."""
    images = torch.from_numpy(frames).float() / 127.5 - 1
    targets = torch.from_numpy(angles).float()
    regressor.centre.copy_(targets.mean(dim=0))
    regressor.spread.copy_(targets.std(dim=0))
    optimizer = torch.optim.AdamW(regressor.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in _counted(range(steps), "pose regressor", "step", progress):
        chosen = torch.randint(len(images), [BATCH])
        batch, target = _varied(images[chosen], targets[chosen], blurred=step % 2 == 0)
        scaled = (target - regressor.centre) / regressor.spread
        loss = (regressor(batch) - scaled).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _varied(images: torch.Tensor, angles: torch.Tensor, blurred: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames mirrored by chance, in other colours, noisy and blurred, and the angles that they show then.

    For generated frames are never quite procedural.
    """
    count = len(images)
    side = images.shape[-1]
    mirrored = torch.rand(count) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    angles = torch.where(mirrored[:, None], angles * torch.tensor([-1.0, 1.0]), angles)
    gain = 1 + GAIN * torch.randn(count, 3, 1, 1)
    shift = SHIFT * torch.randn(count, 3, 1, 1)
    images = (images * gain + shift).clamp(-1, 1)
    if blurred:
        pixels = int(torch.randint(*COARSE, [1]))
        coarse = adaptive_avg_pool2d(images, side // pixels)
        images = interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    return images + NOISE * torch.randn_like(images), angles
