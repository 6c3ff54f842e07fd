"""training.checkpoints.fresh_motion: frames at t = 0 stay, motions become others, and nothing else changes."""

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import ablations, tiny
from training.checkpoints.fresh_motion import MOTION, STYLE, with_fresh_styles
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import build_networks, init_networks
from training.networks.generator import Generator

CASES = ["default", "motion mlp", "motion weight", "motion from z_a"]


def learned(case: str) -> Generator:
    """A generator whose motion layers are no longer those that it began with, biases and learned weights included."""
    G = ablations.generator(case, torch.float64)
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            if MOTION in name:
                parameter.add_(0.3 * tiny.normal(len(name), *parameter.shape, dtype=torch.float64))
    return G


def restarted(case: str, source: Generator) -> Generator:
    """The tiny generator of an ablation with the source's weights, but for the fresh styles."""
    G = ablations.generator(case, torch.float64)
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            parameter.copy_(tiny.normal(len(name) + 1, *parameter.shape, dtype=torch.float64))
    G.load_state_dict(with_fresh_styles(source.state_dict(), G))
    return G


@pytest.mark.parametrize("case", CASES)
def test_frames_at_the_start_stay_and_later_ones_change(case):
    source = learned(case)
    G = restarted(case, source)
    before, after = (ablations.frames_of(each) for each in (source, G))
    torch.testing.assert_close(after[0], before[0], rtol=1e-9, atol=1e-9)
    assert (after[1:] - before[1:]).abs().flatten(1).mean(dim=1).min() > 1e-3


def test_all_but_the_styles_stays():
    source = learned("default")
    own = ablations.generator("default", torch.float64)
    weights = with_fresh_styles(source.state_dict(), own)
    assert weights.keys() == source.state_dict().keys()
    for name, value in source.state_dict().items():
        _, is_motion, part = name.partition(MOTION)
        is_style = bool(is_motion) and part.startswith(STYLE)
        if not is_style:
            assert torch.equal(weights[name], value), name
        elif part.endswith("weight"):
            assert torch.equal(weights[name], own.state_dict()[name]), name


def test_frames_stay_where_the_weights_are_stored_in_half_precision():
    half = {name: value.half() for name, value in learned("default").state_dict().items()}
    source = ablations.generator("default", torch.float64)
    source.load_state_dict(half)
    G = ablations.generator("default", torch.float64)
    G.load_state_dict(with_fresh_styles(half, ablations.generator("default", torch.float64)))
    before, after = (ablations.frames_of(each) for each in (source, G))
    torch.testing.assert_close(after[0], before[0], rtol=1e-9, atol=1e-9)


def test_a_model_without_motion_layers_is_refused():
    G = ablations.generator("motion naive")
    with pytest.raises(UserError, match="--fresh-motion is not possible: this model has no motion layers."):
        with_fresh_styles(G.state_dict(), G)


def test_generator_and_average_begin_alike(snapshot):
    stored = open_snapshot(snapshot)
    networks = build_networks(stored.config, 7, torch.device("cpu"))
    init_networks(networks, stored, fresh_motion=True)
    G, G_ema = networks.G.state_dict(), networks.G_ema.state_dict()
    styles = [name for name in G if MOTION in name and name.partition(MOTION)[2].startswith(STYLE)]
    assert styles and all(torch.equal(G[name], G_ema[name]) for name in styles if name.endswith("weight"))
    assert not any(torch.equal(G[name], stored.weights["G_ema"][name]) for name in styles if name.endswith("weight"))
