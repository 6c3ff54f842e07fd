"""Every ablation of PV3D T. 2 and T. 3 (and the plane axes) trains and samples; what those of motion change."""

from dataclasses import replace

import pytest
import torch

from dnnlib.options import options_of
from tests.helpers import ablations, tiny
from tests.helpers.ablations import CASES, frames_of
from tests.helpers.tiny import CALM
from training.checkpoints.snapshots import Networks, build_optimizers
from training.config import ABLATIONS, Config
from training.loss import Loss, Schedule
from training.networks.generator import Generator
from training.phases import Phase, build_phases

# --- All --------------------------------------------------------------------------------------------------------------


def test_every_ablation_is_here():
    """Options under the heading of ablations; the values beside the default are the cases."""
    expected = {option.key for option in options_of(Config) if option.group == ABLATIONS}
    keys = set()
    for changes in CASES.values():
        keys |= {name.replace("__", ".") for name in changes}
    assert keys == expected


@pytest.mark.parametrize("case", CASES)
def test_trains_every_phase_and_samples(case):
    options = ablations.config(case)
    networks = tiny.networks(options)
    loss = tiny.loss(networks, options, noise_mode="random", deterministic=False)
    optimizers = build_optimizers(networks, options)
    for phase in build_phases(options):
        check_phase(phase, loss, networks, optimizers)
    frames = frames_of(networks.G)
    assert frames.shape == (3, 3, 32, 32)
    assert frames.isfinite().all()
    assert frames.std() > 0


def check_phase(phase: Phase, loss: Loss, networks: Networks, optimizers: dict[str, torch.optim.Adam]) -> None:
    """Run a phase and its optimisers: most parameters of its networks change, and all stay finite."""
    trained = {name: module for name, module in networks.items() if name in phase.networks}
    for module in trained.values():
        module.requires_grad_(True)
    fakes = tiny.fakes(loss.config)
    reals = tiny.reals(loss.config)
    now = Schedule(blur_sigma=1.0, swap_probability=0.5)
    report = phase.accumulate(loss, reals=reals, fakes=fakes, schedule=now)
    assert report
    for name, value in report.items():
        assert value.isfinite(), name
    for name, module in trained.items():
        before = [parameter.detach().clone() for parameter in module.parameters()]
        optimizer = optimizers[name]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        module.requires_grad_(False)
        changed = 0
        for old, new in zip(before, module.parameters(), strict=True):
            assert new.isfinite().all()
            if not torch.equal(old, new):
                changed += 1
        assert changed > len(before) / 2


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_of_the_generator_is_of_use(case):
    """The main phase gives each a gradient, but the noise strengths of super-resolution, which has no noise."""
    options = ablations.config(case)
    networks = tiny.networks(options, torch.float64)
    networks.G.requires_grad_(True)
    loss = tiny.loss(networks, options)
    fakes = tiny.fakes(options, dtype=torch.float64)
    loss.g_main(fakes, CALM)
    useless = set()
    for name, parameter in networks.G.named_parameters():
        gradient = parameter.grad
        if gradient is None or not gradient.any():
            useless.add(name)
    expected = {f"superresolution.block{i}.conv{j}.noise_strength" for i in (0, 1) for j in (0, 1)}
    if case == "generator without cameras":
        expected.add("backbone.mapping.embed.weight")
    assert useless == expected


# --- Motion -----------------------------------------------------------------------------------------------------------


def motion_parts(G: Generator) -> dict[int, set[str]]:
    """Return the resolutions that have motion layers, with the parameters' first names."""
    synthesis = G.backbone.synthesis
    parts = {}
    for resolution in synthesis.resolutions:
        layer = synthesis.get_submodule(f"b{resolution}").motion_time_fuser
        if layer:
            names = [name for name, _ in layer.named_parameters()]
            parts[resolution] = {name.split(".")[0] for name in names}
    return parts


@pytest.mark.parametrize(
    "case, resolutions, parts",
    [
        ("default", [4, 8], {"affine", "motion_mlp", "conv"}),
        ("motion early", [4], {"affine", "motion_mlp", "conv"}),
        ("motion late", [4, 8, 16], {"affine", "motion_mlp", "conv"}),
        ("motion weight", [4, 8], {"affine", "motion_mlp", "conv", "weight"}),
        ("motion mlp", [4, 8], {"affine", "motion_mlp"}),
        ("motion mlp weight", [4, 8], {"affine", "motion_mlp", "weight"}),
        ("motion naive", [], set()),
    ],
)
def test_motion_layers(case, resolutions, parts):
    G = ablations.generator(case)
    assert motion_parts(G) == dict.fromkeys(resolutions, parts)
    is_embedded = G.backbone.mapping.embed_motion is not None
    assert is_embedded == (case == "motion naive")


@pytest.mark.parametrize(
    "blocks, expected",
    [
        (2, [4, 8]),
        (4, [4, 8, 16, 32]),
        (7, [4, 8, 16, 32, 64, 128, 256]),
    ],
)
def test_motion_layers_of_the_paper(blocks, expected):
    """Early, middle and late: 2, 4 and 7 blocks of the 256 x 256 planes."""
    narrow = replace(Config().generator, channel_base=512, channel_max=2, w_dim=4, z_dim=4, z_motion_dim=4)
    with tiny.seeded(0):
        G = Generator(replace(narrow, motion_blocks=blocks))
    assert list(motion_parts(G)) == expected


MOVING = ["default", *(case for case in CASES if case.startswith("motion"))]


@pytest.mark.parametrize("case", MOVING)
def test_the_code_that_moves(case):
    """z_m moves the picture, but not where z_a takes its place; the appearance code always changes it."""
    G = ablations.generator(case, torch.float64)
    frames = frames_of(G)
    moved = frames_of(G, z_motion=tiny.normal(9, 8, dtype=torch.float64))
    assert torch.equal(moved, frames) == (case == "motion from z_a")
    other = frames_of(G, z=tiny.normal(10, 8, dtype=torch.float64))
    assert not torch.allclose(other, frames)
    later = frames_of(G, times=torch.tensor([0.2, 0.1, 0.6], dtype=torch.float64))
    assert not torch.allclose(later, frames), "time moves it in every case"


def test_motion_from_z_a_in_training():
    options = ablations.config("motion from z_a")
    loss = tiny.loss(tiny.networks(options), options)
    fakes = tiny.fakes(options)
    other_motion = replace(fakes, z_motion=fakes.z_motion * 3)
    other_times = replace(fakes, times=fakes.times / 2)
    frames = loss.synthesise(fakes, CALM)
    same = loss.synthesise(other_motion, CALM)
    moved = loss.synthesise(other_times, CALM)
    assert torch.equal(same.image, frames.image)
    assert not torch.equal(moved.image, frames.image)


@pytest.mark.parametrize("case", ["motion weight", "motion mlp weight"])
def test_learned_weights_of_zero_stop_the_motion(case):
    G = ablations.generator(case, torch.float64)
    synthesis = G.backbone.synthesis
    first_weight = synthesis.b4.motion_time_fuser.weight
    for weight in (first_weight, synthesis.b8.motion_time_fuser.weight):
        assert weight.item() == 1
        weight.zero_()
    camera = tiny.labels(0, 1, dtype=torch.float64).expand(3, -1)
    first, second, third = frames_of(G, cameras=camera)
    assert torch.allclose(first, second)
    assert torch.allclose(first, third)
    first_weight.fill_(0.5)
    first, second, _ = frames_of(G, cameras=camera)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("case", ["default", "motion naive"])
def test_naive_motion_changes_the_latents(case):
    """With one camera a clip has one latent, unless motion is in it."""
    G = ablations.generator(case)
    z = tiny.normal(0, 1, 8)
    z_motion = tiny.normal(1, 1, 8)
    camera = tiny.labels(0, 1)
    early = torch.full([1, 1], 0.2)
    late = torch.full([1, 1], 0.7)
    ws = G.mapping(z, camera, z_motion, early)
    ws_late = G.mapping(z, camera, z_motion, late)
    ws_moved = G.mapping(z, camera, tiny.normal(2, 1, 8), early)
    one_latent = case == "default"
    assert torch.equal(ws, ws_late) == one_latent
    assert torch.equal(ws, ws_moved) == one_latent
