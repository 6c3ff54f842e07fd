"""R1 by finite differences: the penalty itself, and its second-order gradients for the parameters."""

import math

import pytest
import torch

from tests.helpers import tiny
from training.loss import r1_image, r1_video


def random_directions(tensors: list[torch.Tensor], seed: int) -> list[torch.Tensor]:
    return [tiny.normal(seed + i, *x.shape, dtype=x.dtype) for i, x in enumerate(tensors)]


def discriminator_case(name: str):
    """A float64 discriminator, its logits as a function of its inputs, the inputs, and its R1."""
    options = tiny.config()
    nets, frames = tiny.networks(options, torch.float64), tiny.reals(options, dtype=torch.float64)
    if name == "img":
        D = nets.D_img
        return (
            D,
            lambda image, raw: D(image, raw, frames.cameras),
            [frames.image, frames.image_raw],
            lambda image, raw: r1_image(D, image, raw, frames.cameras),
        )
    D = nets.D_vid
    return (
        D,
        lambda x: D(x, frames.cameras),
        [D.assemble(frames.image, frames.times)],
        lambda x: r1_video(D, x, frames.cameras),
    )


@pytest.mark.parametrize("name", ["img", "vid"])
def test_r1_is_the_squared_slope_of_the_logits(name):
    """Samples share statistics, so the slope is that of the sum of all logits; steepest along its own gradient."""
    D, logits, inputs, r1 = discriminator_case(name)
    penalty = r1(*inputs)
    assert penalty.shape == (len(inputs[0]),)
    leaves = [x.clone().requires_grad_() for x in inputs]
    gradients = torch.autograd.grad(logits(*leaves).sum(), leaves)
    norm = math.sqrt(sum(g.square().sum() for g in gradients))
    step = 1e-6
    ahead, behind = (
        logits(*(x + sign * step * g / norm for x, g in zip(inputs, gradients, strict=True))).sum() for sign in (1, -1)
    )
    assert ((ahead - behind) / (2 * step)).item() == pytest.approx(norm, rel=1e-6)
    assert penalty.sum().item() == pytest.approx(norm**2, rel=1e-9)


@pytest.mark.parametrize("name", ["img", "vid"])
def test_r1_gradients_for_the_parameters(name):
    """Second order, against finite differences of the penalty along random directions."""
    D, _, inputs, r1 = discriminator_case(name)
    D.requires_grad_(True)
    parameters = list(D.parameters())
    gradients = torch.autograd.grad(r1(*inputs).mean(), parameters, allow_unused=True)
    assert {n for (n, _), g in zip(D.named_parameters(), gradients, strict=True) if g is None} <= {"b4.out.bias"}
    start, step = [p.detach().clone() for p in parameters], 1e-6
    for seed in range(3):
        directions = random_directions(start, 100 * seed)
        values = []
        for sign in (1, -1):
            for p, s, v in zip(parameters, start, directions, strict=True):
                p.data.copy_(s + sign * step * v)
            values.append(r1(*inputs).mean().item())
        expected = sum((g * v).sum().item() for g, v in zip(gradients, directions, strict=True) if g is not None)
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(expected, rel=1e-5)


def test_r1_of_the_video_discriminator_counts_the_time_plane():
    D, _, (x,), r1 = discriminator_case("vid")
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(D(leaf, tiny.reals(tiny.config(), dtype=torch.float64).cameras).sum(), leaf)
    per_channel = gradient.square().sum(dim=[2, 3])
    assert (per_channel[:, 6] > 0).all()
    torch.testing.assert_close(r1(x), per_channel.sum(dim=1))
