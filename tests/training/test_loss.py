"""What the phases compute: the golden training step, schedules, who gets which gradient."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus

from tests.helpers import full, golden, kinks, tiny
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from torch_utils.random_numbers import Streams
from training.config import Config, override
from training.loss import Loss, Schedule, blur, r1_image, schedule
from training.networks.generator import Generator
from training.phases import build_phases

# --- the golden training step ----------------------------------------------------------------------------------------


class Watched(Loss):
    """Keeps what the generator's phases pass on, and the gradients of each loss for the frames alone."""

    def judge(self, frames, schedule):
        self.frames = replace(frames, image=frames.image.clone(), image_raw=frames.image_raw.clone())
        return super().judge(self.frames, schedule)

    def adversarial(self, logits):
        self.logits, self.frame_gradients = logits, {}
        self.losses = {name: softplus(-value).mean() for name, value in logits.items()}
        for name, inputs in (("img", [self.frames.image, self.frames.image_raw]), ("vid", [self.frames.image])):
            self.frame_gradients[name] = torch.autograd.grad(self.losses[name], inputs, retain_graph=True)
        return super().adversarial(logits)


def wanted(G: Generator) -> None:
    """Asks for the gradients that the golden file has; all would take longer."""
    for name in golden.listed_parameters("training_step"):
        G.get_parameter(name).requires_grad_(True)


def gradients_of(G: Generator) -> dict[str, torch.Tensor | None]:
    """The accumulated gradients, which are taken away."""
    gradients = {name: parameter.grad for name, parameter in G.named_parameters()}
    G.zero_grad(set_to_none=True)
    return gradients


def check_main_phase(file: str, loss: Watched, dtype: torch.dtype, monkeypatch) -> None:
    frames = spy(monkeypatch, loss.G, "synthesis")
    with kinks.decided("step") if dtype == torch.float32 else nullcontext():
        report = loss.g_main(full.training_fakes(dtype), CALM)
    made = frames[0].output
    golden.check(file, "image_raw", made["image_raw"])
    golden.check(file, "image_depth", made["image_depth"])
    golden.check(file, "image_stat", golden.stat(made["image"]))
    if file == "training_step":
        golden.check(file, "image_s5", made["image"][:, :, ::5, ::5])
    for name in ("img", "vid"):
        golden.check(file, f"logits_{name}", loss.logits[name])
        golden.check(file, f"loss_{name}", loss.losses[name])
    golden.check(file, "loss_total", report["loss/g"])
    (dimage_img, draw_img), (dimage_vid,) = loss.frame_gradients["img"], loss.frame_gradients["vid"]
    for name, step, value in (
        ("dimage_img", 31, dimage_img),
        ("dimage_raw_img", 7, draw_img),
        ("dimage_vid", 31, dimage_vid),
    ):
        golden.check(file, f"{name}_s{step}", value[:, :, ::step, ::step])
        golden.check(file, f"{name}_norm", value.double().norm())
    golden.check_gradients(file, "grad", gradients_of(loss.G))


def check_density_phase(file: str, loss: Watched, dtype: torch.dtype, monkeypatch) -> None:
    densities = spy(monkeypatch, loss.G, "sample")
    points, near = (golden.tensor("training_step", f"reg_coordinates{name}", dtype) for name in ("", "_perturbed"))
    latents = loss.latents(full.training_fakes(dtype), CALM)
    l1 = loss.density_variation(points, near, latents)
    l1.backward()
    golden.check(file, "reg_sigma", densities[0].output["sigma"])
    golden.check(file, "reg_l1", l1)
    gradients = gradients_of(loss.G)
    golden.check_gradients(file, "reg_grad", gradients)
    for name in golden.listed_parameters(file):
        assert (gradients[name] is None) == name.startswith(("to_img_raw.", "superresolution."))


@pytest.fixture
def full_loss(generator, image_discriminator, video_discriminator):
    wanted(generator)
    yield Watched(
        generator, image_discriminator, video_discriminator, full.CONFIG, noise_mode="const", deterministic=True
    )
    generator.requires_grad_(False).zero_grad(set_to_none=True)


def test_generator_step_matches_golden(full_loss, monkeypatch):
    check_main_phase("training_step", full_loss, torch.float32, monkeypatch)


def test_density_regularisation_matches_golden(full_loss, monkeypatch):
    check_density_phase("training_step", full_loss, torch.float32, monkeypatch)


@pytest.mark.slow
def test_both_match_golden_in_float64(monkeypatch):
    networks = [make(torch.float64) for make in (full.generator, full.image_discriminator, full.video_discriminator)]
    wanted(networks[0])
    loss = Watched(*networks, full.CONFIG, noise_mode="const", deterministic=True)
    check_main_phase("training_step_f64", loss, torch.float64, monkeypatch)
    check_density_phase("training_step_f64", loss, torch.float64, monkeypatch)


# --- schedules and blur ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "clips, sigma, swap",
    [
        (0, 10, 1),
        (25_000, 7.5, 0.9875),
        (50_000, 5, 0.975),
        (100_000, 0, 0.95),
        (500_000, 0, 0.75),
        (1_000_000, 0, 0.5),
        (4_000_000, 0, 0.5),
    ],
)
def test_schedule(clips, sigma, swap):
    """Blur fades over 200 * batch / 32 kimg (batch 16: 100), swapping to one half over 1000 kimg."""
    now = schedule(Config(), clips)
    assert now.blur_sigma == pytest.approx(sigma) and now.swap_probability == pytest.approx(swap)
    twice = schedule(override(Config(), {"training.batch": 32}), clips * 2)
    assert twice.blur_sigma == pytest.approx(sigma)


def test_schedules_that_do_not_fade():
    now = schedule(override(Config(), {"loss.blur_fade_factor": 0.0, "loss.swap_fade_kimg": 0.0}), 0)
    assert now == Schedule(blur_sigma=0.0, swap_probability=0.5)


@pytest.mark.parametrize("sigma", [2.5, 0.9])
def test_blur_matches_golden(sigma):
    """Its taps are 2^-((k / sigma)^2), |k| <= floor(3 sigma), normalised."""
    case = f"blur_sigma{sigma}"
    k = torch.arange(-math.floor(3 * sigma), math.floor(3 * sigma) + 1)
    taps = 2 ** -((k / sigma) ** 2)
    torch.testing.assert_close(taps / taps.sum(), golden.tensor("ops", f"{case}_f"))
    x = golden.tensor("ops", f"{case}_x").requires_grad_()
    y = blur(x, sigma)
    golden.check("ops", f"{case}_y", y)
    golden.check("ops", f"{case}_dx", torch.autograd.grad(y, x, golden.tensor("ops", f"{case}_dy"))[0])


def test_blur_ends_when_no_neighbour_counts():
    x = tiny.normal(0, 1, 3, 8, 8)
    assert blur(x, 0.0) is x and blur(x, 0.33) is x and blur(x, 0.34) is not x


def test_what_is_blurred():
    """The frames of fakes and reals and the raw images of reals; not the raw images of fakes."""
    options, now = tiny.config(), Schedule(blur_sigma=1.5, swap_probability=0.0)
    loss = tiny.loss(tiny.networks(options), options)
    seen = {}
    loss.D_img = lambda image, raw, camera: seen.update(image=image, raw=raw)
    loss.D_vid.forward = lambda x, camera: seen.update(x=x)
    frames = tiny.reals(options)
    loss.judge(frames, now)
    soft = blur(frames.image, 1.5)
    assert torch.equal(seen["image"], soft) and torch.equal(seen["raw"], frames.image_raw)
    assert torch.equal(seen["x"][:, :6], soft.reshape(2, 6, 32, 32))
    images = torch.randint(0, 256, (2, 2, 3, 32, 32), dtype=torch.uint8)
    sharp, real = (loss.real_frames(images, frames.times, frames.cameras.unflatten(0, (2, 2)), s) for s in (CALM, now))
    assert torch.equal(real.image, sharp.image) and torch.equal(real.image_raw, blur(sharp.image_raw, 1.5))


def test_real_frames_are_scaled_and_shrunk():
    options = tiny.config()
    loss = tiny.loss(tiny.networks(options), options)
    images = torch.zeros(2, 2, 3, 32, 32, dtype=torch.uint8)
    images[1, 0] = 255
    cameras = tiny.labels(0, 2, 2)
    real = loss.real_frames(images, torch.zeros(2, 2), cameras, CALM)
    assert real.image[:2].unique().tolist() == [-1] and real.image[2].unique().tolist() == [1]
    assert real.image_raw.shape == (4, 3, 8, 8)
    torch.testing.assert_close(real.image_raw[2], torch.ones(3, 8, 8))
    assert torch.equal(real.cameras, cameras.flatten(0, 1))


# --- phases ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def setting():
    """Tiny networks that all want gradients, their loss, fakes and reals."""
    options = tiny.config()
    nets = tiny.networks(options)
    for module in (nets.G, nets.D_img, nets.D_vid):
        module.requires_grad_(True)
    return nets, tiny.loss(nets, options), tiny.fakes(options), tiny.reals(options)


def gradient_norms(module) -> dict[str, float]:
    """Norms of the accumulated gradients, which are taken away; parameters without one are left out."""
    norms = {name: p.grad.norm().item() for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return norms


def test_generator_phase_reaches_every_parameter(setting):
    nets, loss, fakes, _ = setting
    loss.g_main(fakes, CALM)
    norms = gradient_norms(nets.G)
    silent = {name for name in dict(nets.G.named_parameters()) if not norms.get(name)}
    assert silent == {name for name in silent if "superresolution" in name and name.endswith("noise_strength")}


def test_density_phase_gives_exactly_nothing_to_colours_of_images(setting):
    nets, loss, fakes, _ = setting
    loss.g_reg(fakes, CALM)
    norms = gradient_norms(nets.G)
    assert not [name for name in norms if name.startswith(("to_img_raw.", "superresolution."))]
    assert norms["decoder.net.2.weight"] > 0 and norms["backbone.synthesis.b16.conv1.weight"] > 0
    assert gradient_norms(nets.D_img) == gradient_norms(nets.D_vid) == {}


def test_density_phase_draws_near_by_points_in_the_cube(setting, monkeypatch):
    nets, loss, fakes, _ = setting
    loss.config = override(loss.config, {"loss.reg_points": 2000})
    calls = spy(monkeypatch, nets.G, "sample")
    report = loss.g_reg(fakes, CALM)
    points, near = calls[0].inputs[0].chunk(2, dim=1)
    assert points.shape == (4, 2000, 3), "per frame"
    assert points.min() < -0.99 and points.max() > 0.99 and points.abs().max() <= 1
    assert (near - points).std().item() == pytest.approx(0.004, rel=0.05)
    sigma = calls[0].output["sigma"]
    torch.testing.assert_close(report["loss/g_reg"], (sigma[:, :2000] - sigma[:, 2000:]).abs().mean())


def test_discriminator_phases_leave_the_generator_alone(setting):
    nets, loss, fakes, reals = setting
    loss.d_main(reals, fakes, CALM)
    for D in (nets.D_img, nets.D_vid):
        assert set(gradient_norms(D)) == set(dict(D.named_parameters()))
    loss.d_reg(reals, CALM)
    for D in (nets.D_img, nets.D_vid):
        assert gradient_norms(D)["b32.fromrgb.weight"] > 0
    assert gradient_norms(nets.G) == {}


def test_only_the_discriminators_phase_tracks_the_mean_latent(setting):
    nets, loss, fakes, reals = setting
    mapping = nets.G.backbone.mapping
    before = mapping.w_avg.clone()
    loss.g_main(fakes, CALM), loss.g_reg(fakes, CALM), loss.d_reg(reals, CALM)
    assert torch.equal(mapping.w_avg, before)
    loss.d_main(reals, fakes, CALM)
    ws = loss.latents(fakes, CALM).ws
    torch.testing.assert_close(mapping.w_avg, 0.998 * before + 0.002 * ws[:, 0].mean(dim=0))


def test_losses_are_what_the_paper_says(setting):
    """softplus weighted by lambda: G on -D(fake); D on D(fake) and -D(real); R1 gamma / 2."""
    nets, loss, fakes, reals = setting
    options = loss.config = override(loss.config, {"loss.lambda_img": 0.7, "loss.lambda_vid": 0.3, "loss.gamma": 5.0})
    assert options.loss.gamma == 5.0
    with torch.no_grad():
        fake, real = (loss.judge(frames, CALM) for frames in (loss.synthesise(fakes, CALM), reals))

    def weighted(logits, sign):
        return 0.7 * softplus(sign * logits["img"]).mean() + 0.3 * softplus(sign * logits["vid"]).mean()

    torch.testing.assert_close(loss.g_main(fakes, CALM)["loss/g"].detach(), weighted(fake, -1))
    report = loss.d_main(reals, fakes, CALM)
    torch.testing.assert_close(report["loss/d"], weighted(fake, 1) + weighted(real, -1))
    torch.testing.assert_close(report["scores/real_vid"].detach(), real["vid"].mean())
    torch.testing.assert_close(report["scores/sign_img"].detach(), real["img"].sign().mean())
    gradient_norms(nets.D_img)
    penalties = loss.d_reg(reals, CALM)
    expected = r1_image(nets.D_img, reals.image, reals.image_raw, reals.cameras).mean()
    torch.testing.assert_close(penalties["loss/r1_img"], expected)
    total = torch.autograd.grad(expected * 2.5, nets.D_img.b32.conv0.weight)[0]
    torch.testing.assert_close(nets.D_img.b32.conv0.weight.grad, total)


@pytest.mark.parametrize("phase", build_phases(Config()), ids=lambda phase: phase.name)
def test_gain_scales_gradients_and_nothing_else(setting, phase):
    nets, loss, _, reals = setting
    module, results = dict(nets.items())[phase.networks[0]], []
    for gain in (1.0, 4.0):
        fakes = tiny.fakes(loss.config)
        report = phase.accumulate(loss, reals=reals, fakes=fakes, schedule=CALM, gain=gain)
        results.append(({name: value.item() for name, value in report.items()}, gradient_norms(module)))
    (report1, norms1), (report4, norms4) = results
    assert report1 == pytest.approx(report4)
    assert norms4 == pytest.approx({name: 4 * value for name, value in norms1.items()}, rel=1e-4)


def test_accumulated_passes_equal_one(setting):
    """Two passes of half the clips with half the gain: what gradient accumulation relies on."""
    nets, loss, _, _ = setting
    fakes = tiny.fakes(loss.config, 4)
    loss.D_img = None
    nets.D_vid.b4.mbstd_group = 1  # statistics over the batch do not split
    loss.g_main(fakes, CALM)
    whole = {name: p.grad.clone() for name, p in nets.G.named_parameters() if p.grad is not None}
    nets.G.zero_grad(set_to_none=True)
    for rows in (slice(0, 2), slice(2, 4)):
        loss.g_main(fakes.rows(rows), CALM, 0.5)
    for name, parameter in nets.G.named_parameters():
        if name in whole:
            torch.testing.assert_close(parameter.grad, whole[name], atol=1e-5, rtol=1e-3)


def test_swapped_cameras_reach_the_mapping_only(setting):
    nets, loss, fakes, _ = setting
    swapped = Schedule(blur_sigma=0.0, swap_probability=1.0)
    latents = loss.latents(fakes, swapped)
    ws, rendered = latents.ws, latents.cameras
    other = replace(fakes, cameras=fakes.cameras.roll(1, dims=0))
    torch.testing.assert_close(ws, loss.latents(other, CALM).ws)
    assert torch.equal(rendered, fakes.cameras.flatten(0, 1))
    assert torch.equal(loss.synthesise(fakes, swapped).cameras, rendered), "discriminators see the rendering cameras"


def test_frames_of_a_clip_share_codes_but_not_times(setting):
    nets, loss, fakes, _ = setting
    latents = loss.latents(fakes, CALM)
    ws, z_motion, t, cameras = latents.ws, latents.z_motion, latents.t, latents.cameras
    assert (len(ws), len(z_motion)) == (4, 4) and torch.equal(z_motion, fakes.z_motion[[0, 0, 1, 1]])
    assert torch.equal(t, fakes.times.reshape(4, 1))
    expected = nets.G.mapping(fakes.z[[0, 0, 1, 1]], cameras)
    torch.testing.assert_close(ws, expected)


def test_training_draws_noise_and_jitter_from_the_streams_of_its_fakes():
    options = tiny.config()
    nets, fakes = tiny.networks(options), tiny.fakes(options)
    state = torch.random.get_rng_state()
    loss = tiny.loss(nets, options, noise_mode="random", deterministic=False)
    seeded = [replace(fakes, random=Streams.seeded((seed,), range(2), torch.device("cpu"))) for seed in (1, 1, 2)]
    images = [loss.synthesise(given, CALM).image for given in seeded]
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert torch.equal(torch.random.get_rng_state(), state)
