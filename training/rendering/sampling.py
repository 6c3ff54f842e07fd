"""Where rays are sampled: stratified depths, then depths drawn from the coarse weights (PV3D Eq. 3; NeRF).

S samples on each of R rays of N frames; depths are distances along the unit ray in world units.
"""

import torch
from torch.nn.functional import max_pool1d, pad

from training.rendering.marching import midpoints

WEIGHT_FLOOR = 0.01  # added to the smoothed weights, so that every bin keeps a chance
PDF_EPS = 1e-5  # added to every bin; also the least denominator of the inverse CDF


def stratified_depths(
    near: float,
    far: float,
    samples: int,
    jitter: torch.Tensor | None = None,
    disparity: bool = False,
) -> torch.Tensor:
    """Return depths [samples], evenly spaced from near to far, both included.

    With `jitter` they are [..., samples], moved forward, of its type; without it they are float64, for the caller to
    round.

    Args:
        jitter: uniform numbers [..., samples] in [0, 1) in units of a step (the last sample can pass `far`).
        disparity: space evenly in inverse depth.
    """
    low = 0.0 if disparity else near
    high = 1.0 if disparity else far
    if jitter is None:
        places = torch.linspace(low, high, samples, dtype=torch.float64)
    else:
        places = torch.linspace(low, high, samples, device=jitter.device, dtype=jitter.dtype)
        step = (high - low) / (samples - 1)
        places = places + jitter * step
    if not disparity:
        return places
    inverse_depths = (1 - places) / near + places / far
    return 1 / inverse_depths


def smooth_weights(weights: torch.Tensor) -> torch.Tensor:
    """Return interval weights [..., S - 1] widened over their neighbours: larger of two, mean of two, plus a floor."""
    intervals = weights.shape[-1]
    flat = weights.reshape(-1, 1, intervals)
    edges = max_pool1d(flat, kernel_size=2, stride=1, padding=1)
    widened = midpoints(edges) + WEIGHT_FLOOR
    return widened.reshape(weights.shape)


def sample_pdf(bins: torch.Tensor, weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return inverse-CDF samples [..., K] of the density `weights` [..., B], constant in each of `bins` [..., B + 1].

    u: [..., K] in [0, 1]. Bins without mass are stepped over.
    """
    weights = weights + PDF_EPS
    pdf = weights / weights.sum(dim=-1, keepdim=True)
    cdf = torch.cumsum(pdf, dim=-1)
    cdf = pad(cdf, (1, 0))

    # The edges of each sample's bin.
    last = cdf.shape[-1] - 1
    above = torch.searchsorted(cdf, u.contiguous(), right=True)
    below = (above - 1).clamp(min=0)
    above = above.clamp(max=last)
    cdf_below = cdf.gather(-1, below)
    cdf_above = cdf.gather(-1, above)
    bin_below = bins.gather(-1, below)
    bin_above = bins.gather(-1, above)

    mass = cdf_above - cdf_below
    mass = mass.masked_fill(mass < PDF_EPS, 1.0)
    width = bin_above - bin_below
    return bin_below + (u - cdf_below) / mass * width


def importance_depths(depths: torch.Tensor, weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Return new depths [..., K] where the coarse pass found something.

    Smoothed weight i + 1 feeds the bin between midpoints i and i + 1, as in the reference; the last midpoint is unused.

    Args:
        depths: sorted coarse depths [..., S].
        weights: their interval weights [..., S - 1].
        u: [..., K] in [0, 1].
    """
    smooth = smooth_weights(weights)
    bins = midpoints(depths)
    return sample_pdf(bins[..., :-1].contiguous(), smooth[..., 1:-1], u)
