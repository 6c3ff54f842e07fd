"""Ray marching on the midpoints of intervals (PV3D Eq. 3; the rule of mip-NeRF as EG3D uses it).

S samples on each of R rays of N frames: depths and densities [N, R, S], weights of the S - 1 intervals [N, R, S - 1].
"""

import math

import torch
from torch.nn.functional import pad, softplus

DENSITY_SHIFT = -1.0  # density activation softplus(x - 1): nearly empty at initialisation
TRANSMITTANCE_EPS = 1e-10


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
