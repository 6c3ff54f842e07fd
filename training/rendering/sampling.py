"""Where rays are sampled: stratified depths, then depths drawn from the coarse weights (PV3D Eq. 3; NeRF).

S samples on each of R rays of N frames; depths are distances along the unit ray in world units.
"""

import torch
from torch.nn.functional import max_pool1d

WEIGHT_FLOOR = 0.01  # added to the smoothed weights, so that every bin keeps a chance
PDF_EPS = 1e-5  # added to every bin; also the least denominator of the inverse CDF


def stratified_depths(
    near: float, far: float, samples: int, jitter: torch.Tensor | None = None, disparity: bool = False
) -> torch.Tensor:
    """Depths [samples] evenly spaced from near to far, both included, or [..., samples] moved forward by `jitter`.

    They have the type of `jitter`; without it they are float64, for the caller to round.

    Args:
        jitter: uniform numbers [..., samples] in [0, 1) in units of a step (the last sample can pass `far`).
        disparity: space evenly in inverse depth.
    """
    device, dtype = (jitter.device, jitter.dtype) if jitter is not None else (None, torch.float64)
    low, high = (0.0, 1.0) if disparity else (near, far)
    depths = torch.linspace(low, high, samples, device=device, dtype=dtype)
    if jitter is not None:
        depths = depths + jitter * ((high - low) / (samples - 1))
    if disparity:
        depths = 1 / ((1 - depths) / near + depths / far)
    return depths


def smooth_weights(weights: torch.Tensor) -> torch.Tensor:
    """Interval weights [..., S - 1] widened over their neighbours: larger of two, mean of two, plus a floor."""
    flat = weights.reshape(-1, 1, weights.shape[-1])
    edges = max_pool1d(flat, kernel_size=2, stride=1, padding=1)
    widened = (edges[..., 1:] + edges[..., :-1]) / 2 + WEIGHT_FLOOR
    return widened.reshape(weights.shape)


def sample_pdf(bins: torch.Tensor, weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Inverse-CDF samples [..., K] of the piecewise constant density `weights` [..., B] over `bins` [..., B + 1].

    u: [..., K] in [0, 1]. Bins without mass are stepped over.
    """
    weights = weights + PDF_EPS
    cdf = torch.cumsum(weights / weights.sum(dim=-1, keepdim=True), dim=-1)
    cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], dim=-1)
    above = torch.searchsorted(cdf, u.contiguous(), right=True)
    below = (above - 1).clamp(min=0)
    above = above.clamp(max=cdf.shape[-1] - 1)
    cdf_below, cdf_above = cdf.gather(-1, below), cdf.gather(-1, above)
    bin_below, bin_above = bins.gather(-1, below), bins.gather(-1, above)
    mass = cdf_above - cdf_below
    mass = torch.where(mass < PDF_EPS, torch.ones_like(mass), mass)
    return bin_below + (u - cdf_below) / mass * (bin_above - bin_below)


def importance_depths(depths: torch.Tensor, weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """New depths [..., K] where the coarse pass found something.

    Smoothed weight i + 1 feeds the bin between midpoints i and i + 1, as in the reference; the last midpoint is unused.

    Args:
        depths: sorted coarse depths [..., S]; weights: their interval weights [..., S - 1]; u: [..., K] in [0, 1].
    """
    middles = (depths[..., :-1] + depths[..., 1:]) / 2
    inner = smooth_weights(weights)[..., 1:-1]
    return sample_pdf(middles[..., : inner.shape[-1] + 1].contiguous(), inner, u)
