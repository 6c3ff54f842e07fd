"""What fades over training, the blur, and how stored clips become frames to judge."""

import math

import pytest
import torch
from torch.testing import assert_close

from dnnlib.options import override
from tests.helpers import golden, tiny
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from training.config import Config
from training.judged import blur
from training.loss import Loss, Schedule, schedule

BLURRED = Schedule(blur_sigma=1.5, swap_probability=0.0)


@pytest.fixture
def loss() -> Loss:
    options = tiny.config()
    return tiny.loss(tiny.networks(options), options)


# --- Schedule ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clips, sigma, swap",
    [
        (0, 10, 1),
        (25_000, 7.5, 0.9875),
        (50_000, 5, 0.975),
        (100_000, 0, 0.95),
        (500_000, 0, 0.75),
        (1_000_000, 0, 0.5),
        (4_000_000, 0, 0.5),
    ],
)
def test_schedule(clips, sigma, swap):
    """Blur fades over 200 * batch / 32 kimg (batch 16: 100), swapping to one half over 1000 kimg."""
    now = schedule(Config(), clips)
    assert now.blur_sigma == pytest.approx(sigma)
    assert now.swap_probability == pytest.approx(swap)
    twice_the_batch = override(Config(), {"training.batch": 32})
    then = schedule(twice_the_batch, clips * 2)
    assert then.blur_sigma == pytest.approx(sigma)


def test_schedules_that_do_not_fade():
    config = override(Config(), {"loss.blur_fade_factor": 0.0, "loss.swap_fade_kimg": 0.0})
    assert schedule(config, 0) == Schedule(blur_sigma=0.0, swap_probability=0.5)


# --- Blur -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [2.5, 0.9])
def test_blur_matches_golden(sigma):
    """Its taps are 2^-((k / sigma)^2), |k| <= floor(3 sigma), normalised."""
    case = f"blur_sigma{sigma}"
    reach = math.floor(3 * sigma)
    k = torch.arange(-reach, reach + 1)
    taps = 2 ** -((k / sigma) ** 2)
    expected = golden.tensor("ops", f"{case}_f")
    assert_close(taps / taps.sum(), expected)
    x = golden.tensor("ops", f"{case}_x").requires_grad_()
    dy = golden.tensor("ops", f"{case}_dy")
    y = blur(x, sigma)
    (dx,) = torch.autograd.grad(y, x, dy)
    golden.check("ops", f"{case}_y", y)
    golden.check("ops", f"{case}_dx", dx)


def test_blur_ends_when_no_neighbour_counts():
    x = tiny.normal(0, 1, 3, 8, 8)
    assert blur(x, 0.0) is x
    assert blur(x, 0.33) is x
    assert blur(x, 0.34) is not x


def test_frames_are_blurred_and_raw_images_are_not(loss, monkeypatch):
    of_frames = spy(monkeypatch, loss.D_img, "forward")
    of_pairs = spy(monkeypatch, loss.D_vid, "forward")
    frames = tiny.reals(loss.config)
    loss.judge(frames, BLURRED)
    soft = blur(frames.image, BLURRED.blur_sigma)
    image, image_raw, *_ = of_frames[0].inputs
    pairs, *_ = of_pairs[0].inputs
    images_of_pairs = pairs[:, :6]
    assert torch.equal(image, soft)
    assert torch.equal(image_raw, frames.image_raw)
    assert torch.equal(images_of_pairs, soft.reshape(2, 6, 32, 32))


# --- Real frames ------------------------------------------------------------------------------------------------------


def test_raw_images_of_reals_are_blurred(loss):
    """Their frames are blurred later, with those of fakes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    times = torch.zeros(2, 2)
    cameras = tiny.labels(0, 2, 2)
    sharp = loss.real_frames(images, times, cameras, CALM)
    soft = loss.real_frames(images, times, cameras, BLURRED)
    assert torch.equal(soft.image, sharp.image)
    expected = blur(sharp.image_raw, BLURRED.blur_sigma)
    assert torch.equal(soft.image_raw, expected)


def test_real_frames_are_scaled_and_shrunk(loss):
    images = torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8)
    images[1, 0] = 255
    cameras = tiny.labels(0, 2, 2)
    times = torch.zeros(2, 2)
    frames = loss.real_frames(images, times, cameras, CALM)
    assert (frames.image[:2] == -1).all()
    assert (frames.image[2] == 1).all()
    assert frames.image_raw.shape == (4, 3, 8, 8)
    assert_close(frames.image_raw[2], torch.ones(3, 8, 8))
    assert torch.equal(frames.cameras, cameras.flatten(0, 1))
