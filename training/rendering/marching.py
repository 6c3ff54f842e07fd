"""Ray marching on the midpoints of intervals (PV3D Eq. 3; the rule of mip-NeRF as EG3D uses it).

S samples on each of R rays of N frames: depths and densities [N, R, S], weights of the S - 1 intervals [N, R, S - 1].
"""

import torch
from torch.nn.functional import softplus

DENSITY_SHIFT = -1.0  # density activation softplus(x - 1): nearly empty at initialisation
TRANSMITTANCE_EPS = 1e-10


def interval_weights(densities: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Weights [N, R, S - 1] from raw densities at sorted depths: opacity of an interval times what light reaches it."""
    lengths = depths[..., 1:] - depths[..., :-1]
    sigma = softplus((densities[..., 1:] + densities[..., :-1]) / 2 + DENSITY_SHIFT)
    transparency = torch.exp(-sigma * lengths)
    reach = torch.cumprod(transparency + TRANSMITTANCE_EPS, dim=-1)
    reach = torch.cat([torch.ones_like(reach[..., :1]), reach[..., :-1]], dim=-1)
    return (1 - transparency) * reach


def sample_weights(weights: torch.Tensor) -> torch.Tensor:
    """Interval weights [..., S - 1] -> weights of the samples [..., S].

    A sum over values at interval midpoints is a sum over samples: each interval gives half its weight to either end.
    """
    half = weights / 2
    return torch.nn.functional.pad(half, (0, 1)) + torch.nn.functional.pad(half, (1, 0))


def composite_rgb(values: torch.Tensor, total: torch.Tensor, white_background: bool = False) -> torch.Tensor:
    """Weighted colours [N, R, C] in about [0, 1] -> [-1, 1]; what `total` [N, R] lacks of 1 is black, or white."""
    if white_background:
        values = values + (1 - total).unsqueeze(-1)
    return values * 2 - 1


def expected_depth(weights: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Mean depth [N, R], clamped to the depths of the whole batch; an empty ray gets the greatest."""
    middles = (depths[..., 1:] + depths[..., :-1]) / 2
    depth = (weights * middles).sum(dim=-1) / weights.sum(dim=-1)
    depth = torch.nan_to_num(depth, nan=float("inf"))
    return depth.clamp(min=depths.min(), max=depths.max())


def opaque_weights(weights: torch.Tensor) -> torch.Tensor:
    """Interval weights whose last entry also takes what is missing to a sum of 1 (for surface points)."""
    rest = 1 - weights.sum(dim=-1, keepdim=True)
    return torch.cat([weights[..., :-1], weights[..., -1:] + rest], dim=-1)
