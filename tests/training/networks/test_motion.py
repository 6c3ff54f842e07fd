"""Motion layers: golden style vectors, Eq. 1 and 2, the two other generators of T. 2."""

import pytest
import torch

from tests.helpers import golden
from tests.helpers.tiny import normal, seeded
from training.networks.motion import MotionLayer

MOTION_BLOCKS = (4, 8, 16, 32)


@pytest.mark.parametrize("file, fixture", [("generator", "generator"), ("generator_f64", "scene64")])
def test_styles_match_golden(file, fixture, request):
    network = request.getfixturevalue(fixture)
    network = network if fixture == "generator" else network.generator
    dtype = network.decoder.net[0].weight.dtype
    z_motion, t = (golden.tensor("generator", name, dtype) for name in ("z_motion", "t"))
    for r in MOTION_BLOCKS:
        layer = network.backbone.synthesis.get_submodule(f"b{r}").motion_time_fuser
        golden.check(file, f"w_m_{r}", layer.style(z_motion, t))


def layer(**options):
    with seeded(0):
        return MotionLayer(motion_dim=4, w_dim=6, channels=3, resolution=8, **options).requires_grad_(False)


X, Z, T = normal(0, 2, 3, 8, 8), normal(1, 2, 4), torch.tensor([[0.3], [0.9]])


def test_code_and_time_act_through_their_product():
    motion = layer()
    torch.testing.assert_close(motion.style(Z, T), motion.style(Z * T, torch.ones(2, 1)))
    start = motion.style(Z, torch.zeros(2, 1))
    torch.testing.assert_close(start, motion.style(torch.zeros(2, 4), T))
    motion.affine.bias.fill_(0.5)
    assert motion.style(Z, torch.zeros(2, 1)).abs().max() > 0.01, "the biases' response is there at t = 0"


def test_modulated_convolution_is_added_to_the_features():
    motion = layer()
    moved = motion.conv(X, motion.style(Z, T))
    torch.testing.assert_close(motion(X, Z, T), X + moved)
    assert moved.shape == X.shape and moved.std() > 0.1


def test_mlp_broadcasts_a_vector_of_channels():
    motion = layer(generator="mlp")
    assert motion.conv is None and motion.style(Z, T).shape == (2, 3)
    torch.testing.assert_close(motion(X, Z, T), X + motion.style(Z, T)[:, :, None, None])


@pytest.mark.parametrize("generator", ["modconv", "mlp"])
def test_learned_weight_scales_what_is_added(generator):
    plain, weighted = layer(generator=generator), layer(generator=generator, learned_weight=True)
    plain.load_state_dict({k: v for k, v in weighted.state_dict().items() if k != "weight"})
    torch.testing.assert_close(weighted(X, Z, T), plain(X, Z, T))  # begins at 1
    weighted.weight.fill_(0.25)
    torch.testing.assert_close(weighted(X, Z, T) - X, (plain(X, Z, T) - X) / 4)


def test_noise_mode_reaches_the_convolution():
    motion = layer()
    motion.conv.noise_strength.fill_(0.5)
    assert not torch.equal(motion(X, Z, T, "none"), motion(X, Z, T, "const"))
    a, b = (motion(X, Z, T, "random", torch.Generator().manual_seed(seed)) for seed in (1, 1))
    assert torch.equal(a, b) and not torch.equal(a, motion(X, Z, T, "const"))
