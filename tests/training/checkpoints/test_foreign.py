"""training.checkpoints.foreign: the networks inside PV3D checkpoints and EG3D pickles."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.helpers import golden, tiny
from tests.helpers.foreign_files import RUN, Persistent, static
from training.checkpoints.foreign_config import generator_config
from training.checkpoints.fresh_motion import MOTION, TO_RAW, with_fresh_motion
from training.checkpoints.opener import load_generator, open_checkpoint, open_snapshot
from training.checkpoints.shapes import Shapes, network_shapes
from training.checkpoints.snapshots import StoredSnapshot, init_networks
from training.config import GeneratorConfig, RenderingConfig
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator


def built(opened: StoredSnapshot, name: str = "G_ema") -> Generator:
    G = Generator(opened.config.generator).requires_grad_(False).eval()
    G.load_state_dict(opened.weights[name])
    return G


@torch.no_grad()
def frames(G: Generator, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Two frames at two times."""
    z = tiny.normal(0, 2, 8)
    motion = tiny.normal(1, 2, G.config.z_motion_dim)
    camera = tiny.labels(2, 2)
    times = torch.tensor([[0.2], [0.9]])
    ws = G.mapping(z, camera * scale, truncation_psi=0.7)
    return G.synthesis(ws, camera, motion, times)


def hold(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=tolerance, atol=tolerance)


def same_weights(weights: dict[str, torch.Tensor], module: torch.nn.Module) -> None:
    hold(weights, dict(module.state_dict()), tolerance=0)


def same_frames(G: Generator, expected: Generator) -> None:
    hold(frames(G), frames(expected), tolerance=1e-5)


# --- PV3D -------------------------------------------------------------------------------------------------------------


def test_pv3d_comes_back(nets, pv3d):
    opened = open_snapshot(pv3d())
    assert not opened.is_static
    assert opened.notes == ()
    for name, module in nets.items():
        same_weights(opened.weights[name], module)
    options = tiny.config()
    assert opened.config.discriminator == options.discriminator
    assert opened.camera_bank.shape == (15, 16, 25)
    assert opened.progress == {"kimg": 0.0}
    rendering = options.generator.rendering  # of which the file says only the decoder's width
    generator = replace(opened.config.generator, rendering=rendering)
    assert generator == options.generator
    config = replace(opened.config, generator=generator)
    opened = replace(opened, config=config)
    for name, G in (("G", nets.G), ("G_ema", nets.G_ema)):
        hold(frames(built(opened, name)), frames(G), tolerance=0)


@pytest.mark.parametrize(
    "counters, kimg, counter",
    [
        ({}, 0, None),
        ({"num_updates": 300_000}, 0, None),
        ({"num_samples": 4_800_000}, 4800, "num_samples of the checkpoint"),
        (
            {"num_samples": 4_800_000, "num_updates": 300_000},
            4800,
            "num_samples of the checkpoint, 16 in each of its 300000 updates",
        ),
        ({"num_samples": 16.0, "num_updates": 0}, 0.016, "num_samples of the checkpoint"),
        ({"num_samples": -16}, 0, None),
        ({"num_samples": float("nan")}, 0, None),
        ({"num_samples": 10**400}, 0, None),
        ({"num_samples": "4800000", "num_updates": [1]}, 0, None),
        ({"num_samples": 16, "num_updates": "1"}, 0.016, "num_samples of the checkpoint"),
    ],
)
def test_pv3d_says_how_far_it_is(nets, pv3d, counters, kimg, counter):
    opened = open_snapshot(pv3d(counters=counters))
    assert opened.progress == {"kimg": kimg}
    assert opened.counter == counter
    assert init_networks(nets, opened) == kimg * 1000


def test_eg3d_does_not_say_how_far_it_is(eg3d):
    opened = open_snapshot(eg3d(extra={"cur_nimg": 7}))
    assert opened.progress == {"kimg": 0}
    assert opened.counter is None


def published_shapes() -> Shapes:
    """Shapes of the published generator."""
    lines = (golden.FOLDER / "state_dict_keys.txt").read_text().splitlines()
    shapes: Shapes = {}
    network = ""
    for line in lines:
        word, rest, *_ = line.split()
        if word == "#":
            network = rest.rstrip(":")
        elif network == "generator":
            sides = [] if rest == "scalar" else rest.split("x")
            shapes[word] = tuple(map(int, sides))
    return shapes


def test_the_papers_networks_are_recognised():
    shapes = published_shapes()
    found = generator_config(shapes, RenderingConfig(), static=False)
    assert found.sr_channels == (256, 128)
    assert replace(found, sr_channels=None) == GeneratorConfig()
    config = replace(tiny.config(), generator=found)
    assert network_shapes(config, ["G"]) == {"G": shapes}


def test_buffers_that_we_lack_and_filters_that_they_lack(nets, pv3d):
    more = {
        "generator_ema.renderer.plane_axes": torch.zeros(3, 3, 3),
        "generator_ema.steps": torch.tensor(3),
    }
    path = pv3d(**more)
    content = torch.load(path, weights_only=True)
    model = content["model"]
    kept = {name: value for name, value in model.items() if not name.endswith("resample_filter")}
    assert len(kept) < len(model)
    torch.save({"model": kept}, path)
    same_weights(open_snapshot(path).weights["G_ema"], nets.G_ema)


def test_ablations_of_the_discriminators_come_back(pv3d, nets):
    options = tiny.config(discriminator__video_dt=False, discriminator__video_cameras=False)
    networks = tiny.networks(options)
    nets.D_img = networks.D_img
    nets.D_vid = networks.D_vid
    opened = open_snapshot(pv3d())
    found = opened.config.discriminator
    assert found == options.discriminator
    ImageDiscriminator(32, found).load_state_dict(opened.weights["D_img"])
    VideoDiscriminator(32, found).load_state_dict(opened.weights["D_vid"])


def behind_all(name: str) -> str:
    return f"module.{name}"


def behind_each(name: str) -> str:
    return name.replace(".", ".module.", 1)


@pytest.mark.parametrize("wrapped", [behind_all, behind_each])
def test_names_behind_a_parallel_wrapper(nets, pv3d, wrapped):
    path = pv3d()
    model = torch.load(path, weights_only=True)["model"]
    renamed = {wrapped(name): value for name, value in model.items()}
    torch.save({"model": renamed}, path)
    opened = open_snapshot(path)
    for name, module in nets.items():
        same_weights(opened.weights[name], module)


# --- EG3D -------------------------------------------------------------------------------------------------------------


def test_eg3d_comes_back_as_a_static_generator(nets, eg3d):
    opened = open_snapshot(eg3d())
    assert opened.is_static
    assert opened.config.method == "eg3d"
    assert opened.max_time == 0
    assert set(opened.weights) == {"G", "G_ema", "D_img"}
    assert opened.weights["G_ema"].keys() == static(nets.G_ema).state_dict().keys()
    options = tiny.config(method="eg3d").generator
    unknown = {"motion_blocks": 4, "motion_hidden": 128, "z_motion_dim": 512}  # and of no matter
    assert opened.config.generator == replace(options, **unknown)
    same_frames(built(opened, "G"), static(nets.G))
    same_frames(built(opened, "G_ema"), static(nets.G_ema))
    same_weights(opened.weights["D_img"], nets.D_img)


def test_eg3ds_factors_are_folded_in(nets, eg3d):
    path = eg3d(c_scale=0.5, decoder_lr_mul=2, ray_start=2.0, disparity_space_sampling=True, white_back=True)
    opened = open_snapshot(path)
    reference = static(nets.G_ema)
    for parameter in reference.decoder.parameters():
        parameter.data *= 2
    rendering = replace(reference.config.rendering, near=2.0, disparity=True, white_background=True)
    assert opened.config.generator.rendering == rendering
    reference.config = replace(reference.config, rendering=rendering)
    hold(frames(built(opened)), frames(reference, scale=0.5), tolerance=1e-5)


def test_eg3d_without_cameras_in_its_mapping(eg3d):
    opened = open_snapshot(eg3d(c_gen_conditioning_zero=True))
    assert not opened.config.generator.camera_conditioning


@pytest.mark.parametrize("learned", [False, True])
def test_training_starts_from_eg3d_with_fresh_motion(nets, eg3d, learned):
    weights = open_snapshot(eg3d()).weights["G"]
    G = tiny.networks(tiny.config(generator__motion_weight=learned)).G
    before = copy.deepcopy(G.state_dict())
    G.load_state_dict(with_fresh_motion(weights, G))
    for name, value in G.state_dict().items():
        if name.endswith(f"{MOTION}weight"):
            assert value == 0
        elif MOTION in name:
            assert torch.equal(value, before[name]), name
        elif not name.startswith(TO_RAW):
            assert torch.equal(value, weights[name]), name
    if learned:
        same_frames(G.eval(), static(nets.G))


@pytest.mark.parametrize("foreign, why", [(True, "entries of D_img are not those"), (False, "has no state")])
def test_eg3d_with_another_discriminator_is_of_use(nets, eg3d, foreign, why):
    path = eg3d(extra={"D": Persistent(nets.D_vid) if foreign else RUN})
    loaded = load_generator(path)
    (note,) = loaded.notes
    assert "is left out, and training would begin with a fresh one" in note
    assert why in note
    same_frames(loaded.G, static(nets.G_ema))
    opened = open_snapshot(path)
    assert opened.notes == (note,)
    options = tiny.config(generator__motion_weight=True)
    started = tiny.networks(options)
    assert init_networks(started, opened) == 0
    same_weights(dict(started.D_img.state_dict()), tiny.networks(options).D_img)
    same_frames(started.G.eval(), static(nets.G))


def test_what_is_not_needed_is_not_looked_at(eg3d):
    path = eg3d(extra={"augment_pipe": RUN})
    assert open_checkpoint(path).origin == "EG3D"
    assert open_snapshot(path).notes == ()
