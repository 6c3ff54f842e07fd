"""R1 by finite differences: the penalty itself, and its second-order gradients for the parameters; in bfloat16."""

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
    """A discriminator, its inputs, and its logits and R1 as functions of them."""

    D: torch.nn.Module
    inputs: list[torch.Tensor]
    logits: Callable[..., torch.Tensor]
    r1: Callable[..., torch.Tensor]


def image_case(dtype: torch.dtype = torch.float64, **changes) -> Case:
    options = tiny.config(**changes)
    D = tiny.networks(options, dtype).D_img
    frames = tiny.reals(options, dtype=dtype)
    return Case(
        D=D,
        inputs=[frames.image, frames.image_raw],
        logits=lambda image, raw: D(image, raw, frames.cameras),
        r1=lambda image, raw: r1_image(D, image, raw, frames.cameras),
    )


def video_case(dtype: torch.dtype = torch.float64, **changes) -> Case:
    options = tiny.config(**changes)
    D = tiny.networks(options, dtype).D_vid
    frames = tiny.reals(options, dtype=dtype)
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


@CASES
def test_r1_gradients_in_bfloat16_point_the_same_way(make_case):
    """With channels enough for a CPU's matrix units, where torch's own second derivatives are wrong in bfloat16."""
    case = make_case(torch.float32, discriminator__channel_base=1024, discriminator__channel_max=32)
    weights = {name: weight for name, weight in case.D.named_parameters() if name.endswith("weight")}
    case.D.requires_grad_(True)
    expected = torch.autograd.grad(case.r1(*case.inputs).mean(), list(weights.values()))
    case.D.precision = torch.bfloat16
    found = torch.autograd.grad(case.r1(*case.inputs).mean(), list(weights.values()))
    for name, one, other in zip(weights, found, expected, strict=True):
        cosine = torch.cosine_similarity(one.flatten(), other.flatten(), dim=0)
        assert cosine > 0.99 and one.norm() / other.norm() == pytest.approx(1, abs=0.1), name
