"""Chamfer distance of the surface points that several views of one video see (PV3D A.4, Eq. 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import KDTree

from dnnlib.errors import UserError

OPAQUE = 0.5  # a point belongs to the surface where the opacity of its ray is above this
BLOCK = 512  # rows of the distance matrix in a GPU's memory at a time


@dataclass(frozen=True, kw_only=True)
class ChamferDistances:
    """Chamfer distances of pairs of views by two definitions: medians of squared distances, summed over directions.

    NaN where a view of the pair has no opaque point; such pairs are left out of the mean over pairs.
    """

    paper: np.ndarray  # float64 [P], in squared sampling bins: transparent points are in neither cloud
    reference: np.ndarray  # float64 [P], in squared world units: transparent points are neighbours, too
    directions: np.ndarray  # float64 [P, 2]: the reference's medians from the first view to the second, and back


def chamfer_distances(
    points: torch.Tensor | np.ndarray,
    opacity: torch.Tensor | np.ndarray,
    pairs: Sequence[tuple[int, int]],
    bin_size: float,
) -> ChamferDistances:
    """Compare views of one video.

    Where the paper and the reference implementation differ, the fields of the result do: the paper removes points of
    transparent rays from both clouds, and divides points by the size of a sampling bin, (far - near) / samples, which
    is 1.05 / 48 at the published configuration; the reference removes them as queries only, and divides by nothing.
    Both take the lower of two middle values as the median, and points as they were rendered.

    Args:
        points: [V, ..., 3] surface points, world units; V views.
        opacity: [V, ...] accumulated along the ray, 0 to 1.
        pairs: (first view, second view).
        bin_size: world units.

    Raises:
        UserError: a point is not finite.
    """
    clouds = torch.as_tensor(points).detach().flatten(1, -2)
    opaque = torch.as_tensor(opacity, device=clouds.device).flatten(1) > OPAQUE
    if not torch.isfinite(clouds).all():
        raise UserError("A surface point is not finite: check the geometry of this video.")
    surfaces = [cloud[mask] for cloud, mask in zip(clouds, opaque, strict=True)]
    masked = _median_distances(surfaces, surfaces, pairs)
    if opaque.all():
        directions = masked  # all points are surface, so that there is only one answer
    else:
        directions = _median_distances(surfaces, list(clouds), pairs)
    return ChamferDistances(
        paper=masked.sum(axis=1) / bin_size**2,
        reference=directions.sum(axis=1),
        directions=directions,
    )


def nearest_squared(queries: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return squared distances [Q] in float64 from queries [Q, 3] to the nearest of points [N, 3], N >= 1.

    On a CPU by a k-d tree, on a GPU by all distances in blocks of rows: bounded memory either way.
    """
    queries = queries.double()
    points = points.double()
    if queries.device.type != "cpu":
        return _nearest_squared_by_blocks(queries, points)
    distances, _ = KDTree(points.numpy()).query(queries.numpy())
    return torch.from_numpy(distances).square()


def _nearest_squared_by_blocks(queries: torch.Tensor, points: torch.Tensor, block: int = BLOCK) -> torch.Tensor:
    """Do the same without a tree, on any device."""
    nearest = []
    for rows in queries.split(block):
        # The expansion a * a + b * b - 2 a b cancels where points are close.
        distances = torch.cdist(rows, points, compute_mode="donot_use_mm_for_euclid_dist")
        nearest.append(distances.amin(dim=1))
    return torch.cat(nearest).square()


def _median_distances(
    surfaces: list[torch.Tensor], clouds: list[torch.Tensor], pairs: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Return medians [P, 2] of squared distances from surface a to cloud b, and from surface b to cloud a."""
    medians = [
        [
            _median_distance(surfaces[a], clouds[b]),
            _median_distance(surfaces[b], clouds[a]),
        ]
        for a, b in pairs
    ]
    return np.array(medians)


def _median_distance(queries: torch.Tensor, points: torch.Tensor) -> float:
    """Return the lower median of squared distances from queries [Q, 3] to points [N, 3]; NaN where there are none."""
    if len(queries) == 0 or len(points) == 0:
        return float("nan")
    return float(nearest_squared(queries, points).median())
