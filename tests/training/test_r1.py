"""R1 by finite differences: the penalty itself, and its second-order gradients for the parameters."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from tests.helpers import tiny
from training.loss import r1_image, r1_video

STEP = 1e-6  # of finite differences


@dataclass(kw_only=True)
class Case:
    """A float64 discriminator, its inputs, and its logits and R1 as functions of them."""

    D: torch.nn.Module
    inputs: list[torch.Tensor]
    logits: Callable[..., torch.Tensor]
    r1: Callable[..., torch.Tensor]


def image_case() -> Case:
    options = tiny.config()
    D = tiny.networks(options, torch.float64).D_img
    frames = tiny.reals(options, dtype=torch.float64)
    return Case(
        D=D,
        inputs=[frames.image, frames.image_raw],
        logits=lambda image, raw: D(image, raw, frames.cameras),
        r1=lambda image, raw: r1_image(D, image, raw, frames.cameras),
    )


def video_case() -> Case:
    options = tiny.config()
    D = tiny.networks(options, torch.float64).D_vid
    frames = tiny.reals(options, dtype=torch.float64)
    return Case(
        D=D,
        inputs=[D.assemble(frames.image, frames.times)],
        logits=lambda pairs: D(pairs, frames.cameras),
        r1=lambda pairs: r1_video(D, pairs, frames.cameras),
    )


CASES = pytest.mark.parametrize("make_case", [image_case, video_case])


@CASES
def test_r1_is_the_squared_slope_of_the_logits(make_case):
    """Samples share statistics, so the slope is that of the sum of all logits; steepest along its own gradient."""
    case = make_case()
    penalty = case.r1(*case.inputs)
    assert penalty.shape == (len(case.inputs[0]),)

    leaves = [x.clone().requires_grad_() for x in case.inputs]
    total = case.logits(*leaves).sum()
    gradients = torch.autograd.grad(total, leaves)
    norm = math.sqrt(sum(gradient.square().sum() for gradient in gradients))
    directions = [gradient / norm for gradient in gradients]

    def total_at(distance: float) -> torch.Tensor:
        moved = [x + distance * direction for x, direction in zip(case.inputs, directions, strict=True)]
        return case.logits(*moved).sum()

    slope = (total_at(STEP) - total_at(-STEP)) / (2 * STEP)
    assert slope.item() == pytest.approx(norm, rel=1e-6)
    assert penalty.sum().item() == pytest.approx(norm**2, rel=1e-9)


@CASES
def test_r1_gradients_for_the_parameters(make_case):
    """Second order, against finite differences of the penalty along random directions."""
    case = make_case()
    case.D.requires_grad_(True)
    names = [name for name, _ in case.D.named_parameters()]
    parameters = list(case.D.parameters())
    penalty = case.r1(*case.inputs).mean()
    gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
    without = {name for name, gradient in zip(names, gradients, strict=True) if gradient is None}
    assert without <= {"b4.out.bias"}

    start = [parameter.detach().clone() for parameter in parameters]

    def penalty_at(distance: float, directions: list[torch.Tensor]) -> float:
        for parameter, origin, direction in zip(parameters, start, directions, strict=True):
            parameter.data.copy_(origin + distance * direction)
        return case.r1(*case.inputs).mean().item()

    for seed in (0, 100, 200):
        directions = []
        expected = 0.0
        for index, gradient in enumerate(gradients):
            origin = start[index]
            direction = tiny.normal(seed + index, *origin.shape, dtype=origin.dtype)
            directions.append(direction)
            if gradient is not None:
                expected += (gradient * direction).sum().item()
        ahead = penalty_at(STEP, directions)
        behind = penalty_at(-STEP, directions)
        slope = (ahead - behind) / (2 * STEP)
        assert slope == pytest.approx(expected, rel=1e-5)


def test_r1_of_the_video_discriminator_counts_the_time_plane():
    case = video_case()
    (pairs,) = case.inputs
    leaf = pairs.clone().requires_grad_()
    total = case.logits(leaf).sum()
    (gradient,) = torch.autograd.grad(total, leaf)
    per_channel = gradient.square().sum(dim=[2, 3])
    assert (per_channel[:, 6] > 0).all()
    torch.testing.assert_close(case.r1(pairs), per_channel.sum(dim=1))
