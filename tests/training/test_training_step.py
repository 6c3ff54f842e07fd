"""The golden training step at the paper's size: frames, logits, losses and gradients of the generator's two phases."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
import torch
from torch.nn.functional import softplus

from tests.helpers import float64, full, golden, kinks
from tests.helpers.recording import spy
from tests.helpers.tiny import CALM
from training.loss import Loss
from training.networks.discriminators import Discriminator
from training.networks.generator import Generator


def require_golden_gradients(G: Generator) -> None:
    """Ask for the gradients that the golden file has; all would take longer."""
    for name in golden.listed_parameters("training_step"):
        G.get_parameter(name).requires_grad_(True)


def take_gradients(G: Generator) -> dict[str, torch.Tensor | None]:
    """Return the accumulated gradients, and clear them."""
    gradients = {name: parameter.grad for name, parameter in G.named_parameters()}
    G.zero_grad(set_to_none=True)
    return gradients


@contextmanager
def given_copies(D: Discriminator) -> Iterator[list[torch.Tensor]]:
    """Let a discriminator see copies of its inputs, which are listed and keep their gradients.

    So one backward pass of both losses gives the gradients of each for the frames.
    """
    copies = []

    def copy(_, inputs):
        copies.extend(x.clone() for x in inputs)
        for x in copies:
            if x.requires_grad:
                x.retain_grad()
        return tuple(copies)

    handle = D.register_forward_pre_hook(copy)
    try:
        yield copies
    finally:
        handle.remove()


def check_main_phase(file: str, loss: Loss, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    check = partial(golden.check, file)
    fakes = full.training_fakes(dtype)
    synthesised = spy(monkeypatch, loss.G, "synthesis")
    judged = spy(monkeypatch, loss, "judge")
    same_sides = kinks.decided("step") if dtype == torch.float32 else nullcontext()
    with same_sides, given_copies(loss.D_img) as seen_by_img, given_copies(loss.D_vid) as seen_by_vid:
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
    (call,) = judged
    for name, logits in call.output.items():
        check(f"logits_{name}", logits)
        check(f"loss_{name}", softplus(-logits).mean())
    check("loss_total", report["loss/g"])

    # Gradients of each loss for the frames: those of the sum know its weights.
    weights = loss.config.loss
    image_of_img = seen_by_img[0].grad / weights.lambda_img
    raw_of_img = seen_by_img[1].grad / weights.lambda_img
    pairs = seen_by_vid[0].grad / weights.lambda_vid
    image_of_vid = pairs[:, :6].unflatten(1, (2, 3)).flatten(0, 1)
    check("dimage_img_s31", image_of_img[:, :, ::31, ::31])
    check("dimage_img_norm", image_of_img.double().norm())
    check("dimage_raw_img_s7", raw_of_img[:, :, ::7, ::7])
    check("dimage_raw_img_norm", raw_of_img.double().norm())
    check("dimage_vid_s31", image_of_vid[:, :, ::31, ::31])
    check("dimage_vid_norm", image_of_vid.double().norm())

    # And of the sum for the generator.
    gradients = take_gradients(loss.G)
    golden.check_gradients(file, "grad", gradients)


def check_density_phase(file: str, loss: Loss, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
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
    yield Loss(*networks, full.CONFIG, noise_mode="const", deterministic=True)
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
    loss = Loss(*networks, full.CONFIG, noise_mode="const", deterministic=True)
    with float64.fast_convolutions():
        check_main_phase("training_step_f64", loss, dtype, monkeypatch)
        check_density_phase("training_step_f64", loss, dtype, monkeypatch)
