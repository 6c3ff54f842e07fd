"""The volume renderer: tri-planes and rays to features, depth and opacity (PV3D Eq. 3).

Shapes: N frames, R rays of a frame, S samples of a ray, C features. World units throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import Literal

import torch

from torch_utils.ops.plane_sampling import sample_planes_mean
from torch_utils.random_numbers import Random, uniform
from training.config import RenderingConfig
from training.rendering import marching
from training.rendering.sampling import importance_depths, stratified_depths

# Which two coordinates (u = width, v = height) each plane sees. The reference's third plane repeats its second.
PLANE_COORDINATES = {
    "reference": ((0, 1), (0, 2), (2, 0)),
    "orthogonal": ((0, 1), (0, 2), (1, 2)),
}

# Mean plane features [..., C] -> raw density [...], colours [..., C].
Decoder = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

# What draws the samples along rays: None for even spacing, a generator or streams, True for torch's own generator.
Jitter = Random | Literal[True] | None


@dataclass(kw_only=True)
class Rendered:
    """The result of marching along the rays of N frames."""

    features: torch.Tensor  # [N, R, C] in about [-1, 1]
    depth: torch.Tensor  # [N, R] expected distance along the ray
    opacity: torch.Tensor  # [N, R] accumulated weight, 0 to 1
    points: torch.Tensor | None = None  # [N, R, 3] mean surface point, where asked for


@dataclass(kw_only=True)
class _Samples:
    """What one pass found along the rays."""

    depths: torch.Tensor  # [N, R, S], sorted
    density: torch.Tensor  # [N, R, S], raw
    colours: torch.Tensor  # [N, R, S, C]


def project_to_planes(coordinates: torch.Tensor, axes: str) -> torch.Tensor:
    """Project world points [N, M, 3], scaled to [-1, 1], to coordinates on each plane [N, 3, M, 2].

    In memory each coordinate of each plane is in one piece, as the lookup likes it.
    """
    xyz = coordinates.unbind(dim=-1)
    uv = [torch.stack([xyz[axis] for axis in seen]) for seen in zip(*PLANE_COORDINATES[axes], strict=True)]
    return torch.stack(uv).permute(2, 1, 3, 0)


def decode(
    planes: torch.Tensor, decoder: Decoder, coordinates: torch.Tensor, config: RenderingConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return density [N, M] and colours [N, M, C] of planes [N, 3, C, H, W] at world points [N, M, 3].

    Outside of the box the decoder sees zeros.
    """
    uv = project_to_planes(coordinates * (2 / config.box_side), config.plane_axes)
    return decoder(sample_planes_mean(planes, uv))


def render(
    planes: torch.Tensor,
    decoder: Decoder,
    origins: torch.Tensor,
    directions: torch.Tensor,
    *,
    config: RenderingConfig,
    random: Jitter = None,
    with_points: bool = False,
) -> Rendered:
    """Render rays in two passes, coarse and fine; the samples of both count in the result.

    Args:
        planes: [N, 3, C, H, W].
        decoder: mean plane features [..., C] -> raw density [...], colours [..., C], which in half precision are not
            `widened` yet.
        origins, directions: [N, R, 3].
        random: None for the deterministic mode (no jitter, evenly spaced importance samples); a generator or streams,
            or True for torch's own, to draw both.
        with_points: also return the mean surface points.
    """
    field = partial(decode, planes, decoder, config=config)

    # Coarse pass: over the whole ray.
    depths = _coarse_depths(origins, config, random)
    coarse = _sample(field, origins, directions, depths)
    density = coarse.density
    passes = [coarse]
    order = None

    # Fine pass, where the coarse one found something; then both merged by depth.
    if config.importance_samples > 0:
        fine = _sample(field, origins, directions, _fine_depths(coarse, config, random))
        passes.append(fine)
        depths = torch.cat([coarse.depths, fine.depths], dim=-1)
        depths, order = torch.sort(depths, dim=-1)
        density = torch.cat([coarse.density, fine.density], dim=-1)
        density = density.gather(-1, order)

    # Composite.
    weights = marching.interval_weights(density, depths)
    colours = _weighted_colours(passes, marching.sample_weights(weights), order)
    opacity = weights.sum(dim=-1)
    if coarse.colours.dtype != colours.dtype:  # in half precision
        colours = marching.widened(colours, opacity.unsqueeze(-1))
    points = _surface_points(weights, depths, origins, directions) if with_points else None
    return Rendered(
        features=marching.composite_rgb(colours, opacity, config.white_background),
        depth=marching.expected_depth(weights, depths),
        opacity=opacity,
        points=points,
    )


def _sample(
    field: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    origins: torch.Tensor,
    directions: torch.Tensor,
    depths: torch.Tensor,
) -> _Samples:
    """Evaluate a field, world points [N, M, 3] -> density, colours, at depths [N, R, S] of rays."""
    points = torch.addcmul(origins.unsqueeze(2), depths.unsqueeze(-1), directions.unsqueeze(2))
    density, colours = field(points.flatten(1, 2))
    rays_and_samples = depths.shape[1:]
    return _Samples(
        depths=depths,
        density=density.unflatten(1, rays_and_samples),
        colours=colours.unflatten(1, rays_and_samples),
    )


def _weighted_colours(passes: list[_Samples], weights: torch.Tensor, order: torch.Tensor | None) -> torch.Tensor:
    """Return the sum [N, R, C] of the colours of all passes times the weights [N, R, S] of all samples.

    `order` [N, R, S] tells where the samples, sorted by depth, stand in the passes, one pass after the other. The
    weights are brought back to that order: the colours, which take most of the memory, need neither be sorted nor
    joined.
    """
    if order is not None:
        weights = torch.zeros_like(weights).scatter(-1, order, weights)
    sizes = [samples.depths.shape[-1] for samples in passes]
    parts = weights.split(sizes, dim=-1)
    sums = [marching.weighted_sum(part, samples.colours) for samples, part in zip(passes, parts, strict=True)]
    return reduce(torch.add, sums)


def _coarse_depths(origins: torch.Tensor, config: RenderingConfig, random: Jitter) -> torch.Tensor:
    """Return [N, R, S] sorted depths from near to far."""
    shape = (*origins.shape[:2], config.depth_samples)
    jitter = None if random is None else _uniform(shape, origins, random)
    depths = stratified_depths(config.near, config.far, config.depth_samples, jitter, config.disparity)
    return depths.to(origins).expand(shape)


@torch.no_grad()
def _fine_depths(coarse: _Samples, config: RenderingConfig, random: Jitter) -> torch.Tensor:
    """Return [N, R, K] depths drawn from the coarse weights."""
    shape = (*coarse.depths.shape[:2], config.importance_samples)
    if random is None:
        u = torch.linspace(0, 1, shape[-1], device=coarse.depths.device, dtype=coarse.depths.dtype).expand(shape)
    else:
        u = _uniform(shape, coarse.depths, random)
    weights = marching.interval_weights(coarse.density, coarse.depths)
    return importance_depths(coarse.depths, weights, u)


def _uniform(shape: tuple[int, ...], like: torch.Tensor, random: Random | Literal[True]) -> torch.Tensor:
    own = None if random is True else random
    return uniform(shape, own, like.device, like.dtype)


def _surface_points(
    weights: torch.Tensor, depths: torch.Tensor, origins: torch.Tensor, directions: torch.Tensor
) -> torch.Tensor:
    """Return the mean points [N, R, 3] of rays made opaque.

    A ray's points are linear in depth, so the mean point lies at the mean depth.
    """
    opaque = marching.opaque_weights(weights)
    depth = (opaque * marching.midpoints(depths)).sum(dim=-1, keepdim=True)
    total = opaque.sum(dim=-1, keepdim=True)
    return origins * total + depth * directions
