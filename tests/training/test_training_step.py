"""The golden training step at the paper's size: frames, logits, losses and gradients of the generator's two phases."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.functional import softplus

from tests.helpers import full, golden, kinks
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from training.loss import Frames, Loss, Schedule
from training.networks.generator import Generator


class RecordingLoss(Loss):
    """The loss, keeping the logits and the gradients of each discriminator's loss for the frames alone."""

    def judge(self, frames: Frames, schedule: Schedule) -> dict[str, torch.Tensor]:
        image = frames.image.clone()
        image_raw = frames.image_raw.clone()
        frames = replace(frames, image=image, image_raw=image_raw)
        self.frames = frames
        return super().judge(frames, schedule)

    def adversarial(self, logits: dict[str, torch.Tensor]) -> torch.Tensor:
        frames = self.frames
        inputs = {"img": [frames.image, frames.image_raw], "vid": [frames.image]}
        self.logits = logits
        self.losses = {name: softplus(-value).mean() for name, value in logits.items()}
        self.frame_gradients = {}
        for name, loss in self.losses.items():
            self.frame_gradients[name] = torch.autograd.grad(loss, inputs[name], retain_graph=True)
        return super().adversarial(logits)


def require_golden_gradients(G: Generator) -> None:
    """Ask for the gradients that the golden file has; all would take longer."""
    for name in golden.listed_parameters("training_step"):
        G.get_parameter(name).requires_grad_(True)


def take_gradients(G: Generator) -> dict[str, torch.Tensor | None]:
    """Return the accumulated gradients, and clear them."""
    gradients = {name: parameter.grad for name, parameter in G.named_parameters()}
    G.zero_grad(set_to_none=True)
    return gradients


def check_main_phase(file: str, loss: RecordingLoss, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    check = partial(golden.check, file)
    fakes = full.training_fakes(dtype)
    synthesised = spy(monkeypatch, loss.G, "synthesis")
    same_sides = kinks.decided("step") if dtype == torch.float32 else nullcontext()
    with same_sides:
        report = loss.g_main(fakes, CALM)

    # Frames.
    (call,) = synthesised
    frames = call.output
    image = frames["image"]
    check("image_raw", frames["image_raw"])
    check("image_depth", frames["image_depth"])
    check("image_stat", golden.stat(image))
    if file == "training_step":
        check("image_s5", image[:, :, ::5, ::5])

    # Logits and losses.
    for name in ("img", "vid"):
        check(f"logits_{name}", loss.logits[name])
        check(f"loss_{name}", loss.losses[name])
    check("loss_total", report["loss/g"])

    # Gradients.
    image_of_img, raw_of_img = loss.frame_gradients["img"]
    (image_of_vid,) = loss.frame_gradients["vid"]
    check("dimage_img_s31", image_of_img[:, :, ::31, ::31])
    check("dimage_img_norm", image_of_img.double().norm())
    check("dimage_raw_img_s7", raw_of_img[:, :, ::7, ::7])
    check("dimage_raw_img_norm", raw_of_img.double().norm())
    check("dimage_vid_s31", image_of_vid[:, :, ::31, ::31])
    check("dimage_vid_norm", image_of_vid.double().norm())
    gradients = take_gradients(loss.G)
    golden.check_gradients(file, "grad", gradients)


def check_density_phase(file: str, loss: RecordingLoss, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = spy(monkeypatch, loss.G, "sample")
    points = golden.tensor("training_step", "reg_coordinates", dtype)
    near = golden.tensor("training_step", "reg_coordinates_perturbed", dtype)
    fakes = full.training_fakes(dtype)
    latents = loss.latents(fakes, CALM)
    variation = loss.density_variation(points, near, latents)
    variation.backward()
    (call,) = sampled
    golden.check(file, "reg_sigma", call.output["sigma"])
    golden.check(file, "reg_l1", variation)
    gradients = take_gradients(loss.G)
    golden.check_gradients(file, "reg_grad", gradients)
    for name in golden.listed_parameters(file):
        paints = name.startswith(("to_img_raw.", "superresolution."))
        assert (gradients[name] is None) == paints, name


@pytest.fixture
def full_loss(generator, image_discriminator, video_discriminator):
    require_golden_gradients(generator)
    networks = (generator, image_discriminator, video_discriminator)
    yield RecordingLoss(*networks, full.CONFIG, noise_mode="const", deterministic=True)
    generator.requires_grad_(False)
    generator.zero_grad(set_to_none=True)


def test_generator_step_matches_golden(full_loss, monkeypatch):
    check_main_phase("training_step", full_loss, torch.float32, monkeypatch)


def test_density_regularisation_matches_golden(full_loss, monkeypatch):
    check_density_phase("training_step", full_loss, torch.float32, monkeypatch)


@pytest.mark.slow
def test_both_match_golden_in_float64(monkeypatch):
    dtype = torch.float64
    networks = (full.generator(dtype), full.image_discriminator(dtype), full.video_discriminator(dtype))
    require_golden_gradients(networks[0])
    loss = RecordingLoss(*networks, full.CONFIG, noise_mode="const", deterministic=True)
    check_main_phase("training_step_f64", loss, dtype, monkeypatch)
    check_density_phase("training_step_f64", loss, dtype, monkeypatch)
