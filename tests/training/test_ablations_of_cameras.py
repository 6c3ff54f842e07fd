"""What the ablations of cameras, discriminators and rendering change (PV3D T. 3, and the plane axes)."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch.nn.functional import softplus

from tests.helpers import ablations, tiny
from tests.helpers.ablations import frames_of
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from training.checkpoints.snapshots import build_optimizers
from training.config import FRAMES_PER_CLIP
from training.fakes import Fakes
from training.loss import Loss
from training.networks.generator import Generator
from training.rendering import renderer


def loss_of(case: str) -> Loss:
    options = ablations.config(case)
    return tiny.loss(tiny.networks(options), options)


# --- Cameras ----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Seen:
    """The cameras that the mapping network and the renderer were given."""

    mapped: torch.Tensor
    rendered: torch.Tensor


def seen_in_training(loss: Loss, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Return both as [clips, 2, 25]."""
    mapping = spy(monkeypatch, loss.G, "mapping")
    rendering = spy(monkeypatch, loss.G, "render_planes")
    frames = loss.synthesise(fakes, CALM)
    mapped = mapping[0].inputs[1]
    rendered = rendering[0].inputs[2]
    assert torch.equal(frames.cameras, rendered), "discriminators judge by the rendering camera"
    shape = (-1, FRAMES_PER_CLIP, 25)
    return Seen(mapped=mapped.reshape(shape), rendered=rendered.reshape(shape))


def seen_at_inference(G: Generator, cameras: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Return both as [frames, 25]."""
    mapping = spy(monkeypatch, G, "mapping")
    rendering = spy(monkeypatch, G, "render_planes")
    frames_of(G, cameras=cameras)
    mapped = mapping[0].inputs[1]
    rendered = rendering[0].inputs[2]
    return Seen(mapped=mapped.expand_as(cameras), rendered=rendered.expand_as(cameras))


@pytest.mark.parametrize(
    "mode, map_first, render_first",
    [
        ("MapT", False, False),
        ("Map", True, False),
        ("Non", False, False),
        ("All", True, True),
    ],
)
def test_camera_modes_in_training(mode, map_first, render_first, monkeypatch):
    """Whether mapping and rendering see the first frame's camera for all frames of a clip, or each its own."""
    options = tiny.config(generator__camera_mode=mode)
    loss = tiny.loss(tiny.networks(options), options)
    fakes = tiny.fakes(options)
    own = fakes.cameras
    first = own[:, :1].expand_as(own)
    seen = seen_in_training(loss, fakes, monkeypatch)
    assert torch.equal(seen.mapped, first if map_first else own)
    assert torch.equal(seen.rendered, first if render_first else own)


@pytest.mark.parametrize(
    "mode, map_first, render_first",
    [
        ("MapT", True, False),
        ("Map", True, False),
        ("Non", False, False),
        ("All", True, True),
    ],
)
def test_camera_modes_at_inference(mode, map_first, render_first, monkeypatch):
    G = tiny.generator(generator__camera_mode=mode)
    own = tiny.labels(0, 3)
    first = own[:1].expand_as(own)
    seen = seen_at_inference(G, own, monkeypatch)
    assert torch.equal(seen.mapped, first if map_first else own)
    assert torch.equal(seen.rendered, first if render_first else own)


@pytest.mark.parametrize("case", ["default", "generator without cameras"])
def test_latents_do_not_depend_on_the_camera_without_its_condition(case):
    G = ablations.generator(case)
    z = tiny.normal(0, 1, 8).expand(3, -1)
    cameras = tiny.labels(1, 3)
    ws = G.mapping(z, cameras)
    first = ws[:1].expand_as(ws)
    is_blind = case == "generator without cameras"
    assert torch.equal(first, ws) == is_blind
    first, second, _ = frames_of(G, cameras=cameras)
    assert not torch.allclose(first, second), "the renderer still sees them"


# --- Discriminators ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case, left, weight, gone",
    [
        ("no image discriminator", "D_vid", "lambda_vid", "img"),
        ("no video discriminator", "D_img", "lambda_img", "vid"),
    ],
)
def test_a_discriminator_that_is_off_leaves_no_trace(case, left, weight, gone):
    options = ablations.config(case)
    networks = tiny.networks(options)
    assert [name for name, _ in networks.items()] == ["G", "G_ema", left]
    assert build_optimizers(networks, options).keys() == {"G", left}
    for _, module in networks.items():
        module.requires_grad_(True)
    loss = tiny.loss(networks, options)
    fakes = tiny.fakes(options)
    reals = tiny.reals(options)
    report = loss.g_main(fakes, CALM)
    reported = {**report, **loss.d_main(reals, fakes, CALM), **loss.d_reg(reals, CALM)}
    assert not [name for name in reported if name.endswith(gone)]
    frames = loss.synthesise(fakes, CALM)
    (logits,) = loss.judge(frames, CALM).values()
    unweighted = softplus(-logits).mean()
    torch.testing.assert_close(report["loss/g"], unweighted * getattr(options.loss, weight))


@pytest.mark.parametrize("case, channels", [("default", 7), ("video without dt", 6)])
def test_video_discriminator_without_dt_ignores_the_times(case, channels):
    loss = loss_of(case)
    D = loss.D_vid
    frames = tiny.reals(loss.config)
    later = replace(frames, times=frames.times * 0.9)
    pairs = D.assemble(frames.image, frames.times)
    assert pairs.shape == (2, channels, 32, 32)
    assert D.b32.fromrgb.weight.shape[1] == channels
    before = loss.judge(frames, CALM)
    after = loss.judge(later, CALM)
    is_blind = case == "video without dt"
    assert torch.equal(before["vid"], after["vid"]) == is_blind


@pytest.mark.parametrize("case", ["default", "video without cameras"])
def test_video_discriminator_without_cameras_ignores_them(case):
    loss = loss_of(case)
    is_blind = case == "video without cameras"
    assert (loss.D_vid.mapping is None) == is_blind
    assert loss.D_img.mapping is not None
    frames = tiny.reals(loss.config)
    turned = replace(frames, cameras=tiny.labels(77, 4))
    before = loss.judge(frames, CALM)
    after = loss.judge(turned, CALM)
    assert before["vid"].shape == (2, 1)
    assert torch.equal(before["vid"], after["vid"]) == is_blind
    assert not torch.equal(before["img"], after["img"])


# --- Rendering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case, side", [("default", 8), ("rendering at 4", 4), ("rendering at 16", 16)])
def test_rendering_resolution(case, side):
    loss = loss_of(case)
    fakes = tiny.fakes(loss.config)
    made = loss.synthesise(fakes, CALM)
    assert made.image_raw.shape == (4, 3, side, side)
    assert made.image.shape == (4, 3, 32, 32)
    images = torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8)
    real = loss.real_frames(images, fakes.times, fakes.cameras, CALM)
    assert real.image_raw.shape == (4, 3, side, side)


@pytest.mark.parametrize("case, third_plane", [("default", [2, 0]), ("orthogonal planes", [1, 2])])
def test_plane_axes(case, third_plane, monkeypatch):
    G = ablations.generator(case)
    calls = spy(monkeypatch, renderer, "project_to_planes")
    frames_of(G)
    call = calls[0]
    points, axes = call.inputs
    assert axes == G.config.rendering.plane_axes
    assert torch.equal(call.output[:, 2], points[..., third_plane])
