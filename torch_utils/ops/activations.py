"""The activations that `bias_act` knows, with their derivatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

_SQRT2 = math.sqrt(2)
_SELU_SCALE = 1.0507009873554805  # Klambauer et al. 2017
_SELU_ALPHA = 1.6732632423543772
_SELU_FLOOR = _SELU_SCALE * _SELU_ALPHA
_SOFTPLUS_LIMIT = 20  # softplus is the identity above it, as in torch


@dataclass(frozen=True, kw_only=True)
class Activation:
    """One activation and its derivatives.

    `func(z, alpha)` acts on z = x + b. `slope(r, alpha)` is its derivative as a function of the reference, r = func(z)
    or, if `from_input`, r = z; `curve(r)` is the derivative of `slope` with respect to r, None where that is zero.
    `alpha` and `gain` apply when the caller names none; `code` is the number of the activation in the CUDA kernel.
    """

    code: int
    func: Callable[[torch.Tensor, float], torch.Tensor]
    slope: Callable[[torch.Tensor, float], torch.Tensor]
    curve: Callable[[torch.Tensor], torch.Tensor] | None = None
    alpha: float = 0.0
    gain: float = 1.0
    from_input: bool = False


def _step(r, below):
    """Return 1 above zero, else `below`."""
    return torch.where(r > 0, torch.ones_like(r), below)


def _not_above_zero(r):
    return (r <= 0).to(r.dtype)


def _selu_slope(r, alpha):
    return torch.where(r > 0, torch.full_like(r, _SELU_SCALE), r + _SELU_FLOOR)


def _softplus_slope(r, alpha):
    return torch.where(r > _SOFTPLUS_LIMIT, torch.ones_like(r), -torch.expm1(-r))


def _softplus_curve(r):
    return torch.exp(-r) * (r <= _SOFTPLUS_LIMIT)


def _swish_slope(z, alpha):
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _swish_curve(z):
    s = torch.sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


activation_funcs: dict[str, Activation] = {
    "linear": Activation(
        code=0,
        func=lambda z, alpha: z,
        slope=lambda r, alpha: torch.ones_like(r),
    ),
    "relu": Activation(
        code=1,
        func=lambda z, alpha: F.relu(z),
        slope=lambda r, alpha: _step(r, 0 * r),
        gain=_SQRT2,
    ),
    "lrelu": Activation(
        code=2,
        func=F.leaky_relu,
        slope=lambda r, alpha: _step(r, torch.full_like(r, alpha)),
        alpha=0.2,
        gain=_SQRT2,
    ),
    "tanh": Activation(
        code=3,
        func=lambda z, alpha: torch.tanh(z),
        slope=lambda r, alpha: 1 - r * r,
        curve=lambda r: -2 * r,
    ),
    "sigmoid": Activation(
        code=4,
        func=lambda z, alpha: torch.sigmoid(z),
        slope=lambda r, alpha: r * (1 - r),
        curve=lambda r: 1 - 2 * r,
    ),
    "elu": Activation(
        code=5,
        func=lambda z, alpha: F.elu(z),
        slope=lambda r, alpha: _step(r, r + 1),
        curve=_not_above_zero,
    ),
    "selu": Activation(
        code=6,
        func=lambda z, alpha: F.selu(z),
        slope=_selu_slope,
        curve=_not_above_zero,
    ),
    "softplus": Activation(
        code=7,
        func=lambda z, alpha: F.softplus(z),
        slope=_softplus_slope,
        curve=_softplus_curve,
    ),
    "swish": Activation(
        code=8,
        func=lambda z, alpha: z * torch.sigmoid(z),
        slope=_swish_slope,
        curve=_swish_curve,
        gain=_SQRT2,
        from_input=True,
    ),
}
