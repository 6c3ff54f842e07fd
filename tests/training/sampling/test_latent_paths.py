"""training.sampling.latent_paths: keys are met, steps between two are even, one key stays."""

import numpy as np
import pytest
import torch

from tests.helpers.tiny import normal
from training.sampling.latent_paths import around, between


@pytest.mark.parametrize("keys, frames", [(2, 5), (3, 9), (4, 4), (3, 3)])
def test_keys_are_met(keys, frames):
    latents = normal(0, keys, 4, 3)
    path = between(latents, frames)
    step = (frames - 1) // (keys - 1)
    assert path.shape == (frames, 4, 3) and torch.equal(path[::step], latents)


def test_steps_are_even():
    path = between(normal(1, 2, 3, dtype=torch.float64), 7)
    steps = path.diff(dim=0)
    assert torch.allclose(steps, steps[:1].expand_as(steps), rtol=0, atol=1e-7)
    assert not torch.allclose(steps, torch.zeros_like(steps))


def test_one_key_stays_and_one_frame_is_the_first_key():
    latents = normal(2, 3, 5)
    assert torch.equal(between(latents[:1], 4), latents[:1].expand(4, -1))
    assert torch.equal(between(latents, 1), latents[:1])


@pytest.mark.parametrize("frames", [3, 7, 12])
def test_a_way_around_goes_on_to_its_first_key(frames):
    keys = torch.tensor([[0.0, 1.0], [6.0, -1.0], [3.0, 5.0]], dtype=torch.float64)
    way = around(keys, frames)
    corners = np.concatenate([keys.numpy(), keys[:1].numpy()])
    moments = np.arange(frames) * 3 / frames
    expected = np.stack([np.interp(moments, np.arange(4), corners[:, axis]) for axis in range(2)], axis=1)
    assert way.shape == (frames, 2) and np.allclose(way.numpy(), expected, atol=1e-6)
    assert torch.equal(way[0], keys[0]) and not torch.equal(way[-1], way[0]), "no frame is shown twice"
