"""The decoder: golden vectors, range of colours, start near emptiness."""

import pytest
import torch

from tests.helpers import golden
from tests.helpers.tiny import normal, seeded
from tests.helpers.weights import fill
from training.config import RenderingConfig
from training.networks.decoder import Decoder
from training.rendering.renderer import decode

BOTH = pytest.mark.parametrize("file, dtype", [("rendering", torch.float32), ("rendering_f64", torch.float64)])


@BOTH
def test_densities_and_colours_match_golden(file, dtype):
    """At points inside and outside of the planes' box, whose side is 1."""
    decoder = fill(Decoder(32, 64, 32), "decoder.").to(dtype)
    planes, points = (golden.tensor("rendering", name, dtype) for name in ("planes", "sample_xyz"))
    density, colours = decode(planes, decoder, points, RenderingConfig())
    golden.check(file, "model_sigma", density.unsqueeze(-1))
    golden.check(file, "model_rgb", colours)


def test_first_output_is_the_raw_density_and_colours_reach_a_little_beyond_0_and_1():
    with seeded(0):
        decoder = Decoder(4, 8, 3)
    last = decoder.net[2]
    last.weight.data.zero_()
    last.bias.data.copy_(torch.tensor([-7.0, -1e3, 0.0, 1e3]))
    density, colours = decoder(normal(0, 2, 5, 4))
    assert density.shape == (2, 5) and colours.shape == (2, 5, 3)
    torch.testing.assert_close(density, torch.full([2, 5], -7.0))
    torch.testing.assert_close(colours[0, 0], torch.tensor([-0.001, 0.5, 1.001]))
