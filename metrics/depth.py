"""`depth` and `background`: does the geometry of a generator agree with what its frames show? For procedural heads.

A small network learns on procedural frames, where the truth is known, how far each place of a frame is away, and what
is the person and what the room. It is asked about generated frames; the depth that the generator rendered with them is
compared with its answer, over the person. A flat picture of a head has the right frames and the wrong depth: it is
this that no score of pictures sees. What the network itself errs, on people it has never seen, is the floor: the score
of a perfect generator.
"""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, interpolate

from metrics.frame_regressor import Lesson, fit, learning, one_thread
from metrics.pose import STRETCH, draw_cameras, procedural_views
from metrics.variety import Estimate, mean_estimate, random_stream
from metrics.video_sources import code_spec, scored_times, stored_frames
from training import synthetic
from training.cameras import canonical_label
from training.checkpoints.snapshots import Snapshot
from training.data.streams import Control
from training.sampling.clips import generate_views

SIDE = 64  # of the frames that the network sees, pixels
MAP_SIDE = 32  # of what it gives: a nose is three places wide
CAMERAS = 2  # asked of each video
WIDTH = CAMERAS * 5  # numbers in a row: those of `agreement` for each view
CHANNELS = (24, 48, 96)  # at 32, 16, 8 pixels
FINE = (32, 16)  # on the way back, at 16 and 32
SURE = 0.95  # least probability of a place that counts as the person, or as the room
FEW = 20  # places of the person below which a frame shows none
# While it learns: of the room's depth beside the person's, and of telling the two apart beside depth.
WEIGHT_OF_ROOM = 0.2
WEIGHT_OF_PERSON = 0.3


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long to learn: frames to learn from, steps, and people (of CAMERAS frames each) to be tested on."""

    frames: int = 1500
    steps: int = 1000
    people: int = 64


# --- The network ------------------------------------------------------------------------------------------------------


class DepthRegressor(nn.Module):
    """Frames [N, 3, SIDE, SIDE] in [-1, 1] to [N, 2, MAP_SIDE, MAP_SIDE]: scaled depth, logit of being the person.

    `floor` are its own scores on procedural people whom it has not seen, by metric; they are there once it is trained.
    """

    floor: dict[str, Estimate]
    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CHANNELS)
        self.down = nn.ModuleList(_block(a, b, stride=2) for a, b in itertools.pairwise(widths))
        deepest = CHANNELS[-1]
        self.whole = nn.Linear(deepest, deepest)  # what is seen as a whole: how near the head is, from which side
        self.deep = _block(deepest, deepest)
        self.up = nn.ModuleList(
            [_block(deepest + CHANNELS[1], FINE[0]), _block(FINE[0] + CHANNELS[0], FINE[1])],
        )
        self.out = nn.Conv2d(FINE[1], 2, 1)
        self.register_buffer("centre", torch.zeros([]))  # of depths, world units
        self.register_buffer("spread", torch.ones([]))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return scaled depth and logit."""
        seen = []
        x = frames
        for block in self.down:
            x = block(x)
            seen.append(x)
        overall = self.whole(x.mean(dim=(2, 3)))
        x = self.deep(x + overall[:, :, None, None])
        for block, skip in zip(self.up, reversed(seen[:-1]), strict=True):
            x = interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        return self.out(x)

    @torch.inference_mode()
    def read(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return depth, world units, and the probability of being the person, of uint8 [N, 3, R, R].

        Both float64 [N, MAP_SIDE, MAP_SIDE]; each frame's from it alone.
        """
        with one_thread():
            small = adaptive_avg_pool2d(torch.from_numpy(frames).float(), SIDE) / 127.5 - 1
            depth, logit = torch.cat([self(frame) for frame in small.split(1)]).double().unbind(dim=1)
            depth = depth * self.spread + self.centre
        return depth.numpy(), logit.sigmoid().numpy()


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


# --- The score --------------------------------------------------------------------------------------------------------


def depth_row(snapshot: Snapshot, regressor: DepthRegressor, seed: int, index: int) -> np.ndarray:
    """Return the numbers [WIDTH] of video `index` at one moment, seen by CAMERAS cameras.

    The mapping network is given the canonical camera, or as of `generate_views`; codes are those of
    `gen_videos.py --seeds=index` where seed is 0.
    """
    rng = random_stream(seed, index, Control.DEPTH)
    cameras = draw_cameras(rng, CAMERAS)
    times = scored_times(snapshot)
    moment = times[rng.integers(len(times))]
    spec = replace(code_spec(snapshot, seed, index, canonical_label()[None]), times=moment[None])
    (views,) = generate_views(snapshot.G, spec, list(cameras[:, None]))
    rendered = np.concatenate([coarse(view["image_depth"].cpu().double()) for view in views])
    return _row(rendered, regressor, stored_frames(views))


def coarse(depth: torch.Tensor) -> np.ndarray:
    """Return depth [N, 1, r, r] at the network's places: float64 [N, MAP_SIDE, MAP_SIDE]."""
    size = (MAP_SIDE, MAP_SIDE)
    if depth.shape[-1] >= MAP_SIDE:
        return adaptive_avg_pool2d(depth, MAP_SIDE)[:, 0].numpy()
    return interpolate(depth, size=size, mode="bilinear", align_corners=False)[:, 0].numpy()


def _row(depths: np.ndarray, regressor: DepthRegressor, frames: np.ndarray) -> np.ndarray:
    """Return the numbers [WIDTH] of CAMERAS frames whose depths are to be judged."""
    views = zip(depths, *regressor.read(frames), strict=True)
    return np.concatenate([agreement(*view) for view in views])


def agreement(depth: np.ndarray, seen: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Compare a depth with the one that the frame shows, over the person.

    Args:
        depth, seen: [H, W], world units.
        person: [H, W], probability of being the person.

    Returns:
        correlation (0 where the depth is flat), relief: the slope of the depth with the one seen, error: what is left
        of the depth seen after the best scale and shift of the other, rms in world units, and how much farther away
        the room is than the person, of the depth and of the one seen. NaN where the frame shows no person.
    """
    inside = person > SURE
    outside = person < 1 - SURE
    if inside.sum() < FEW:
        return np.full(5, np.nan)
    ours = depth[inside] - depth[inside].mean()
    theirs = seen[inside] - seen[inside].mean()
    product = (ours * theirs).mean()
    ours_power = (ours**2).mean()
    theirs_power = (theirs**2).mean()
    correlation = product / np.sqrt(ours_power * theirs_power) if ours_power > 0 else 0.0
    error = np.sqrt(theirs_power * max(1 - correlation**2, 0))
    gaps = [np.nan, np.nan]
    if outside.sum() >= FEW:
        gaps = [float(np.median(values[outside]) - np.median(values[inside])) for values in (depth, seen)]
    return np.array([correlation, product / theirs_power, error, *gaps])


def depth_score(rows: np.ndarray) -> Estimate:
    """Return the score of rows [N, WIDTH]: the mean correlation.

    `without_person` is the share of frames that show none; their correlation counts as 0.
    """
    numbers = rows.reshape(len(rows), CAMERAS, -1)
    correlation, relief, error, *_ = np.moveaxis(numbers, 2, 0)
    with_person = ~np.isnan(correlation)
    correlation = np.where(with_person, correlation, 0)
    return mean_estimate(
        correlation.mean(axis=1),
        relief=_mean(relief),
        error=_mean(error),
        without_person=1 - float(with_person.mean()),
    )


def background_score(rows: np.ndarray) -> Estimate:
    """Return how much farther away the room is than the person: mean over rows, world units; `seen`: in the frames."""
    numbers = rows.reshape(len(rows), CAMERAS, -1)
    *_, gap, seen = np.moveaxis(numbers, 2, 0)
    by_video = [_mean(views) for views in gap]
    found = np.array([value for value in by_video if not np.isnan(value)])
    return mean_estimate(found, seen=_mean(seen))


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that there are; NaN of none."""
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


# --- Learning ---------------------------------------------------------------------------------------------------------


def train_depth_regressor(seed: int = 0, effort: Effort = Effort(), progress: bool = False) -> DepthRegressor:
    """Return a regressor of depth that has learned from procedural frames; about three minutes."""
    frames, truth = _procedural_frames(seed, Control.DEPTH_LEARNING, effort.frames, 1, STRETCH, progress)
    targets = torch.from_numpy(truth)
    depth = targets[:, 0]
    with learning(seed):
        regressor = DepthRegressor()
        regressor.centre.copy_(depth.mean())
        regressor.spread.copy_(depth.std())

        def loss(found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            wanted = (target[:, 0] - regressor.centre) / regressor.spread
            person = target[:, 1]
            distance = (found[:, 0] - wanted).abs() * (WEIGHT_OF_ROOM + person)
            apart = binary_cross_entropy_with_logits(found[:, 1], person)
            return distance.mean() + WEIGHT_OF_PERSON * apart

        lesson = Lesson(
            name="depth regressor",
            coarse=(2, 4),
            mirror=lambda shown: shown.flip(3),
            loss=loss,
            steps=effort.steps,
        )
        fit(regressor, frames, targets, lesson, progress)
    regressor.eval().requires_grad_(False)

    frames, truth = _procedural_frames(seed, Control.DEPTH_HELD_OUT, effort.people, CAMERAS, 1.0, progress)
    views = zip(truth[:, 0].reshape(-1, CAMERAS, MAP_SIDE, MAP_SIDE), np.split(frames, effort.people), strict=True)
    rows = np.stack([_row(depths.astype(np.float64), regressor, images) for depths, images in views])
    regressor.floor = {"depth": depth_score(rows), "background": background_score(rows)}
    return regressor


def _procedural_frames(
    seed: int, stream: int, people: int, cameras: int, stretch: float, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return frames uint8 [people * cameras, 3, SIDE, SIDE], and what they show [.., 2, MAP_SIDE, MAP_SIDE].

    Depth in world units, and the share of a place that is the person.
    """
    frames = []
    shown = []
    for image, depth, label in procedural_views(
        side=SIDE, seed=seed, stream=stream, people=people, cameras=cameras, stretch=stretch, progress=progress
    ):
        truth = np.stack([depth, synthetic.is_person(depth, label)])
        frames.append(image)
        shown.append(adaptive_avg_pool2d(torch.from_numpy(truth).float(), MAP_SIDE).numpy())
    return np.stack(frames), np.stack(shown)
