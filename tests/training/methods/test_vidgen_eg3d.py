"""The method 3dvidgen-eg3d: static planes, a motion network whose vector enters the decoder, one camera a video."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import leaky_relu, softplus

from tests.helpers import tiny
from tests.helpers.recording import recorded, spy
from tests.helpers.tiny import CALM
from training.checkpoints.snapshots import Networks
from training.loss import Schedule
from training.networks.decoder import Decoder
from training.networks.motion import PointMotion
from training.sampling.clips import Geometry, clip_geometry, clip_spec, generate, whole

CONFIG = tiny.config(method="3dvidgen-eg3d")
SWAPPED = Schedule(blur_sigma=0.0, swap_probability=1.0)


@pytest.fixture
def networks() -> Networks:
    """Tiny networks that all want gradients."""
    networks = tiny.networks(CONFIG)
    for module in (networks.G, networks.D_img, networks.D_vid):
        module.requires_grad_(True)
    return networks


@pytest.fixture
def G():
    return tiny.generator(method="3dvidgen-eg3d")


# --- The motion network -----------------------------------------------------------------------------------------------


def test_the_motion_network_is_the_published_one():
    """lrelu(t A m), a hidden layer with leaky ReLU (gain of the root of 2), a linear one; all equalised."""
    with tiny.seeded(0):
        network = PointMotion(5, 6, 4).double()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data.copy_(tiny.normal(1, len(parameter), dtype=torch.float64))
    m = tiny.normal(2, 3, 5, dtype=torch.float64)
    t = tiny.uniform(3, 3, 1, dtype=torch.float64)
    (first, second) = network.mlp
    v = m @ network.affine.weight.T / 5**0.5 + network.affine.bias
    hidden = leaky_relu(leaky_relu(v * t, 0.2) @ first.weight.T / 6**0.5 + first.bias, 0.2) * 2**0.5
    torch.testing.assert_close(network(m, t), hidden @ second.weight.T / 6**0.5 + second.bias)


def test_at_time_0_nothing_depends_on_the_motion_code(G):
    ws = G.mapping(tiny.normal(0, 1, 8), tiny.labels(0, 1))
    camera = tiny.labels(1, 1).expand(2, -1)
    codes = tiny.normal(2, 2, G.z_motion_dim)
    points = tiny.normal(3, 1, 50, 3).expand(2, -1, -1) * 0.2
    for time, is_same in ((0.0, True), (0.5, False)):
        t = torch.full([2, 1], time)
        first, second = G.synthesis(ws, camera, codes, t)["image"]
        assert torch.allclose(first, second, rtol=0, atol=1e-6) == is_same
        first, second = G.sample(points, ws, codes, t)["sigma"]
        assert torch.allclose(first, second, rtol=0, atol=1e-6) == is_same


def test_motion_is_no_constant_of_all_points(G):
    """Behind the softplus it would be: the decoder's last layer is linear. So it enters in front of it."""
    ws = G.mapping(tiny.normal(0, 1, 8), tiny.labels(0, 1))
    points = tiny.uniform(3, 1, 200, 3) - 0.5
    densities = []
    for time in (0.0, 1.0):
        densities.append(G.sample(points, ws, tiny.normal(2, 1, G.z_motion_dim), torch.full([1, 1], time))["sigma"])
    change = densities[1] - densities[0]
    assert change.std() > 0.01 * change.abs().mean() > 0


def test_a_shift_is_added_in_front_of_the_softplus():
    with tiny.seeded(0):
        decoder = Decoder(4, 8, 3).double()
    x = tiny.normal(0, 2, 5, 4, dtype=torch.float64)
    shift = tiny.normal(1, 2, 8, dtype=torch.float64)
    first, _, last = decoder.net
    hidden = x @ first.weight.T / 2 + first.bias + shift[:, None]
    expected = softplus(hidden) @ last.weight.T / 8**0.5 + last.bias
    density, colours = decoder(x, shift)
    torch.testing.assert_close(density, expected[..., 0])
    torch.testing.assert_close(colours, torch.sigmoid(expected[..., 1:]) * 1.002 - 0.001)


def test_frames_without_their_motion_are_refused(G):
    ws = G.mapping(tiny.normal(0, 1, 8), tiny.labels(0, 1))
    planes = G.planes(ws, torch.zeros(1, 8), torch.zeros(1, 1))
    with pytest.raises(ValueError, match="needs a shift"):
        G.render_planes(planes, ws, tiny.labels(0, 1))
    with pytest.raises(ValueError, match="needs a shift"):
        G.sample_planes(planes, torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="no other one takes it"):
        tiny.generator().render_planes(planes, ws, tiny.labels(0, 1), shift=torch.zeros(1, 8))


# --- Training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["g_main", "g_reg"])
def test_planes_are_made_once_for_both_frames_of_a_clip(networks, phase):
    loss = tiny.loss(networks, CONFIG)
    with recorded(networks.G, "backbone.synthesis", "backbone.mapping", "point_motion") as calls:
        getattr(loss, phase)(tiny.fakes(CONFIG, clips=4), CALM)
    (mapped,) = calls["backbone.mapping"]
    (planes,) = calls["backbone.synthesis"]
    (motion,) = calls["point_motion"]
    assert len(mapped.output) == len(planes.output) == 4
    assert len(motion.output) == 8


def test_shared_planes_are_those_of_each_frame(networks):
    """Frames of clips together are those that each of them gives alone, with planes of its own."""
    loss = tiny.loss(networks, CONFIG)
    fakes = tiny.fakes(CONFIG, clips=3)
    latents = loss.latents(fakes, CALM)
    frames = loss.synthesise(fakes, CALM)
    G = networks.G
    for row in range(6):
        one = slice(row, row + 1)
        clip = slice(row // 2, row // 2 + 1)
        ws = G.mapping(fakes.z[clip], fakes.cameras[clip, 0])
        torch.testing.assert_close(ws, latents.ws[clip])
        alone = G.synthesis(ws, fakes.cameras[clip, 0], fakes.z_motion[clip], fakes.times.reshape(-1, 1)[one])
        torch.testing.assert_close(frames.image[one], alone["image"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(frames.image_raw[one], alone["image_raw"], rtol=1e-4, atol=1e-5)


def test_one_camera_a_video_which_only_the_image_discriminator_sees(networks, monkeypatch):
    image = spy(monkeypatch, networks.D_img, "logits")
    video = spy(monkeypatch, networks.D_vid, "logits")
    fakes = tiny.fakes(CONFIG, clips=4)
    tiny.loss(networks, CONFIG).g_main(fakes, CALM)
    (judged,) = image
    assert judged.inputs[0].shape == (8, 6, 32, 32)
    assert torch.equal(judged.inputs[1], fakes.cameras[:, 0].repeat_interleave(2, dim=0))
    (judged,) = video
    assert judged.inputs[0].shape == (4, 7, 32, 32)
    assert judged.inputs[1] is None
    dt = (fakes.times[:, 1] - fakes.times[:, 0])[:, None, None]
    assert torch.equal(judged.inputs[0][:, 6], dt.expand(-1, 32, 32))


def test_a_swapped_camera_is_another_videos_first(networks):
    fakes = tiny.fakes(CONFIG, clips=3)
    latents = tiny.loss(networks, CONFIG).latents(fakes, SWAPPED)
    torch.testing.assert_close(latents.ws, networks.G.mapping(fakes.z, fakes.others[:, 0]))
    assert torch.equal(latents.cameras, fakes.cameras[:, 0].repeat_interleave(2, dim=0))


def test_gradients_reach_all_of_the_generator(networks):
    loss = tiny.loss(networks, CONFIG, noise_mode="random", deterministic=False)
    loss.g_main(tiny.fakes(CONFIG, clips=4), Schedule(blur_sigma=1.0, swap_probability=0.5))
    missing = [name for name, value in networks.G.named_parameters() if value.grad is None or not value.grad.any()]
    # Super-resolution has no noise.
    assert len(missing) == 4 and all(name.endswith("noise_strength") for name in missing)
    assert all(name.startswith("superresolution.") for name in missing)


def test_the_density_is_regular_at_the_time_of_the_frame(networks):
    """The regularisation reaches the motion network, and not what only images see."""
    tiny.loss(networks, CONFIG).g_reg(tiny.fakes(CONFIG, clips=4), CALM)
    reached = {name for name, value in networks.G.named_parameters() if value.grad is not None and value.grad.any()}
    assert {name for name in reached if name.startswith("point_motion.")} != set()
    assert not any(name.startswith("superresolution.") for name in reached)


def test_discriminators_get_gradients_of_frames_and_r1(networks):
    config = replace(CONFIG, training=replace(CONFIG.training, reuse_fakes=False))
    loss = tiny.loss(networks, config)
    reals = tiny.reals(config, clips=4)
    loss.d_main(reals, tiny.fakes(config, clips=4), CALM)
    for D in (networks.D_img, networks.D_vid):
        assert all(value.grad is not None for value in D.parameters())
    assert all(value.grad is None for value in networks.G.parameters())
    report = loss.d_reg(reals, CALM)
    assert report.keys() == {"loss/r1_img", "loss/r1_vid"}


# --- Videos -----------------------------------------------------------------------------------------------------------


def test_videos_and_geometry_move(G):
    """Frames do not depend on the batch, and geometry has the motion of its frame."""
    clip = clip_spec(G, 0, 1, tiny.labels(0, 3))
    frames = whole(G, clip)["image"]
    one_by_one = torch.cat([seen["image"] for seen in generate(G, clip)])
    torch.testing.assert_close(frames, one_by_one, rtol=1e-4, atol=1e-5)
    still = whole(G, replace(clip, times=torch.zeros(3)))["image"]
    assert not torch.allclose(still[2], frames[2], atol=1e-4)
    geometries: list[Geometry] = list(clip_geometry(G, clip))
    points = tiny.uniform(5, 30, 3) - 0.5
    first, _, last = (geometry.density(points) for geometry in geometries)
    assert not torch.allclose(first, last)
    view = geometries[2].view(clip.cameras[0])  # one camera is shared by all frames
    torch.testing.assert_close(view["image"][0], frames[2], rtol=1e-4, atol=1e-5)
