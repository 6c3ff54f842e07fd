"""Ray marching on the midpoints of intervals (PV3D Eq. 3; the rule of mip-NeRF as EG3D uses it).

S samples on each of R rays of N frames: depths and densities [N, R, S], weights of the S - 1 intervals [N, R, S - 1].
"""

import math

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, softplus

from torch_utils.ops.half_products import mixed_product

DENSITY_SHIFT = -1.0  # density activation softplus(x - 1): nearly empty at initialisation
TRANSMITTANCE_EPS = 1e-10
COLOUR_MARGIN = 0.001  # colours reach a little past [0, 1], so that the sigmoid need not saturate (mip-NeRF)


def interval_weights(densities: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Return weights [N, R, S - 1] of the intervals between sorted depths, from raw densities.

    A weight is the opacity of its interval times the share of light that reaches it.
    """
    lengths = torch.diff(depths)
    density = midpoints(densities)
    sigma = softplus(density + DENSITY_SHIFT)
    transparency = torch.exp(-sigma * lengths)
    passed = torch.cumprod(transparency + TRANSMITTANCE_EPS, dim=-1)
    reaching = pad(passed[..., :-1], (1, 0), value=1.0)
    return (1 - transparency) * reaching


def midpoints(values: torch.Tensor) -> torch.Tensor:
    """Return the means [..., S - 1] of neighbouring values [..., S]."""
    first = values[..., :-1]
    second = values[..., 1:]
    return (second + first) / 2


def sample_weights(weights: torch.Tensor) -> torch.Tensor:
    """Turn interval weights [..., S - 1] into weights of the samples [..., S].

    A sum over values at interval midpoints is a sum over samples: each interval gives half its weight to either end.
    """
    half = weights / 2
    of_near_end = pad(half, (0, 1))
    of_far_end = pad(half, (1, 0))
    return of_near_end + of_far_end


def widened(colours: torch.Tensor, total: torch.Tensor | float = 1.0) -> torch.Tensor:
    """Stretch colours from [0, 1] to [-0.001, 1.001]; of sums of weighted colours, `total` is that of the weights."""
    return colours * (1 + 2 * COLOUR_MARGIN) - COLOUR_MARGIN * total


def weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums [N, R, C] of values [N, R, S, C] times weights [N, R, S], in the weights' type.

    Where the values are in half precision there are first derivatives alone.
    """
    if values.dtype != weights.dtype:
        return _MixedSum.apply(weights, values)
    return (weights.unsqueeze(-2) @ values).squeeze(-2)


class _MixedSum(torch.autograd.Function):
    """`weighted_sum` of values in half precision, without a copy of them in float32."""

    @staticmethod
    def forward(ctx, weights, values):
        ctx.save_for_backward(weights, values)
        return mixed_product(weights, values)

    @staticmethod
    @once_differentiable
    def backward(ctx, dout):
        weights, values = ctx.saved_tensors
        dweights = dvalues = None
        if ctx.needs_input_grad[0]:
            dweights = mixed_product(dout, values.mT)
        if ctx.needs_input_grad[1]:
            dvalues = torch.empty_like(values)
            torch.mul(weights.unsqueeze(-1), dout.unsqueeze(-2), out=dvalues)
        return dweights, dvalues


def composite_rgb(values: torch.Tensor, total: torch.Tensor, white_background: bool = False) -> torch.Tensor:
    """Map weighted colours [N, R, C] in about [0, 1] to [-1, 1]; what `total` [N, R] lacks of 1 is black, or white."""
    if white_background:
        missing = 1 - total
        values = values + missing.unsqueeze(-1)
    return values * 2 - 1


def expected_depth(weights: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Return the mean depth [N, R], clamped to the depths of the whole batch; an empty ray gets the greatest."""
    weighted = weights * midpoints(depths)
    depth = weighted.sum(dim=-1) / weights.sum(dim=-1)
    depth = torch.nan_to_num(depth, nan=math.inf)
    nearest = depths.min()
    farthest = depths.max()
    return depth.clamp(min=nearest, max=farthest)


def opaque_weights(weights: torch.Tensor) -> torch.Tensor:
    """Return interval weights whose last entry also takes what is missing to a sum of 1 (for surface points)."""
    missing = 1 - weights.sum(dim=-1, keepdim=True)
    others = weights.shape[-1] - 1
    of_last = pad(missing, (others, 0))
    return weights + of_last
