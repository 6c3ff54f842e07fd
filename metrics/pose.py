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
from tqdm import tqdm

from metrics.variety import TIMES, Estimate, mean_estimate, random_stream
from metrics.video_sources import code_spec, to_uint8_pv3d
from training import synthetic
from training.cameras import LOOK_AT, canonical_label, frontal_label
from training.checkpoints.snapshots import Snapshot
from training.sampling.clips import generate_views
from training.synthetic.motion import PITCH_RANGE, YAW_RANGE

POSE, LEARNING, HELD_OUT = 2, 3, 4  # streams of random numbers, beside those of metrics.variety
SIDE = 64  # of the largest frames that the network sees, pixels
CAMERAS = 4  # asked of each video
WIDTH = CAMERAS * 4  # numbers in a row: yaw and elevation asked for, yaw and elevation seen
STRETCH = 1.2  # cameras to learn from: beyond those asked for, so that no edge attracts
CHANNELS = 16
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.05
BATCH = 32
GAIN, SHIFT, NOISE = 0.3, 0.2, 0.05  # standard deviations of changes to each colour, for frames in [-1, 1]
COARSE = (2, 7)  # every other batch is blurred: averaged over 2 to 6 pixels


@dataclass(frozen=True)
class Effort:
    """How long to learn: frames to learn from, steps, and people (of CAMERAS frames each) to be tested on."""

    frames: int = 1500
    steps: int = 800
    people: int = 64


class PoseRegressor(nn.Module):
    """Frames to viewing directions. Larger frames are averaged down to `side` pixels.

    `floor` is its own score on procedural people whom it has not seen; it is there once it is trained.
    """

    floor: Estimate

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        widths = (3, CHANNELS, 2 * CHANNELS, 4 * CHANNELS, 4 * CHANNELS)
        layers = [
            layer
            for before, after in zip(widths, widths[1:], strict=False)
            for layer in (nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU())
        ]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(64), nn.ReLU(), nn.Linear(64, 2))
        self.register_buffer("centre", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.trunk(torch.zeros(2, 3, side, side))  # gives the lazy layer its size

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, side, side] in [-1, 1] -> yaw and elevation [N, 2], in units of `spread` about `centre`."""
        return self.trunk(frames)

    @torch.inference_mode()
    def angles(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [N, 3, R, R] -> yaw and elevation float64 [N, 2], radians; each frame's do not depend on the others."""
        with _one_thread():
            small = adaptive_avg_pool2d(torch.from_numpy(frames).float(), self.side) / 127.5 - 1
            seen = torch.cat([self(frame) for frame in small.split(1)])
            return (seen * self.spread + self.centre).double().numpy()


def viewing_angles(cameras: np.ndarray) -> np.ndarray:
    """Labels [..., 25] -> yaw (to +x) and elevation (to +y) float64 [..., 2] of the camera from LOOK_AT, radians."""
    x, y, z = np.moveaxis(np.asarray(cameras, dtype=np.float64)[..., [3, 7, 11]] - LOOK_AT, -1, 0)
    return np.stack([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))], axis=-1)


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles [...] between two directions given as yaw and elevation [..., 2]; all in radians."""
    chord = np.linalg.norm(_unit(first) - _unit(second), axis=-1)
    return 2 * np.arcsin(np.minimum(chord / 2, 1))


def _unit(angles: np.ndarray) -> np.ndarray:
    yaw, elevation = angles[..., 0], angles[..., 1]
    return np.stack([np.sin(yaw) * np.cos(elevation), np.sin(elevation), np.cos(yaw) * np.cos(elevation)], axis=-1)


def draw_cameras(rng: np.random.Generator, count: int, stretch: float = 1.0) -> torch.Tensor:
    """Labels [count, 25], uniform in the yaw and pitch of procedural clips (26 degrees to either side)."""
    yaw, pitch = (torch.from_numpy(rng.uniform(-limit, limit, count)) for limit in (YAW_RANGE, PITCH_RANGE))
    return frontal_label(yaw.float() * stretch, pitch.float() * stretch)


def pose_row(snapshot: Snapshot, regressor: PoseRegressor, seed: int, index: int) -> np.ndarray:
    """Video `index` at one moment, seen by CAMERAS cameras: the numbers [WIDTH] that `pose_errors` takes.

    The mapping network is told the canonical camera; codes are those of `gen_videos.py --seeds=index` where seed is 0.
    """
    rng = random_stream(seed, index, POSE)
    cameras, moment = draw_cameras(rng, CAMERAS), TIMES[rng.integers(len(TIMES))]
    spec = replace(code_spec(snapshot, seed, index, canonical_label()[None]), times=moment[None])
    (views,) = generate_views(snapshot.G, spec, list(cameras[:, None]))
    frames = np.concatenate([to_uint8_pv3d(view["image"]).cpu().numpy() for view in views])
    return _row(cameras.numpy(), regressor.angles(frames))


def _row(cameras: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return np.concatenate([viewing_angles(cameras), seen], axis=1).reshape(-1)


def pose_errors(rows: np.ndarray) -> Estimate:
    """The score of rows [N, WIDTH]: mean angle in degrees.

    `yaw_slope` and `elevation_slope` say by how much the angle seen changes with the one asked for: 1 where the view
    follows the camera, 0 where it does not.
    """
    asked, seen = np.moveaxis(rows.reshape(len(rows), CAMERAS, 2, 2), 2, 0)
    slopes = [float(np.polyfit(asked[..., k].ravel(), seen[..., k].ravel(), 1)[0]) for k in range(2)]
    return mean_estimate(
        np.rad2deg(angle_between(asked, seen)).mean(axis=1), yaw_slope=slopes[0], elevation_slope=slopes[1]
    )


def train_pose_regressor(
    resolution: int, seed: int = 0, effort: Effort = Effort(), progress: bool = False
) -> PoseRegressor:
    """A regressor that has learned from procedural frames; about a minute.

    It learns on the CPU, on one thread, whatever runs elsewhere: so it is the same for the same arguments.

    Args:
        resolution: of the frames that it will see, pixels.
    """
    side = min(resolution, SIDE)
    with _one_thread(), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        regressor = PoseRegressor(side)
        frames, cameras = _procedural_frames(side, seed, LEARNING, effort.frames, STRETCH, progress)
        _fit(regressor, frames, viewing_angles(cameras), effort.steps, progress)
        regressor.eval().requires_grad_(False)
    frames, cameras = _procedural_frames(side, seed, HELD_OUT, effort.people, 1.0, progress, CAMERAS)
    shape = (effort.people, CAMERAS, -1)
    seen = regressor.angles(frames).reshape(shape)
    rows = [_row(*pair) for pair in zip(cameras.reshape(shape), seen, strict=True)]
    regressor.floor = pose_errors(np.stack(rows))
    return regressor


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _procedural_frames(
    side: int, seed: int, stream: int, people: int, stretch: float, progress: bool, cameras: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [people * cameras, 3, side, side], somebody else each time, and their cameras."""
    frames, labels = [], []
    for index in tqdm(range(people), desc="procedural heads", dynamic_ncols=True, leave=False, disable=not progress):
        rng = random_stream(seed, index, stream)
        person, motion = (int(number) for number in rng.integers(2**32, size=2))
        identity, expression = synthetic.random_identity(person), synthetic.random_motion(motion, 1).expressions[0]
        for camera in draw_cameras(rng, cameras, stretch).numpy():
            frames.append(synthetic.render_frame(identity, expression, camera, side)[0])
            labels.append(camera)
    return np.stack(frames), np.stack(labels)


def _fit(regressor: PoseRegressor, frames: np.ndarray, angles: np.ndarray, steps: int, progress: bool) -> None:
    """Least squares on random frames; random numbers come from torch's own generator."""
    images, targets = torch.from_numpy(frames).float() / 127.5 - 1, torch.from_numpy(angles).float()
    regressor.centre.copy_(targets.mean(dim=0))
    regressor.spread.copy_(targets.std(dim=0))
    optimizer = torch.optim.AdamW(regressor.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for step in tqdm(range(steps), desc="pose regressor", dynamic_ncols=True, leave=False, disable=not progress):
        chosen = torch.randint(len(images), [BATCH])
        batch, target = _varied(images[chosen], targets[chosen], blurred=step % 2 == 0)
        loss = (regressor(batch) - (target - regressor.centre) / regressor.spread).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _varied(images: torch.Tensor, angles: torch.Tensor, blurred: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames mirrored by chance, in other colours, noisy and blurred: generated ones are never quite procedural."""
    count, side = len(images), images.shape[-1]
    mirrored = torch.rand(count) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    angles = torch.where(mirrored[:, None], angles * torch.tensor([-1.0, 1.0]), angles)
    gain, shift = 1 + GAIN * torch.randn(count, 3, 1, 1), SHIFT * torch.randn(count, 3, 1, 1)
    images = (images * gain + shift).clamp(-1, 1)
    if blurred:
        coarse = adaptive_avg_pool2d(images, side // int(torch.randint(*COARSE, [1])))
        images = interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    return images + NOISE * torch.randn_like(images), angles
