"""Both discriminators: golden vectors up to R1's gradients for the parameters, minibatch statistics, conditions."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from tests.helpers import float64, full, golden, kinks
from tests.helpers.recording import recorded
from tests.helpers.tiny import config, labels, normal, seeded, uniform
from training.networks.discriminators import Discriminator, ImageDiscriminator, VideoDiscriminator, minibatch_std

BLOCKS = (512, 256, 128, 64, 32, 16, 8)

# --- Golden vectors --------------------------------------------------------------------------------------------------


def judge(D: Discriminator, case: str, inputs: tuple[torch.Tensor, ...], camera: torch.Tensor) -> dict[str, Any]:
    """Return golden arrays of the forward pass, and the gradients of the logits for the inputs, in differentiable form.

    In float32 the activations beside leaky ReLU's kink fall as they do in float64.
    """
    same_sides = kinks.decided(case) if camera.dtype == torch.float32 else nullcontext()
    blocks = [f"b{r}" for r in BLOCKS]
    with recorded(D, "mapping", "b4", *blocks) as calls, same_sides:
        logits = D(*inputs, camera)
    out = {f"{name}_x_stat": golden.stat(calls[name][0].output) for name in blocks}
    out["logits"] = logits
    out["cmap"] = calls["mapping"][0].output
    out["b4_in_s4"] = calls["b4"][0].inputs[0][:, ::4]
    out["loss_gen"] = softplus(-logits).mean()
    out["loss_disc_fake"] = softplus(logits).mean()
    out["gradients"] = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return out


def squared_norms(gradient: torch.Tensor) -> torch.Tensor:
    """Return the squared norm of each sample's gradient [N, C, H, W]."""
    return gradient.square().sum(dim=[1, 2, 3])


def run_image(D: ImageDiscriminator, rows: int, dtype: torch.dtype) -> dict[str, Any]:
    image, raw, camera, _ = full.discriminator_inputs(rows, dtype)
    image.requires_grad_()
    raw.requires_grad_()
    out = judge(D, "img", (image, raw), camera)
    of_image, of_raw = out.pop("gradients")
    out["r1_image"] = squared_norms(of_image)
    out["r1_image_raw"] = squared_norms(of_raw)
    out["r1"] = out["r1_image"] + out["r1_image_raw"]
    out["dimage_s31"] = of_image[:, :, ::31, ::31]
    out["dimage_raw_s7"] = of_raw[:, :, ::7, ::7]
    return out


def run_video(D: VideoDiscriminator, rows: int, dtype: torch.dtype) -> dict[str, Any]:
    image, _, camera, t = full.discriminator_inputs(rows, dtype)
    pairs = D.assemble(image, t).requires_grad_()
    assert pairs.shape == tuple(golden.load("discriminators")["vid_input_shape"])
    out = judge(D, "vid", (pairs,), camera)
    (of_pairs,) = out.pop("gradients")
    out["r1"] = squared_norms(of_pairs)
    out["dinput_s31"] = of_pairs[:, :, ::31, ::31]
    out["input_stat"] = golden.stat(pairs)
    return out


def gradients_of(parameters: dict[str, nn.Parameter], loss: torch.Tensor, keep: bool) -> dict[str, torch.Tensor | None]:
    """Return the gradients of a loss by parameter; `keep` the graph for another loss."""
    gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=keep, allow_unused=True)
    return dict(zip(parameters, gradients, strict=True))


def check_all(D: Discriminator, run: Callable, case: str, rows: int, dtype: torch.dtype, files: list[str]) -> None:
    """Compare every array of a case: `img` the image discriminator on four frames, `img2` on two, `vid` the other."""
    index = "vid_index" if case == "vid" else "img_index"
    parameters = {name: D.get_parameter(name) for name in golden.listed_parameters("discriminators", index)}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        out = run(D, rows, dtype)
        of_loss = gradients_of(parameters, out["loss_gen"], keep=True)
        of_r1 = gradients_of(parameters, out["r1"].mean(), keep=False)
    finally:
        D.requires_grad_(False)
    for file in files:
        for name, value in out.items():
            golden.check(file, f"{case}_{name}", value)
        golden.check_gradients(file, f"{case}_dloss", of_loss, index)
        golden.check_gradients(file, f"{case}_dr1", of_r1, index)


def test_image_discriminator_matches_golden(image_discriminator):
    check_all(image_discriminator, run_image, "img", rows=4, dtype=torch.float32, files=["discriminators"])


def test_image_discriminator_matches_golden_in_float64():
    """Two frames, so that the minibatch-std group is smaller; the float32 arrays too, within their tolerance."""
    D = full.image_discriminator(torch.float64)
    files = ["discriminators", "discriminators_f64"]
    with float64.fast_convolutions():
        check_all(D, run_image, "img2", rows=2, dtype=torch.float64, files=files)


def test_video_discriminator_matches_golden(video_discriminator):
    check_all(video_discriminator, run_video, "vid", rows=4, dtype=torch.float32, files=["discriminators"])


@pytest.mark.slow
def test_video_discriminator_matches_golden_in_float64():
    D = full.video_discriminator(torch.float64)
    with float64.fast_convolutions():
        check_all(D, run_video, "vid", rows=4, dtype=torch.float64, files=["discriminators_f64"])


# --- Minibatch statistics --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_minibatch_std_matches_golden(count):
    case = f"minibatch_std_n{count}"
    x = golden.tensor("ops", f"{case}_x").requires_grad_()
    y = minibatch_std(x, 4)
    dy = golden.tensor("ops", f"{case}_dy")
    (dx,) = torch.autograd.grad(y, x, dy)
    golden.check("ops", f"{case}_y", y)
    golden.check("ops", f"{case}_dx", dx)


def test_minibatch_std_groups_strided_samples():
    """Sample n is in group n mod (N / G): two clips of four times the same frame have no deviation if interleaved."""
    clips = normal(0, 2, 3, 4, 4)
    interleaved = minibatch_std(clips.repeat(4, 1, 1, 1), 4)[:, 3]
    assert interleaved.max() < 1e-3
    assert minibatch_std(clips.repeat_interleave(4, dim=0), 4)[:, 3].min() > 0.1
    with pytest.raises(ValueError, match="6 samples"):
        minibatch_std(normal(0, 6, 1, 4, 4), 4)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_minibatch_std_keeps_sets_apart(count):
    sets = [normal(seed, count, 3, 4, 4) for seed in (0, 1)]
    together = minibatch_std(torch.cat(sets), 4, sets=2)
    for part, alone in zip(together.chunk(2), sets, strict=True):
        assert torch.equal(part, minibatch_std(alone, 4))
    mixed = minibatch_std(torch.cat(sets), 4)
    assert not torch.allclose(mixed[:, 3], together[:, 3])


# --- What each judges ------------------------------------------------------------------------------------------------

OPTIONS = config().discriminator


def image_discriminator_of(dtype=torch.float64, side=32) -> ImageDiscriminator:
    with seeded(0):
        return ImageDiscriminator(side, OPTIONS).requires_grad_(False).to(dtype)


def video_discriminator_of(dtype=torch.float64, **changes) -> VideoDiscriminator:
    with seeded(0):
        return VideoDiscriminator(32, config(**changes).discriminator).requires_grad_(False).to(dtype)


def test_raw_image_is_judged_at_the_size_of_the_frame():
    """Channels 3 to 5 are the raw image, stretched bilinearly; of any size, also a larger one."""
    D = image_discriminator_of()
    image, camera = normal(0, 2, 3, 32, 32, dtype=torch.float64), labels(1, 2, dtype=torch.float64)
    for side in (4, 32, 64):
        flat = torch.full([2, 3, side, side], 0.3, dtype=torch.float64)
        with recorded(D, "b32") as calls:
            D(image, flat, camera)
        seen = calls["b32"][0].inputs[0]
        assert torch.equal(seen[:, :3], image)
        torch.testing.assert_close(seen[:, 3:], torch.full_like(image, 0.3))


def test_logits_are_projections_on_the_mapped_camera():
    D = image_discriminator_of()
    image, raw, camera = normal(0, 2, 3, 32, 32), normal(1, 2, 3, 8, 8), labels(2, 2)
    image, raw, camera = image.double(), raw.double(), camera.double()
    with recorded(D, "b4", "mapping") as calls:
        logits = D(image, raw, camera)
    product = (calls["b4"][0].output * calls["mapping"][0].output).sum(dim=1, keepdim=True)
    torch.testing.assert_close(logits, product / 8**0.5)
    assert not torch.allclose(logits, D(image, raw, camera.flip(0)))


def test_video_input_is_two_frames_and_the_time_between_them():
    D = video_discriminator_of()
    frames = normal(0, 4, 3, 32, 32, dtype=torch.float64)
    x = D.assemble(frames, torch.tensor([[0.1, 0.5], [0.2, 1.0]], dtype=torch.float64))
    assert x.shape == (2, 7, 32, 32)
    assert torch.equal(x[1, :3], frames[2]) and torch.equal(x[1, 3:6], frames[3])
    torch.testing.assert_close(x[:, 6], torch.tensor([0.4, 0.8], dtype=torch.float64).view(2, 1, 1).expand(2, 32, 32))


def test_video_discriminator_sees_both_cameras_in_order():
    D = video_discriminator_of()
    x = D.assemble(normal(0, 4, 3, 32, 32, dtype=torch.float64), uniform(2, 2, 2, dtype=torch.float64))
    cameras = labels(1, 4, dtype=torch.float64)
    with recorded(D, "mapping") as calls:
        D(x, cameras)
    assert torch.equal(calls["mapping"][0].inputs[0], torch.cat([cameras[0::2], cameras[1::2]], dim=1))


@pytest.mark.parametrize("dtype, half_blocks", [(torch.float16, 4), (torch.bfloat16, 5)])
def test_the_highest_resolutions_run_in_half_precision_and_all_in_bfloat16(dtype, half_blocks):
    D = image_discriminator_of(torch.float32, side=128)
    args = normal(0, 2, 3, 128, 128), normal(1, 2, 3, 8, 8), labels(2, 2)
    exact = D(*args)
    D.precision = dtype
    with recorded(D, *(f"b{r}" for r in (128, 64, 32, 16, 8, 4))) as calls:
        half = D(*args)
    kinds = [calls[f"b{r}"][0].output.dtype for r in (128, 64, 32, 16, 8, 4)]
    assert kinds == [dtype] * half_blocks + [torch.float32] * (6 - half_blocks)
    assert half.dtype == torch.float32 and (half - exact).abs().max() < 0.1 * exact.abs().max()
