"""training.latent_components: principal components against a singular value decomposition, and whose they are."""

import numpy as np
import pytest
import torch

from tests.helpers import tiny
from training.cameras import frontal_label
from training.data.pairs import CameraSampler
from training.latent_components import BATCH, first_cameras, latent_batches, principal_components, set_components

D = 8


def vectors(count: int = 500) -> torch.Tensor:
    """Return vectors [count, D] of very different deviations, far from the origin."""
    mixed = tiny.normal(0, count, D, dtype=torch.float64) * torch.logspace(1, -3, D, dtype=torch.float64)
    return mixed @ torch.linalg.qr(tiny.normal(1, D, D, dtype=torch.float64))[0] + 1000


def test_they_are_those_of_a_singular_value_decomposition():
    data = vectors()
    found = principal_components(data.split(70))
    _, values, rows = torch.linalg.svd(data - data.mean(dim=0), full_matrices=False)
    torch.testing.assert_close(found.deviations, values / (len(data) - 1) ** 0.5, rtol=1e-6, atol=0)
    cosines = (found.rows * rows).sum(dim=1)
    torch.testing.assert_close(cosines.abs(), torch.ones(D, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.rows @ found.rows.mT, torch.eye(D, dtype=torch.float64))
    assert (found.deviations.diff() <= 0).all()
    assert (found.rows.gather(1, found.rows.abs().argmax(dim=1, keepdim=True)) > 0).all(), "no sign is left to chance"


@pytest.mark.parametrize("size", [1, 33, 500])
def test_batches_do_not_matter(size):
    data = vectors()
    found, whole = principal_components(data.split(size)), principal_components([data])
    torch.testing.assert_close(found.deviations, whole.deviations, rtol=1e-7, atol=0)
    torch.testing.assert_close(found.rows, whole.rows, rtol=0, atol=1e-7)


def test_fewer_vectors_than_numbers_have_deviations_of_zero():
    found = principal_components([vectors(4)])
    assert (found.deviations[3:] < 1e-5).all() and (found.deviations[:3] > 1e-3).all()
    torch.testing.assert_close(found.rows @ found.rows.mT, torch.eye(D, dtype=torch.float64))
    with pytest.raises(ValueError, match="two vectors"):
        principal_components([vectors(1)])


def sampler(yaw: float) -> CameraSampler:
    """Return cameras of two clips, turned so far; one frame of all is not the first of any sample."""
    paths = [frontal_label(yaw).expand(16, -1).numpy().copy(), frontal_label(-yaw).expand(20, -1).numpy().copy()]
    paths[0][15] = np.nan
    paths[1][19] = np.nan
    return CameraSampler(paths, window=16, mirror=True, frames=16)


def test_latents_are_mapped_with_first_cameras_of_clips():
    cameras = first_cameras(sampler(0.4), (1, 2), 200)
    assert cameras.shape == (200, 25) and torch.isfinite(cameras).all()
    sides = cameras[:, 3].sign()  # of the eye
    assert 60 < (sides > 0).sum() < 140
    assert torch.equal(cameras, first_cameras(sampler(0.4), (1, 2), 200))
    assert not torch.equal(cameras, first_cameras(sampler(0.4), (1, 3), 200))


def test_components_are_those_of_the_frozen_generator_and_of_a_seed():
    networks = tiny.networks(tiny.config(method="eg3d-mcghd"))
    generators = (networks.G, networks.G_ema)
    before = {name: value.clone() for name, value in networks.G.state_dict().items()}
    set_components(generators, sampler(0.4), 300, 5)
    batches = list(latent_batches(networks.G, sampler(0.4), 300, 5))
    expected = principal_components(batches)
    for G in generators:
        torch.testing.assert_close(G.chain.components, expected.rows.float())
        torch.testing.assert_close(G.chain.deviations, expected.deviations.float())
    changed = {name for name, value in networks.G.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"chain.components", "chain.deviations"}
    set_components(generators, sampler(0.4), 300, 6)
    assert not torch.allclose(networks.G.chain.deviations, expected.deviations.float())
    assert sum(map(len, latent_batches(networks.G, sampler(0.4), BATCH + 3, 5))) == BATCH + 3
