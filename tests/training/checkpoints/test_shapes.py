"""training.checkpoints.shapes: shapes without memory are those of real networks; wrong weights are refused."""

import math
import re
import resource

import pytest
import torch

from dnnlib.options import override
from tests.helpers import tiny
from training.checkpoints.shapes import misfit, network_shapes, shapes_of
from training.config import Config, validate

NAMES = ("G", "G_ema", "D_img", "D_vid")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"generator__motion_generator": "naive"},
        {"generator__motion_generator": "mlp"},
        {"generator__motion_weight": True, "generator__motion_code": "z_a"},
        {"generator__sr_channels": None},
        {"discriminator__video_dt": False, "discriminator__video_cameras": False},
    ],
)
def test_shapes_are_those_of_the_networks(changes):
    options = tiny.config(**changes)
    expected = {name: shapes_of(module.state_dict()) for name, module in tiny.networks(options).items()}
    assert network_shapes(options, NAMES) == expected


def test_the_largest_networks_take_no_memory():
    huge = validate(
        override(
            Config(),
            {
                "generator.channel_max": 8192,
                "generator.channel_base": 2**22,
                "generator.w_dim": 8192,
                "generator.plane_resolution": 1024,
                "generator.img_resolution": 1024,
                "discriminator.channel_max": 8192,
                "discriminator.channel_base": 2**22,
            },
        )
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shapes = network_shapes(huge, NAMES)
    values = sum(math.prod(shape) for network in shapes.values() for shape in network.values())
    assert values > 2**35
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_random_numbers_and_modes_are_left_alone():
    state = torch.get_rng_state()
    network_shapes(tiny.config(), NAMES)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.zeros(2).is_meta


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda w: w.pop("a"), "1 entries differ, a among them"),
        (lambda w: w.update({7: w["a"]}), "differ, 7 among them"),
        (lambda w: w.update(a=w["a"][:1]), "1 entries differ, a"),
        (lambda w: w.update(a="x"), "1 entries differ, a"),
        (lambda w: w.update(b=w["b"].long()), r"no floating-point numbers \(b holds int64\)"),
        (lambda w: w.update(b=w["b"].cfloat()), "b holds complex64"),
        (lambda w: w.update(b=w["b"] * math.nan), "not finite, in b"),
        (lambda w: w.update(b=w["b"].double() + 1e300), "not finite, in b"),
    ],
)
def test_weights_that_do_not_fit(change, why):
    weights = {"a": torch.ones(2, 3), "b": torch.ones(())}
    shapes = {"a": (2, 3), "b": ()}
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        assert misfit({name: value.to(dtype) for name, value in weights.items()}, shapes) is None
    change(weights)
    assert re.search(why, misfit(weights, shapes))
