"""What the four phases compute, which network gets which gradient, and the generator's inputs in training."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus
from torch.testing import assert_close

from dnnlib.options import override
from tests.helpers import tiny
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from torch_utils.random_numbers import Streams
from training.checkpoints.snapshots import Networks
from training.config import Config
from training.fakes import Fakes
from training.judged import Frames
from training.loss import Loss, Schedule, r1_image
from training.phases import Phase, build_phases

ALL_SWAPPED = Schedule(blur_sigma=0.0, swap_probability=1.0)


@pytest.fixture
def networks() -> Networks:
    """Tiny networks that all want gradients."""
    networks = tiny.networks(tiny.config())
    for module in (networks.G, networks.D_img, networks.D_vid):
        module.requires_grad_(True)
    return networks


@pytest.fixture
def loss(networks) -> Loss:
    return tiny.loss(networks, tiny.config())


@pytest.fixture
def fakes() -> Fakes:
    return tiny.fakes(tiny.config())


@pytest.fixture
def reals() -> Frames:
    return tiny.reals(tiny.config())


def gradient_norms(module: torch.nn.Module) -> dict[str, float]:
    """Return the norms of the accumulated gradients, and clear them; parameters without one are left out."""
    norms = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            norms[name] = parameter.grad.norm().item()
    module.zero_grad(set_to_none=True)
    return norms


# --- Generator --------------------------------------------------------------------------------------------------------


def test_generator_phase_reaches_every_parameter(networks, loss, fakes):
    loss.g_main(fakes, CALM)
    norms = gradient_norms(networks.G)
    for name, _ in networks.G.named_parameters():
        reached = norms.get(name, 0.0) > 0
        is_noise = name.startswith("superresolution.") and name.endswith("noise_strength")
        assert reached or is_noise, name  # super-resolution has no noise


def test_density_phase_gives_exactly_nothing_to_colours_of_images(networks, loss, fakes):
    loss.g_reg(fakes, CALM)
    norms = gradient_norms(networks.G)
    paints = ("to_img_raw.", "superresolution.")
    assert not [name for name in norms if name.startswith(paints)]
    assert norms["decoder.net.2.weight"] > 0
    assert norms["backbone.synthesis.b16.conv1.weight"] > 0
    assert gradient_norms(networks.D_img) == {}
    assert gradient_norms(networks.D_vid) == {}


def test_density_phase_draws_near_by_points_in_the_cube(networks, loss, fakes, monkeypatch):
    loss.config = override(loss.config, {"loss.reg_points": 2000})
    calls = spy(monkeypatch, networks.G, "sample")
    report = loss.g_reg(fakes, CALM)
    (call,) = calls
    points, near = call.inputs[0].chunk(2, dim=1)
    assert points.shape == (4, 2000, 3), "per frame"
    assert points.min() < -0.99
    assert points.max() > 0.99
    assert points.abs().max() <= 1
    assert (near - points).std().item() == pytest.approx(0.004, rel=0.05)
    first, second = call.output["sigma"].chunk(2, dim=1)
    expected = (first - second).abs().mean()
    assert_close(report["loss/g_reg"], expected)


# --- Discriminators ---------------------------------------------------------------------------------------------------


def test_discriminator_phases_leave_the_generator_alone(networks, loss, fakes, reals):
    discriminators = (networks.D_img, networks.D_vid)
    loss.d_main(reals, fakes, CALM)
    for D in discriminators:
        names = {name for name, _ in D.named_parameters()}
        assert gradient_norms(D).keys() == names
    loss.d_reg(reals, CALM)
    for D in discriminators:
        assert gradient_norms(D)["b32.fromrgb.weight"] > 0
    assert gradient_norms(networks.G) == {}


def test_only_the_discriminators_phase_tracks_the_mean_latent(networks, loss, fakes, reals):
    mapping = networks.G.backbone.mapping
    before = mapping.w_avg.clone()
    loss.g_main(fakes, CALM)
    loss.g_reg(fakes, CALM)
    loss.d_reg(reals, CALM)
    assert torch.equal(mapping.w_avg, before)
    loss.d_main(reals, fakes, CALM)
    ws = loss.latents(fakes, CALM).ws
    mean = ws[:, 0].mean(dim=0)
    assert_close(mapping.w_avg, 0.998 * before + 0.002 * mean)


# --- Values and gains -------------------------------------------------------------------------------------------------


@pytest.fixture
def weighted(loss) -> Loss:
    """The loss with weights of which no two are alike."""
    weights = {"loss.lambda_img": 0.7, "loss.lambda_vid": 0.3, "loss.gamma": 5.0}
    loss.config = override(loss.config, weights)
    return loss


def test_adversarial_losses_are_what_the_paper_says(weighted, fakes, reals):
    """softplus weighted by lambda: G on -D(fake); D on D(fake) and -D(real)."""
    with torch.no_grad():
        frames = weighted.synthesise(fakes, CALM)
        fake = weighted.judge(frames, CALM)
        real = weighted.judge(reals, CALM)

    def expected(logits: dict[str, torch.Tensor], sign: int) -> torch.Tensor:
        img = softplus(sign * logits["img"]).mean()
        vid = softplus(sign * logits["vid"]).mean()
        return 0.7 * img + 0.3 * vid

    report = weighted.g_main(fakes, CALM)
    assert_close(report["loss/g"].detach(), expected(fake, -1))
    report = weighted.d_main(reals, fakes, CALM)
    assert_close(report["loss/d"], expected(fake, 1) + expected(real, -1))
    assert_close(report["scores/real_vid"].detach(), real["vid"].mean())
    assert_close(report["scores/sign_img"].detach(), real["img"].sign().mean())


def test_sets_of_frames_are_judged_together_as_each_alone(loss):
    """Four clips each, whose groups would be others if they were mixed."""
    sets = [tiny.reals(loss.config, clips=4, seed=seed) for seed in (0, 10)]
    together = loss.judge_together(sets, CALM)
    for logits, frames in zip(together, sets, strict=True):
        alone = loss.judge(frames, CALM)
        assert logits.keys() == alone.keys() == {"img", "vid"}
        for name, value in alone.items():
            assert_close(logits[name], value)


@pytest.mark.parametrize("mixed", [(0,), (1,), (0, 1)], ids=["fakes", "reals", "both"])
def test_stand_ins_are_judged_with_the_set_that_they_are_of(loss, mixed):
    """Each set may have some or none."""
    sets = [tiny.reals(loss.config, clips=4, seed=seed) for seed in (0, 10)]
    for index in mixed:
        sets[index].stand_ins = sets[index].with_clips([1, 2], tiny.reals(loss.config, clips=2, seed=20 + index))
    for logits, frames in zip(loss.judge_together(sets, CALM), sets, strict=True):
        for name, value in loss.judge(frames, CALM).items():
            assert_close(logits[name], value)


def test_r1_weighs_half_of_gamma(networks, weighted, reals):
    D = networks.D_img
    report = weighted.d_reg(reals, CALM)
    penalty = r1_image(D, reals.image, reals.image_raw, reals.cameras).mean()
    assert_close(report["loss/r1_img"], penalty)
    weight = D.b32.conv0.weight
    (gradient,) = torch.autograd.grad(penalty * 2.5, weight)
    assert_close(weight.grad, gradient)


@pytest.mark.parametrize("phase", build_phases(Config()), ids=lambda phase: phase.name)
def test_gain_scales_gradients_and_nothing_else(networks, loss, reals, phase: Phase):
    by_name = dict(networks.items())
    trained = phase.networks[0]
    module = by_name[trained]
    reports = []
    norms = []
    for gain in (1.0, 4.0):
        fakes = tiny.fakes(loss.config)
        report = phase.accumulate(loss, reals=reals, fakes=fakes, schedule=CALM, gain=gain)
        reports.append({name: value.item() for name, value in report.items()})
        norms.append(gradient_norms(module))
    assert reports[0] == pytest.approx(reports[1])
    expected = {name: 4 * value for name, value in norms[0].items()}
    assert norms[1] == pytest.approx(expected, rel=1e-4)


def test_accumulated_passes_equal_one(networks, loss):
    """Two passes of half the clips with half the gain: what gradient accumulation relies on."""
    G = networks.G
    loss.D_img = None
    loss.D_vid.b4.mbstd_group = 1  # statistics over the batch do not split
    fakes = tiny.fakes(loss.config, clips=4)
    loss.g_main(fakes, CALM)
    whole = {name: parameter.grad for name, parameter in G.named_parameters()}
    G.zero_grad(set_to_none=True)
    for rows in (slice(0, 2), slice(2, 4)):
        half = fakes.rows(rows)
        loss.g_main(half, CALM, 0.5)
    for name, parameter in G.named_parameters():
        if whole[name] is not None:
            assert_close(parameter.grad, whole[name], atol=1e-5, rtol=1e-3)


# --- What the generator is given --------------------------------------------------------------------------------------


def test_swapped_cameras_reach_the_mapping_only(loss, fakes):
    latents = loss.latents(fakes, ALL_SWAPPED)
    other = replace(fakes, cameras=fakes.cameras.roll(1, dims=0))
    assert_close(latents.ws, loss.latents(other, CALM).ws)
    assert torch.equal(latents.cameras, fakes.cameras.flatten(0, 1))
    frames = loss.synthesise(fakes, ALL_SWAPPED)
    assert torch.equal(frames.cameras, latents.cameras), "discriminators see the rendering cameras"


def test_frames_of_a_clip_share_codes_but_not_times(networks, loss, fakes):
    latents = loss.latents(fakes, CALM)
    clip_of_frame = [0, 0, 1, 1]
    assert torch.equal(latents.z_motion, fakes.z_motion[clip_of_frame])
    assert torch.equal(latents.t, fakes.times.reshape(4, 1))
    expected = networks.G.mapping(fakes.z[clip_of_frame], latents.cameras)
    assert_close(latents.ws, expected)


def test_training_draws_noise_and_jitter_from_the_streams_of_its_fakes():
    options = tiny.config()
    fakes = tiny.fakes(options)
    loss = tiny.loss(tiny.networks(options), options, noise_mode="random", deterministic=False)
    before = torch.random.get_rng_state()

    def image(seed: int) -> torch.Tensor:
        streams = Streams.seeded((seed,), 2)
        seeded = replace(fakes, random=streams)
        return loss.synthesise(seeded, CALM).image

    first = image(1)
    assert torch.equal(image(1), first)
    assert not torch.equal(image(2), first)
    assert torch.equal(torch.random.get_rng_state(), before)


# --- Fakes used twice -------------------------------------------------------------------------------------------------


@pytest.fixture
def reusing(networks, loss) -> Loss:
    """The loss of a run with `reuse_fakes`."""
    loss.config = override(loss.config, {"training.reuse_fakes": True})
    return loss


def test_discriminators_train_on_the_fakes_that_the_generator_has_just_made(networks, reusing, fakes, reals):
    reusing.g_main(fakes, CALM)
    networks.D_vid.zero_grad(set_to_none=True)
    reusing.d_main(reals, None, CALM)
    reused = {name: parameter.grad for name, parameter in networks.D_vid.named_parameters()}
    networks.D_vid.zero_grad(set_to_none=True)
    reusing.d_main(reals, fakes, CALM)
    for name, parameter in networks.D_vid.named_parameters():
        assert_close(reused[name], parameter.grad)


def test_each_pass_of_the_discriminators_takes_the_fakes_of_the_same_pass(reusing, reals, monkeypatch):
    made = [tiny.fakes(reusing.config, seed=seed) for seed in (0, 10)]
    for each in made:
        reusing.g_main(each, CALM, 0.5)
    calls = spy(monkeypatch, reusing, "judge_together")
    for each in made:
        with torch.no_grad():
            expected = reusing.synthesise(each, CALM)
        reusing.d_main(reals, None, CALM, 0.5)
        judged, _ = calls[-1].inputs[0]
        assert_close(judged.image, expected.image)
        assert not judged.image.requires_grad
    assert not reusing.made


def test_reused_fakes_are_those_that_track_the_mean_latent(networks, reusing, fakes, reals):
    mapping = networks.G.backbone.mapping
    before = mapping.w_avg.clone()
    reusing.g_main(fakes, CALM)
    mean = reusing.latents(fakes, CALM).ws[:, 0].mean(dim=0)
    assert_close(mapping.w_avg, 0.998 * before + 0.002 * mean)
    after = mapping.w_avg.clone()
    reusing.d_main(reals, None, CALM)
    assert torch.equal(mapping.w_avg, after)


def test_a_run_that_reuses_fakes_draws_them_once():
    phases = {phase.name: phase for phase in build_phases(override(Config(), {"training.reuse_fakes": True}))}
    assert phases["g_main"].takes_fakes
    assert phases["g_main"].tracks_mean_latent
    assert not phases["d_main"].takes_fakes
    assert not phases["d_main"].tracks_mean_latent
