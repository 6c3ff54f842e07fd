"""A small network that reads numbers off frames, such as the direction of the camera, learned from procedural frames.

Generated frames are never quite procedural. So it learns from frames that are mirrored by chance, in other colours,
noisy and blurred. It learns and reads on the CPU, on one thread, whatever runs elsewhere: equal arguments give equal
bits.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from dnnlib.progress import Counter, counted
from metrics.variety import Estimate
from torch_utils.runtime import full_float32

HIDDEN = 64  # features behind the convolutions
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.05
BATCH = 32
# Standard deviations of changes to each colour, for frames in [-1, 1].
GAIN = 0.3
SHIFT = 0.2
NOISE = 0.05

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a regressor is, and how frames vary while it learns.

    Args:
        name: what it is called while it learns.
        signs: a factor for each number that it reads, by which that changes when a frame is mirrored.
        layers: features and stride of each convolution.
        coarse: every other batch is blurred: averaged over that many pixels, [low, high).
    """

    name: str
    signs: tuple[float, ...]
    layers: tuple[tuple[int, int], ...]
    coarse: tuple[int, int]


class FrameRegressor(nn.Module):
    """Frames to K numbers. Larger frames are averaged down to `side` pixels.

    `floor` is its own score on procedural people whom it has not seen; it is there once it is trained.
    """

    floor: Estimate
    centre: torch.Tensor
    spread: torch.Tensor

    def __init__(self, side: int, design: Design):
        super().__init__()
        self.side = side
        outputs = len(design.signs)
        self.trunk = nn.Sequential()
        channels = 3
        for width, stride in design.layers:
            self.trunk.extend(
                [
                    nn.Conv2d(channels, width, 3, stride=stride, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
            )
            channels = width
        self.trunk.extend(
            [
                nn.Flatten(),
                nn.LazyLinear(HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, outputs),
            ]
        )
        self.register_buffer("centre", torch.zeros(outputs))
        self.register_buffer("spread", torch.ones(outputs))
        self.trunk(torch.zeros(2, 3, side, side))  # gives the lazy layer its size

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return numbers [N, K], in units of `spread` about `centre`, of [N, 3, side, side] in [-1, 1]."""
        return self.trunk(frames)

    @torch.inference_mode()
    @full_float32()
    def read(self, frames: np.ndarray) -> np.ndarray:
        """Return float64 [N, K] of uint8 [N, 3, R, R]; each frame's numbers from it alone."""
        with one_thread():
            small = adaptive_avg_pool2d(torch.from_numpy(frames).float(), self.side) / 127.5 - 1
            seen = torch.cat([self(frame) for frame in small.split(1)])
            numbers = seen * self.spread + self.centre
        return numbers.double().numpy()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that sums are taken in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- Learning ---------------------------------------------------------------------------------------------------------


def learned_regressor(
    design: Design, frames: np.ndarray, truth: np.ndarray, *, steps: int, seed: int, progress: bool
) -> FrameRegressor:
    """Return a regressor that has learned from frames uint8 [N, 3, side, side] and their numbers [N, K]."""
    signs = torch.tensor(design.signs)
    with learning(seed):
        regressor = FrameRegressor(frames.shape[-1], design)
        targets = torch.from_numpy(truth).float()
        regressor.centre.copy_(targets.mean(dim=0))
        regressor.spread.copy_(targets.std(dim=0))

        def loss(found: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return (found - (target - regressor.centre) / regressor.spread).square().mean()

        def mirror(numbers: torch.Tensor) -> torch.Tensor:
            return numbers * signs

        lesson = Lesson(name=design.name, coarse=design.coarse, mirror=mirror, loss=loss, steps=steps)
        fit(regressor, frames, targets, lesson, progress)
    return regressor.eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How a network learns what frames show.

    Args:
        name, coarse: as of `Design`.
        mirror: what frames show -> what their mirror images show.
        loss: what the network gives for frames, what they show -> a number to make small.
        steps: how often it is shown BATCH frames.
    """

    name: str
    coarse: tuple[int, int]
    mirror: Callable[[torch.Tensor], torch.Tensor]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    steps: int


@contextlib.contextmanager
def learning(seed: int) -> Iterator[None]:
    """Compute gradients on one thread, with random numbers of a seed; torch's own go on afterwards as if not used."""
    with one_thread(), torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def fit(network: nn.Module, frames: np.ndarray, targets: torch.Tensor, lesson: Lesson, progress: bool) -> None:
    """Fit a network to frames uint8 [N, 3, side, side] and what they show [N, ...], in random order."""
    images = torch.from_numpy(frames).float() / 127.5 - 1
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=lesson.steps)
    for step in watched(range(lesson.steps), lesson.name, "step", progress):
        chosen = torch.randint(len(images), [BATCH])
        batch, target = _varied(images[chosen], targets[chosen], lesson, blurred=step % 2 == 0)
        loss = lesson.loss(network(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _varied(
    images: torch.Tensor, shown: torch.Tensor, lesson: Lesson, blurred: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return frames mirrored by chance, in other colours, noisy and blurred, and what they show then."""
    count = len(images)
    side = images.shape[-1]
    mirrored = torch.rand(count) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    shown = torch.where(mirrored.reshape(-1, *[1] * (shown.ndim - 1)), lesson.mirror(shown), shown)
    gain = 1 + GAIN * torch.randn(count, 3, 1, 1)
    shift = SHIFT * torch.randn(count, 3, 1, 1)
    images = (images * gain + shift).clamp(-1, 1)
    if blurred:
        pixels = int(torch.randint(*lesson.coarse, [1]))
        coarse = adaptive_avg_pool2d(images, side // pixels)
        images = interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    return images + NOISE * torch.randn_like(images), shown


def watched(items: Iterable[Item], title: str, unit: str, progress: bool) -> Iterator[Item]:
    """Yield the same items; show how many are done, if progress is wanted."""
    everything = list(items)
    with Counter(len(everything), title=title, unit=unit, leave=False, silent=not progress) as counter:
        yield from counted(everything, counter)
