"""From densities to triangle meshes in world units, and mesh files."""

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse.csgraph
import scipy.spatial
import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_path
from dnnlib.optional import optional_packages
from training.sampling.options import MESH_FORMATS

# How the level of a surface is found: where rays are looked at around it, world units, and which shares of its points
# may have a lower density than the level.
BEFORE = 0.4
BEHIND = 0.1
STEP = 0.01
LEVELS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)


# --- From densities to a surface --------------------------------------------------------------------------------------


def lattice_axis(resolution: int, box_side: float) -> torch.Tensor:
    """Return world coordinates [R] of the lattice along each axis: evenly spaced, both faces of the box included."""
    return torch.linspace(-box_side / 2, box_side / 2, resolution)


@torch.inference_mode()
def density_lattice(
    density: Callable[[torch.Tensor], torch.Tensor],
    resolution: int,
    box_side: float,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Evaluate a density on the lattice, one slab of constant x at a time.

    Args:
        density: world points [M, 3] -> densities, M numbers in any shape.
        resolution: points along each axis, R.
        box_side: side of the cube around the origin, world units.

    Returns:
        Densities [R, R, R] on the CPU, indexed by x, y, z.
    """
    axis = lattice_axis(resolution, box_side).to(device)
    y = axis.repeat_interleave(resolution)
    z = axis.repeat(resolution)
    slabs = []
    for x in axis:
        points = torch.stack([x.expand_as(y), y, z], dim=-1)
        slabs.append(density(points).reshape(resolution, resolution).cpu())
    return torch.stack(slabs)


@torch.inference_mode()
def level_of_surface(
    density: Callable[[torch.Tensor], torch.Tensor], eye: torch.Tensor, surface: torch.Tensor
) -> float:
    """Return the level whose surface, seen from an eye [3], lies best where the rendered one does.

    Of the densities that occur at the surface, LEVELS are tried: a ray from the eye should first meet one as high
    there, neither before nor behind.

    Args:
        density: world points [M, 3] -> densities [M].
        surface: world points [M, 3] where rays from the eye end, by the expected depth.

    Raises:
        UserError: there are no points.
    """
    if not len(surface):
        raise UserError("Rays from the front meet no surface, so no level is that of one: give --shape-level.")
    offsets = torch.arange(-BEFORE, BEHIND, STEP, device=surface.device)
    rays = torch.nn.functional.normalize(surface - eye, dim=-1)
    along = surface.unsqueeze(1) + offsets[:, None] * rays.unsqueeze(1)
    found = density(along.flatten(0, 1)).unflatten(0, along.shape[:2])  # [M, offsets]
    at_surface = density(surface)
    best = (math.inf, math.nan)
    for level in at_surface.quantile(torch.tensor(LEVELS, device=surface.device)).tolist():
        is_inside = found > level
        first = offsets[is_inside.int().argmax(dim=1)]
        distance = torch.where(is_inside.any(dim=1), first.abs(), BEFORE)
        best = min(best, (distance.mean().item(), level))
    return best[1]


def require_packages() -> tuple[Callable, ModuleType]:
    """Return marching cubes of scikit-image, and trimesh: optional packages. Raises UserError without them."""
    with optional_packages("Meshes", "scikit-image trimesh"):
        import trimesh
        from skimage.measure import marching_cubes
    return marching_cubes, trimesh


def density_grid_to_mesh(
    sigma: torch.Tensor | np.ndarray, level: float, box_side: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the surface where densities on the lattice pass `level`, by marching cubes.

    Args:
        sigma: [R, R, R] at the points of `lattice_axis`, indexed by x, y, z; high inside.
        level: density of the surface.
        box_side: side of the cube that the lattice fills, world units.

    Returns:
        vertices float32 [V, 3] in world units, faces int32 [F, 3]: counter-clockwise seen from outside.

    Raises:
        UserError: scikit-image is not installed, or no density passes the level.
    """
    marching_cubes, _ = require_packages()
    sigma = np.ascontiguousarray(torch.as_tensor(sigma).float().numpy())
    low = sigma.min()
    high = sigma.max()
    if not low < level < high:
        raise UserError(
            f"There is no surface at density {level:g}: densities lie between {low:.4g} and {high:.4g}, "
            "so choose a level between them."
        )
    spacing = box_side / (sigma.shape[0] - 1)
    vertices, faces, _, _ = marching_cubes(sigma, level, spacing=(spacing,) * 3, gradient_direction="ascent")
    return (vertices - box_side / 2).astype(np.float32), faces.astype(np.int32)


def part_at(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the connected part of a mesh that most points [M, 3] are nearest to: vertices [V', 3], faces [F', 3].

    Without points it is the whole mesh.
    """
    if not len(points):
        return vertices, faces
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    count = len(vertices)
    graph = scipy.sparse.coo_array((np.ones(len(edges), dtype=bool), edges.T), shape=(count, count))
    _, part = scipy.sparse.csgraph.connected_components(graph, directed=False)
    _, nearest = scipy.spatial.cKDTree(vertices).query(points)
    kept = part == np.bincount(part[nearest]).argmax()
    number = np.cumsum(kept, dtype=np.int32) - 1
    return vertices[kept], number[faces[kept[faces[:, 0]]]]


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return outward unit normals float32 [V, 3]: the mean of each vertex's faces, by area; 0 where it has none."""
    corners = vertices[faces].astype(np.float64)
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((len(vertices), 3))
    for corner in faces.T:
        np.add.at(sums, corner, areas)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.maximum(lengths, np.finfo(np.float64).tiny)).astype(np.float32)


# --- Files ------------------------------------------------------------------------------------------------------------


def require_format(path: Path) -> Path:
    """Return a path whose suffix is one of MESH_FORMATS. UserError if it is not."""
    if path.suffix[1:] not in MESH_FORMATS:
        suffixes = ", ".join(f".{name}" for name in MESH_FORMATS)
        raise UserError(f"{path} is no mesh that can be written: end its name in {suffixes}.")
    return path


def write_mesh(path: Path, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> None:
    """Write a mesh, atomically, in the one of MESH_FORMATS that the suffix of `path` names.

    Args:
        vertices: [V, 3], world units; stored as float32, in OBJ with 8 decimals.
        faces: [F, 3].
        colours: uint8 [V, 3], sRGB as in pictures; None: a mesh without. GLB has them linear, as glTF demands.

    Raises:
        UserError: trimesh is not installed, or the file cannot be written.
    """
    _, trimesh = require_packages()
    is_glb = path.suffix == ".glb"
    if colours is not None and is_glb:
        colours = linear_light(colours)
    mesh = trimesh.Trimesh(vertices, faces, vertex_colors=colours, process=False)
    how = {"tree_postprocessor": _make_matte} if is_glb else {}
    content = mesh.export(file_type=path.suffix[1:], **how)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def linear_light(colours: np.ndarray) -> np.ndarray:
    """Return sRGB colours uint8 [..., 3] as light, uint8 [..., 3] (IEC 61966-2-1)."""
    levels = np.arange(256) / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return (light * 255).round().astype(np.uint8)[colours]


def _make_matte(tree: dict[str, Any]) -> None:
    """Give the meshes of a glTF tree a matte material: without any, viewers show metal."""
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
