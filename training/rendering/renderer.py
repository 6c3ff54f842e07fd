"""The volume renderer: tri-planes and rays to features, depth and opacity (PV3D Eq. 3).

Shapes: N frames, R rays of a frame, S samples of a ray, C features. World units throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from torch_utils.ops.plane_sampling import sample_planes_mean
from torch_utils.random_numbers import Random, uniform
from training.config import RenderingConfig
from training.rendering import marching
from training.rendering.sampling import importance_depths, stratified_depths

# Which two coordinates (u = width, v = height) each plane sees. The reference's third plane repeats its second.
PLANE_COORDINATES = {"reference": ((0, 1), (0, 2), (2, 0)), "orthogonal": ((0, 1), (0, 2), (1, 2))}

# Mean plane features [..., C] -> raw density [...], colours [..., C].
Decoder = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Rendered:
    """What a frame's rays saw."""

    features: torch.Tensor  # [N, R, C] in about [-1, 1]
    depth: torch.Tensor  # [N, R] expected distance along the ray
    opacity: torch.Tensor  # [N, R] accumulated weight, 0 to 1
    points: torch.Tensor | None = None  # [N, R, 3] mean surface point, where asked for


def project_to_planes(coordinates: torch.Tensor, axes: str) -> torch.Tensor:
    """World points [N, M, 3], scaled to [-1, 1], -> coordinates on each plane [N, 3, M, 2]."""
    return torch.stack([coordinates[..., list(pair)] for pair in PLANE_COORDINATES[axes]], dim=1)


def decode(
    planes: torch.Tensor, decoder: Decoder, coordinates: torch.Tensor, config: RenderingConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Density [N, M], colours [N, M, C] of planes [N, 3, C, H, W] at world points [N, M, 3]; outside the box: zeros."""
    uv = project_to_planes(coordinates * (2 / config.box_side), config.plane_axes)
    return decoder(sample_planes_mean(planes, uv))


def render(
    planes: torch.Tensor,
    decoder: Decoder,
    origins: torch.Tensor,
    directions: torch.Tensor,
    config: RenderingConfig,
    random: Random | bool | None = None,
    with_points: bool = False,
) -> Rendered:
    """Renders rays in two passes, coarse and fine; the samples of both count in the result.

    Args:
        planes: [N, 3, C, H, W]; origins, directions: [N, R, 3].
        random: None for the deterministic mode (no jitter, evenly spaced importance samples); a generator or streams,
            or True for torch's own, to draw both.
        with_points: also return the mean surface points.
    """
    coarse = _coarse_depths(origins, config, random)
    density, colours = _decode_along(planes, decoder, origins, directions, coarse, config)
    depths, seen_colours = coarse, [colours]
    if config.importance_samples > 0:
        with torch.no_grad():
            fine = _fine_depths(coarse, density, config, random)
        fine_density, fine_colours = _decode_along(planes, decoder, origins, directions, fine, config)
        depths, order = torch.sort(torch.cat([coarse, fine], dim=-1), dim=-1)
        density = torch.cat([density, fine_density], dim=-1).gather(-1, order)
        seen_colours = [colours, fine_colours]
    weights = marching.interval_weights(density, depths)
    per_sample = marching.sample_weights(weights)
    if config.importance_samples > 0:  # back to the order of the samples: colours need not be sorted
        per_sample = torch.zeros_like(per_sample).scatter(-1, order, per_sample)
    parts = per_sample.split([c.shape[-2] for c in seen_colours], dim=-1)
    values = sum((w.unsqueeze(-2) @ c).squeeze(-2) for w, c in zip(parts, seen_colours, strict=True))
    opacity = weights.sum(dim=-1)
    points = _surface_points(weights, depths, origins, directions) if with_points else None
    return Rendered(
        marching.composite_rgb(values, opacity, config.white_background),
        marching.expected_depth(weights, depths),
        opacity,
        points,
    )


def _uniform(shape, like: torch.Tensor, random: Random | bool) -> torch.Tensor:
    return uniform(shape, None if random is True else random, like.device, like.dtype)


def _coarse_depths(origins: torch.Tensor, config: RenderingConfig, random) -> torch.Tensor:
    """[N, R, S] sorted depths."""
    shape = (*origins.shape[:2], config.depth_samples)
    jitter = None if random is None else _uniform(shape, origins, random)
    depths = stratified_depths(config.near, config.far, config.depth_samples, jitter, config.disparity)
    return depths.to(origins).expand(shape)


def _fine_depths(depths: torch.Tensor, density: torch.Tensor, config: RenderingConfig, random) -> torch.Tensor:
    """[N, R, K] depths drawn from the coarse weights."""
    shape = (*depths.shape[:2], config.importance_samples)
    if random is None:
        u = torch.linspace(0, 1, config.importance_samples, device=depths.device, dtype=depths.dtype).expand(shape)
    else:
        u = _uniform(shape, depths, random)
    return importance_depths(depths, marching.interval_weights(density, depths), u)


def _decode_along(planes, decoder, origins, directions, depths, config) -> tuple[torch.Tensor, torch.Tensor]:
    """Density [N, R, S] and colours [N, R, S, C] at depths [N, R, S] of rays."""
    n, rays, samples = depths.shape
    points = torch.addcmul(origins.unsqueeze(2), depths.unsqueeze(-1), directions.unsqueeze(2))
    density, colours = decode(planes, decoder, points.reshape(n, rays * samples, 3), config)
    return density.reshape(n, rays, samples), colours.reshape(n, rays, samples, -1)


def _surface_points(weights, depths, origins, directions) -> torch.Tensor:
    """[N, R, 3]: a ray's points are linear in depth, so the mean point lies at the mean depth of the opaque ray."""
    opaque = marching.opaque_weights(weights)
    depth = (opaque * (depths[..., 1:] + depths[..., :-1]) / 2).sum(dim=-1, keepdim=True)
    return origins * opaque.sum(dim=-1, keepdim=True) + depth * directions
