"""metrics.frame_regressor: it learns what frames show, mirrored ones too, and reads each frame alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from metrics.frame_regressor import Design, FrameRegressor, learned_regressor

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 16
DESIGN = Design(name="spot", signs=(-1.0, 1.0), layers=((8, 2), (16, 2)), coarse=(2, 3))


def spots(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [N, 3, 16, 16] of a white square on black, and where its middle is [N, 2], right and down from 0."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, SIDE - 3, [count, 2])
    frames = np.zeros([count, 3, SIDE, SIDE], dtype=np.uint8)
    for frame, (x, y) in zip(frames, corners, strict=True):
        frame[:, y : y + 4, x : x + 4] = 255
    return frames, corners + 2 - SIDE / 2


def learn(frames: np.ndarray, truth: np.ndarray, steps: int, seed: int = 0, design: Design = DESIGN) -> FrameRegressor:
    return learned_regressor(design, frames, truth, steps=steps, seed=seed, progress=False)


@pytest.fixture(scope="module")
def learned() -> FrameRegressor:
    return learn(*spots(200, 0), steps=200)


def test_it_learns_where_a_spot_is(learned):
    frames, places = spots(50, 1)
    seen = learned.read(frames)
    assert seen.dtype == np.float64
    for axis in range(2):
        assert np.corrcoef(seen[:, axis], places[:, axis])[0, 1] > 0.95


def test_mirrored_frames_teach_mirrored_numbers(learned):
    """Spots that are only ever on the left are found on the right, if the sign says so; else as if on the left."""
    frames, places = spots(400, 2)
    left = places[:, 0] < 0
    mirrored = frames[left][..., ::-1].copy()
    right = -places[left][:, 0]
    follows = learn(frames[left], places[left], 200).read(mirrored)[:, 0]
    assert np.corrcoef(follows, right)[0, 1] > 0.9
    unsigned = replace(DESIGN, signs=(1.0, 1.0))
    stays = learn(frames[left], places[left], 200, design=unsigned).read(mirrored)[:, 0]
    assert np.corrcoef(stays, right)[0, 1] < -0.9


def test_frames_are_read_one_by_one_at_any_size(learned):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, [3, 3, SIDE, SIDE], dtype=np.uint8)
    numbers = learned.read(frames)
    assert numbers.shape == (3, 2)
    assert np.array_equal(numbers[1:2], learned.read(frames[1:2])), "to the last bit"
    large = frames.repeat(4, axis=2).repeat(4, axis=3)
    assert_allclose(learned.read(large), numbers, rtol=1e-4)


def test_learning_is_a_pure_function_of_its_arguments():
    """Whatever the caller's threads, random numbers or gradient mode."""
    frames, places = spots(20, 3)
    first = learn(frames, places, 3)
    state = torch.random.get_rng_state()
    torch.set_num_threads(2)
    with torch.inference_mode():
        again = learn(frames, places, 3)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), state)
    other = learn(frames, places, 3, seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.trunk[0].weight, other.trunk[0].weight)
    assert not any(parameter.requires_grad for parameter in again.parameters())
