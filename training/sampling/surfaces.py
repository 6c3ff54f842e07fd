"""The surface of a clip's frames: densities on a lattice, and the mesh and the shaded picture of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from training.cameras import canonical_label, split_label
from training.networks.generator import Generator
from training.sampling import mesh, shading
from training.sampling.clips import ClipSpec, Geometry, clip_geometry
from training.sampling.options import SamplingOptions, Shape
from training.sampling.shading import Surface, shaded
from training.sampling.vertex_colours import vertex_colours, views_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """A surface of triangles.

    Args:
        vertices: float32 [V, 3], world units.
        faces: int32 [F, 3], counter-clockwise seen from outside.
        colours: uint8 [V, 3], sRGB; None: no view sees any vertex.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None

    def save(self, path: str | Path) -> None:
        """Write it, as of `mesh.write_mesh`. UserError as there, or if the suffix is none of MESH_FORMATS."""
        mesh.write_mesh(mesh.require_format(Path(path)), self.vertices, self.faces, self.colours)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """Densities of a frame on the lattice.

    Args:
        sigma: [R, R, R] on the CPU, as of `mesh.density_lattice`.
        level: density at the surface.
    """

    geometry: Geometry
    sigma: torch.Tensor
    level: float

    @property
    def box_side(self) -> float:
        """Side of the cube that the lattice fills, world units."""
        return self.geometry.G.config.rendering.box_side

    def mesh(self, all_parts: bool) -> Mesh:
        """Return the surface in the colours that the frame's pictures show. UserError as of `density_grid_to_mesh`."""
        vertices, faces = mesh.density_grid_to_mesh(self.sigma, self.level, self.box_side)
        if not all_parts:
            vertices, faces = mesh.part_at(vertices, faces, self.geometry.surface.cpu().numpy())
        normals = mesh.vertex_normals(vertices, faces)
        colours = vertex_colours(vertices, normals, views_of(self.geometry), self._surface(self.sigma))
        return Mesh(vertices=vertices, faces=faces, colours=colours)

    def picture(self, all_parts: bool) -> torch.Tensor:
        """Return a picture uint8 [3, R, R] of the surface, grey under a light, from the frame's camera."""
        return shaded(self.surface(all_parts), self.geometry.camera, self.geometry.G.config.img_resolution)

    def surface(self, all_parts: bool) -> Surface:
        """Return the surface that `picture` shows: for cameras that move around it."""
        sigma = self.sigma
        if not all_parts:
            sigma = shading.alone(sigma, self.level, self.geometry.surface, self.box_side)
        return self._surface(sigma)

    def _surface(self, sigma: torch.Tensor) -> Surface:
        return Surface(sigma=sigma.to(self.geometry.planes.device), level=self.level, box_side=self.box_side)


def lattices(
    G: Generator, clip: ClipSpec, sampling: SamplingOptions, shape: Shape, chosen: Sequence[int] | None = None
) -> Iterator[Lattice]:
    """Return the lattices of a clip's frames, or of the chosen ones. UserError if no level is that of a surface."""
    level = shape.level
    if level is None:  # one for all frames, or the surface would come and go; the same whichever are chosen
        level = surface_level(next(clip_geometry(G, clip, sampling, [0])))
    lattice = partial(lattice_of, level=level, resolution=shape.resolution)
    return map(lattice, clip_geometry(G, clip, sampling, chosen))  # keeps nothing of a frame until the next


def surface_level(geometry: Geometry) -> float:
    """Return the raw density at the surface that a frame shows. UserError if rays from the front meet none."""
    eye = split_label(canonical_label())[0][:3, 3].to(geometry.planes.device)
    return mesh.level_of_surface(geometry.density, eye, geometry.surface)


def lattice_of(geometry: Geometry, *, level: float, resolution: int) -> Lattice:
    """Return the lattice of a frame, of so many points a side."""
    side = geometry.G.config.rendering.box_side
    sigma = mesh.density_lattice(geometry.density, resolution, side, geometry.planes.device)
    return Lattice(geometry=geometry, sigma=sigma, level=level)
