"""Every ablation of PV3D T. 2 and T. 3 (and the plane axes) trains, samples, and changes what it says it changes."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from dnnlib.options import options_of
from tests.helpers import tiny
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from training.config import ABLATIONS, FRAMES_PER_CLIP, Config
from training.loss import Loss, Schedule
from training.networks.generator import Generator
from training.phases import build_optimizers, build_phases
from training.rendering import renderer
from training.sampling.clips import ClipSpec, SamplingOptions, generate

CASES: dict[str, dict[str, Any]] = {
    "motion early": {"generator__motion_blocks": 1},
    "motion late": {"generator__motion_blocks": 3},
    "motion weight": {"generator__motion_weight": True},
    "motion mlp": {"generator__motion_generator": "mlp"},
    "motion mlp weight": {"generator__motion_generator": "mlp", "generator__motion_weight": True},
    "motion naive": {"generator__motion_generator": "naive"},
    "motion from z_a": {"generator__motion_code": "z_a"},
    "cameras All": {"generator__camera_mode": "All"},
    "cameras Non": {"generator__camera_mode": "Non"},
    "cameras Map": {"generator__camera_mode": "Map"},
    "generator without cameras": {"generator__camera_conditioning": False},
    "rendering at 4": {"generator__rendering__resolution": 4},
    "rendering at 16": {"generator__rendering__resolution": 16},
    "orthogonal planes": {"generator__rendering__plane_axes": "orthogonal"},
    "no image discriminator": {"discriminator__image": False},
    "no video discriminator": {"discriminator__video": False},
    "video without cameras": {"discriminator__video_cameras": False},
    "video without dt": {"discriminator__video_dt": False},
    "video without both": {"discriminator__video_cameras": False, "discriminator__video_dt": False},
}


def test_every_ablation_is_here():
    """Options under the heading of ablations; the values beside the default are the cases above."""
    keys = {name.replace("__", ".") for changes in CASES.values() for name in changes}
    assert keys == {option.key for option in options_of(Config) if option.group == ABLATIONS}


def frames_of(G: Generator, cameras=None, seed: int = 0, **changes) -> torch.Tensor:
    """A clip of three frames [3, 3, 32, 32] as gen_videos.py makes it."""
    dtype = G.decoder.net[0].weight.dtype
    z, z_motion = tiny.normal(seed, 8, dtype=dtype), tiny.normal(seed + 1, 8, dtype=dtype)
    cameras = tiny.labels(2, 3, dtype=dtype) if cameras is None else cameras
    spec = ClipSpec(z, z_motion, cameras, torch.linspace(0, 1, 3, dtype=dtype))
    return torch.cat([out["image"] for out in generate(G, replace(spec, **changes), SamplingOptions())])


@pytest.mark.parametrize("case", ["default", *CASES])
def test_trains_every_phase_and_samples(case):
    options = tiny.config(**CASES.get(case, {}))
    nets = tiny.networks(options)
    optimizers = build_optimizers(nets, options)
    loss = tiny.loss(nets, options, noise_mode="random", deterministic=False)
    fakes, reals, now = tiny.fakes(options), tiny.reals(options), Schedule(blur_sigma=1.0, swap_probability=0.5)
    for phase in build_phases(options):
        trained = {name: module for name, module in nets.items() if name in phase.networks}
        before = {name: [p.clone() for p in module.parameters()] for name, module in trained.items()}
        for module in trained.values():
            module.requires_grad_(True)
        report = phase.accumulate(loss, reals=reals, fakes=fakes, schedule=now)
        assert report and all(value.isfinite() for value in report.values()), report
        for name, module in trained.items():
            module.requires_grad_(False)
            optimizers[name].step()
            optimizers[name].zero_grad(set_to_none=True)
            changed = [not torch.equal(a, b) for a, b in zip(before[name], module.parameters(), strict=True)]
            assert sum(changed) > len(changed) / 2 and all(p.isfinite().all() for p in module.parameters())
    frames = frames_of(nets.G)
    assert frames.shape == (3, 3, 32, 32) and frames.isfinite().all() and frames.std() > 0


@pytest.mark.parametrize("case", ["default", *CASES])
def test_every_parameter_of_the_generator_is_of_use(case):
    """The main phase gives each a gradient, but the noise strengths of super-resolution, which has no noise."""
    options = tiny.config(**CASES.get(case, {}))
    nets = tiny.networks(options, torch.float64)
    nets.G.requires_grad_(True)
    tiny.loss(nets, options).g_main(tiny.fakes(options, dtype=torch.float64), CALM)
    silent = {name for name, p in nets.G.named_parameters() if p.grad is None or not p.grad.any()}
    noise = {f"superresolution.block{i}.conv{j}.noise_strength" for i in (0, 1) for j in (0, 1)}
    blind = {"backbone.mapping.embed.weight"} if case == "generator without cameras" else set()
    assert silent == noise | blind


# --- motion ----------------------------------------------------------------------------------------------------------


def motion_parts(G: Generator) -> dict[int, set[str]]:
    """Resolutions that have motion layers, and the parameters' first names."""
    synthesis = G.backbone.synthesis
    blocks = {r: synthesis.get_submodule(f"b{r}").motion_time_fuser for r in synthesis.resolutions}
    return {r: {name.split(".")[0] for name, _ in layer.named_parameters()} for r, layer in blocks.items() if layer}


@pytest.mark.parametrize(
    "case, expected",
    [
        ("default", {r: {"affine", "motion_mlp", "conv"} for r in (4, 8)}),
        ("motion early", {4: {"affine", "motion_mlp", "conv"}}),
        ("motion late", {r: {"affine", "motion_mlp", "conv"} for r in (4, 8, 16)}),
        ("motion weight", {r: {"affine", "motion_mlp", "conv", "weight"} for r in (4, 8)}),
        ("motion mlp", {r: {"affine", "motion_mlp"} for r in (4, 8)}),
        ("motion mlp weight", {r: {"affine", "motion_mlp", "weight"} for r in (4, 8)}),
        ("motion naive", {}),
    ],
)
def test_motion_layers(case, expected):
    G = tiny.generator(**CASES.get(case, {}))
    assert motion_parts(G) == expected
    assert (G.backbone.mapping.embed_motion is not None) == (case == "motion naive")


def test_motion_layers_of_the_paper():
    """Early, middle and late: 2, 4 and 7 blocks of the 256 x 256 planes."""
    narrow = replace(Config().generator, channel_base=512, channel_max=2, w_dim=4, z_dim=4, z_motion_dim=4)
    for blocks, expected in ((2, [4, 8]), (4, [4, 8, 16, 32]), (7, [4, 8, 16, 32, 64, 128, 256])):
        assert list(motion_parts(Generator(replace(narrow, motion_blocks=blocks)))) == expected


MOVING = ["default", *(case for case in CASES if case.startswith("motion"))]


@pytest.mark.parametrize("case", MOVING)
def test_the_code_that_moves(case):
    """z_m moves the picture, but not where z_a takes its place; the appearance code always changes it."""
    G = tiny.generator(torch.float64, **CASES.get(case, {}))
    still, z_motion, z = frames_of(G), tiny.normal(9, 8).double(), tiny.normal(10, 8).double()
    moved = frames_of(G, z_motion=z_motion)
    assert torch.equal(moved, still) == (case == "motion from z_a")
    assert not torch.allclose(frames_of(G, z=z), still)
    times = torch.tensor([0.2, 0.1, 0.6], dtype=torch.float64)
    assert not torch.allclose(frames_of(G, times=times), still), "time moves it in every case"


def test_motion_from_z_a_in_training():
    options = tiny.config(**CASES["motion from z_a"])
    loss = tiny.loss(tiny.networks(options), options)
    fakes = tiny.fakes(options)
    image = loss.synthesise(fakes, CALM).image
    assert torch.equal(loss.synthesise(replace(fakes, z_motion=fakes.z_motion * 3), CALM).image, image)
    assert not torch.equal(loss.synthesise(replace(fakes, times=fakes.times / 2), CALM).image, image)


@pytest.mark.parametrize("case", ["motion weight", "motion mlp weight"])
def test_learned_weights_of_zero_stop_the_motion(case):
    G = tiny.generator(torch.float64, **CASES[case])
    for block in (G.backbone.synthesis.b4, G.backbone.synthesis.b8):
        assert block.motion_time_fuser.weight.item() == 1
        block.motion_time_fuser.weight.zero_()
    camera = tiny.labels(0, 1, dtype=torch.float64).expand(3, -1)
    first, *others = frames_of(G, camera)
    assert all(torch.allclose(first, other) for other in others)
    G.backbone.synthesis.b4.motion_time_fuser.weight.fill_(0.5)
    assert not torch.allclose(*frames_of(G, camera)[:2])


def test_naive_motion_changes_the_latents():
    """With one camera a clip has one latent, unless motion is in it."""
    z, z_motion, camera = tiny.normal(0, 1, 8), tiny.normal(1, 1, 8), tiny.labels(0, 1)
    for case, expected in (("default", False), ("motion naive", True)):
        G = tiny.generator(**CASES.get(case, {}))
        early, late = (G.mapping(z, camera, z_motion, torch.full([1, 1], t)) for t in (0.2, 0.7))
        assert torch.equal(early, late) != expected
        other = G.mapping(z, camera, tiny.normal(2, 1, 8), torch.full([1, 1], 0.2))
        assert torch.equal(early, other) != expected


# --- cameras ---------------------------------------------------------------------------------------------------------


def cameras_seen(loss: Loss, fakes, monkeypatch) -> tuple[torch.Tensor, torch.Tensor]:
    """What mapping network and renderer get in training, [clips, 2, 25] each."""
    mapped, rendered = spy(monkeypatch, loss.G, "mapping"), spy(monkeypatch, loss.G, "render_planes")
    frames = loss.synthesise(fakes, CALM)
    shape = (-1, FRAMES_PER_CLIP, 25)
    assert torch.equal(frames.cameras, rendered[0].inputs[2]), "discriminators judge by the rendering camera"
    return mapped[0].inputs[1].reshape(shape), rendered[0].inputs[2].reshape(shape)


@pytest.mark.parametrize(
    "mode, training, inference",
    [
        # (one camera for mapping, one for rendering) of a clip
        ("MapT", (False, False), (True, False)),
        ("Map", (True, False), (True, False)),
        ("Non", (False, False), (False, False)),
        ("All", (True, True), (True, True)),
    ],
)
def test_camera_modes(mode, training, inference, monkeypatch):
    options = tiny.config(generator__camera_mode=mode)
    nets, fakes = tiny.networks(options), tiny.fakes(options)
    first = fakes.cameras[:, :1].expand_as(fakes.cameras)
    for seen, shared in zip(cameras_seen(tiny.loss(nets, options), fakes, monkeypatch), training, strict=True):
        assert torch.equal(seen, first if shared else fakes.cameras)
    cameras = tiny.labels(0, 3)
    mapped, rendered = spy(monkeypatch, nets.G_ema, "mapping"), spy(monkeypatch, nets.G_ema, "render_planes")
    frames_of(nets.G_ema, cameras)
    for seen, shared in zip((mapped[0].inputs[1], rendered[0].inputs[2]), inference, strict=True):
        assert torch.equal(seen.expand(3, -1), cameras[:1].expand(3, -1) if shared else cameras)


def test_latents_do_not_depend_on_the_camera_without_its_condition():
    z, cameras = tiny.normal(0, 1, 8).expand(3, -1), tiny.labels(1, 3)
    for case, expected in (("default", False), ("generator without cameras", True)):
        G = tiny.generator(**CASES.get(case, {}))
        ws = G.mapping(z, cameras)
        assert torch.equal(ws[:1].expand_as(ws), ws) == expected
        frames = frames_of(G, cameras)
        assert not torch.allclose(frames[0], frames[1]), "the renderer still sees them"


# --- discriminators --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off, left", [("image", "D_vid"), ("video", "D_img")])
def test_a_discriminator_that_is_off_leaves_no_trace(off, left):
    options = tiny.config(**{f"discriminator__{off}": False})
    nets = tiny.networks(options)
    assert [name for name, _ in nets.items()] == ["G", "G_ema", left]
    assert set(build_optimizers(nets, options)) == {"G", left}
    for _, module in nets.items():
        module.requires_grad_(True)
    loss, fakes, reals = tiny.loss(nets, options), tiny.fakes(options), tiny.reals(options)
    reports = [loss.g_main(fakes, CALM), loss.d_main(reals, fakes, CALM), loss.d_reg(reals, CALM)]
    gone = {"image": "img", "video": "vid"}[off]
    assert not [name for report in reports for name in report if name.endswith(gone)]
    logits = loss.judge(loss.synthesise(fakes, CALM), CALM)
    weight = {"D_img": options.loss.lambda_img, "D_vid": options.loss.lambda_vid}[left]
    expected = torch.nn.functional.softplus(-next(iter(logits.values()))).mean() * weight
    torch.testing.assert_close(reports[0]["loss/g"], expected)


def test_video_discriminator_without_dt_ignores_the_times():
    frames = tiny.reals(tiny.config())
    later = replace(frames, times=torch.tensor([[0.1, 0.2]] * 2))
    for case, channels, ignores in (("default", 7, False), ("video without dt", 6, True)):
        options = tiny.config(**CASES.get(case, {}))
        nets = tiny.networks(options)
        loss = tiny.loss(nets, options)
        assert nets.D_vid.assemble(frames.image, frames.times).shape == (2, channels, 32, 32)
        assert nets.D_vid.b32.fromrgb.weight.shape[1] == channels
        assert torch.equal(loss.judge(frames, CALM)["vid"], loss.judge(later, CALM)["vid"]) == ignores


def test_video_discriminator_without_cameras_ignores_them():
    frames = tiny.reals(tiny.config())
    turned = replace(frames, cameras=tiny.labels(77, 4))
    for case, ignores in (("default", False), ("video without cameras", True)):
        options = tiny.config(**CASES.get(case, {}))
        nets = tiny.networks(options)
        loss = tiny.loss(nets, options)
        assert (nets.D_vid.mapping is None) == ignores and nets.D_img.mapping is not None
        before, after = loss.judge(frames, CALM), loss.judge(turned, CALM)
        assert torch.equal(before["vid"], after["vid"]) == ignores and before["vid"].shape == (2, 1)
        assert not torch.equal(before["img"], after["img"])


# --- rendering -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case, side", [("default", 8), ("rendering at 4", 4), ("rendering at 16", 16)])
def test_rendering_resolution(case, side):
    options = tiny.config(**CASES.get(case, {}))
    nets = tiny.networks(options)
    loss, fakes = tiny.loss(nets, options), tiny.fakes(options)
    made = loss.synthesise(fakes, CALM)
    assert made.image_raw.shape == (4, 3, side, side) and made.image.shape == (4, 3, 32, 32)
    images = torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8)
    assert loss.real_frames(images, fakes.times, fakes.cameras, CALM).image_raw.shape == (4, 3, side, side)


@pytest.mark.parametrize("case, sees_yz", [("default", False), ("orthogonal planes", True)])
def test_plane_axes(case, sees_yz, monkeypatch):
    G = tiny.generator(**CASES.get(case, {}))
    calls = spy(monkeypatch, renderer, "project_to_planes")
    frames_of(G)
    points, axes = calls[0].inputs
    assert axes == G.config.rendering.plane_axes
    assert torch.equal(calls[0].output[:, 2], points[..., [1, 2] if sees_yz else [2, 0]])
