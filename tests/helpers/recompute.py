"""Gradients through torch's activation checkpoints, which run a part of a network again instead of keeping it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch.utils.checkpoint import checkpoint

Part = Callable[..., torch.Tensor]


def check_gradients(part: Part, inputs: Sequence[torch.Tensor], parameters: Iterable[torch.Tensor] = ()) -> None:
    """Demand that a checkpoint around `part`, or around its gradient, changes no bit of first and second derivatives.

    Torch refuses a backward pass that reads a saved tensor twice.

    Args:
        inputs: what `part` takes; they and the parameters need gradients.
    """
    leaves = [*inputs, *parameters]

    def loss(run):
        return run(part, *inputs).square().sum()

    def penalty_outside(run):
        value = loss(run)
        slopes = torch.autograd.grad(value, inputs, create_graph=True)
        return value + sum(slope.square().sum() for slope in slopes)

    def penalty_inside(run):
        return run(partial(_slopes, part), *inputs).square().sum()

    for objective in (loss, penalty_outside, penalty_inside):
        kept = torch.autograd.grad(objective(_call), leaves, allow_unused=True)
        again = torch.autograd.grad(objective(partial(checkpoint, use_reentrant=False)), leaves, allow_unused=True)
        assert any(gradient is not None for gradient in kept)
        for one, other in zip(again, kept, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)


def _call(part: Part, *inputs: torch.Tensor) -> torch.Tensor:
    return part(*inputs)


def _slopes(part: Part, *inputs: torch.Tensor) -> torch.Tensor:
    """Return the gradients of the squared result for all inputs, flat."""
    slopes = torch.autograd.grad(part(*inputs).square().sum(), inputs, create_graph=True)
    return torch.cat([slope.flatten() for slope in slopes])
