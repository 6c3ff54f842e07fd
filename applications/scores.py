"""How close a result comes to its input: PSNR, SSIM, LPIPS, identity."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import conv2d

PEAK = 255.0
SSIM_SIDE = 11  # of the Gaussian window, pixels (Wang et al., 2004)
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03


@dataclass(frozen=True, kw_only=True)
class Closeness:
    """Means over frames; None where a network's weights are not there.

    Args:
        psnr: decibels, higher is closer.
        ssim: up to 1, higher is closer.
        lpips: from 0, lower is closer.
        identity: the cosine of face embeddings, up to 1.
    """

    psnr: float
    ssim: float
    lpips: float | None
    identity: float | None


def psnr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratios [N] of frames uint8 [N, 3, H, W], decibels; infinite for equal ones."""
    error = (a.double() - b.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(PEAK**2 / error)


def ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the structural similarities [N] of frames uint8 [N, 3, H, W], H and W >= 11 (Wang et al., 2004).

    Windows are Gaussian (11 x 11, sigma 1.5) and lie inside of the frames; the three colours are averaged.
    """
    x = a.double().flatten(0, 1).unsqueeze(1)
    y = b.double().flatten(0, 1).unsqueeze(1)
    mean_x = _windowed(x)
    mean_y = _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1 = (SSIM_K1 * PEAK) ** 2
    c2 = (SSIM_K2 * PEAK) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3)).unflatten(0, (len(a), -1)).mean(dim=1)


def _windowed(x: torch.Tensor) -> torch.Tensor:
    """Return Gaussian means of x [N, 1, H, W] over windows that lie inside, [N, 1, H - 10, W - 10]."""
    places = torch.arange(SSIM_SIDE, dtype=x.dtype, device=x.device) - SSIM_SIDE // 2
    weights = torch.exp(-(places**2) / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    down = conv2d(x, weights.view(1, 1, -1, 1))
    return conv2d(down, weights.view(1, 1, 1, -1))


def closeness(
    result: torch.Tensor,
    target: torch.Tensor,
    *,
    lpips: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    identity: float | None = None,
) -> Closeness:
    """Compare frames uint8 [N, 3, R, R] with those that they should be.

    Args:
        lpips: frames in [-1, 1], twice [N, 3, R, R] -> distances [N].
        identity: the mean cosine of face embeddings, if it is known.
    """
    distance = None
    if lpips is not None:
        with torch.no_grad():
            distance = lpips(result.float() / 127.5 - 1, target.float() / 127.5 - 1).mean().item()
    return Closeness(
        psnr=psnr(result, target).mean().item(),
        ssim=ssim(result, target).mean().item(),
        lpips=distance,
        identity=identity,
    )
