"""Shaded pictures of a generator's surface, without OpenGL: rays march through densities on a lattice.

The surface is that of the meshes (`mesh.density_grid_to_mesh`): where the densities, interpolated between the points of
the lattice, pass a level.
"""

from dataclasses import dataclass
from functools import cached_property

import scipy.ndimage
import torch
import torch.nn.functional as F

from training.cameras import split_label
from training.rendering.rays import camera_rays

STEPS_PER_CELL = 1.0  # how often a ray looks while it crosses a cell of the lattice; thinner walls may be missed
BISECTIONS = 8  # of the step in which a ray passes the level: then 1/256 of a cell
MAX_SAMPLES = 2**23  # looked up at a time
# Lambert's law under lights that move with the camera; directions to them in its axes (x right, y down, z forward).
KEY = (-0.5, -0.7, -0.8)
FILL = (0.8, -0.1, -0.6)
AMBIENT_LIGHT, KEY_LIGHT, FILL_LIGHT = 0.22, 0.66, 0.16
GREY = 235.0  # of the surface in full light
BACKGROUND = 250.0
SMOOTHING = 0.7  # of the densities that normals come from, cells: the lattice itself is not to be seen


def alone(sigma: torch.Tensor, level: float, points: torch.Tensor, box_side: float) -> torch.Tensor:
    """Return densities [R, R, R] of which only the part above the level stays that most points are next to.

    All other parts above the level become as thin as the lattice's thinnest point. Without points, or where none is
    next to a part, all stay.

    Args:
        sigma: on the lattice of `mesh.lattice_axis`, indexed by x, y, z, on the CPU.
        points: [M, 3], world units.
    """
    labels, count = scipy.ndimage.label((sigma > level).numpy())
    if count <= 1 or not len(points):
        return sigma
    # A point on the surface may be nearest to a lattice point outside.
    near = torch.from_numpy(scipy.ndimage.grey_dilation(labels, size=3))
    cells = (points.cpu() / box_side + 0.5) * (len(sigma) - 1)
    x, y, z = cells.round().long().clamp(0, len(sigma) - 1).unbind(dim=1)
    met = near[x, y, z]
    met = met[met > 0]
    if not len(met):
        return sigma
    is_other = torch.from_numpy(labels > 0) & (torch.from_numpy(labels) != met.mode().values)
    return sigma.masked_fill(is_other, sigma.min().item())


@dataclass(frozen=True, kw_only=True, eq=False)
class Surface:
    """A surface in a cube around the origin.

    Args:
        sigma: densities [R, R, R] on the lattice, indexed by x, y, z; on the device where pictures are computed.
        level: density at the surface; more is inside.
        box_side: of the cube, world units.
    """

    sigma: torch.Tensor
    level: float
    box_side: float

    @property
    def cell(self) -> float:
        """The distance between neighbours on the lattice, world units."""
        return self.box_side / (len(self.sigma) - 1)

    def meet(self, origins: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """Return how far rays go until they enter the surface, [M], world units; infinity where they do not.

        Args:
            origins, directions: [M, 3]; directions of length 1.
        """
        steps = self._steps
        rays = max(MAX_SAMPLES // (steps + 1), 1)
        parts = zip(origins.split(rays), directions.split(rays), strict=True)
        return torch.cat([self._meet(origin, direction, steps) for origin, direction in parts])

    def normals(self, points: torch.Tensor) -> torch.Tensor:
        """Return unit normals [M, 3] at points [M, 3] of the surface, which look outside."""
        return F.normalize(-_looked_up(self._gradient, points, self.box_side), dim=1)

    @property
    def _steps(self) -> int:
        """How often a ray looks on the longest way through the cube."""
        return int(3**0.5 * len(self.sigma) * STEPS_PER_CELL) + 1

    @cached_property
    def _gradient(self) -> torch.Tensor:
        """The gradient [3, R, R, R] of the smoothed densities, for each cell."""
        smooth = scipy.ndimage.gaussian_filter(self.sigma.cpu().numpy(), SMOOTHING)
        return torch.stack(torch.gradient(torch.from_numpy(smooth))).to(self.sigma)

    def _meet(self, origins: torch.Tensor, directions: torch.Tensor, steps: int) -> torch.Tensor:
        first, last = self._way(origins, directions)
        places = torch.linspace(0, 1, steps + 1, device=origins.device)
        distances = first[:, None] + (last - first)[:, None] * places
        is_inside = self._is_inside(origins[:, None], directions[:, None], distances)
        entered = is_inside.int().argmax(dim=1, keepdim=True)
        behind = distances.gather(1, entered).squeeze(1)
        before = distances.gather(1, (entered - 1).clamp(min=0)).squeeze(1)
        for _ in range(BISECTIONS):
            middle = (before + behind) / 2
            is_met = self._is_inside(origins, directions, middle)
            behind = torch.where(is_met, middle, behind)
            before = torch.where(is_met, before, middle)
        return torch.where(is_inside.any(dim=1) & (last > first), behind, torch.inf)

    def _way(self, origins: torch.Tensor, directions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where rays enter and leave the cube, [M] each; those that miss it leave before they enter."""
        half = self.box_side / 2
        sides = torch.stack([(-half - origins) / directions, (half - origins) / directions])
        first = sides.amin(dim=0).nan_to_num(-torch.inf).amax(dim=1).clamp(min=0)
        last = sides.amax(dim=0).nan_to_num(torch.inf).amin(dim=1)
        return first, last

    def _is_inside(self, origins: torch.Tensor, directions: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
        points = origins + directions * distances[..., None]
        return _looked_up(self.sigma[None], points.reshape(-1, 3), self.box_side).view(distances.shape) > self.level


def _looked_up(volume: torch.Tensor, points: torch.Tensor, box_side: float) -> torch.Tensor:
    """Return the values [M, C] of a volume [C, R, R, R], indexed by x, y, z, at points [M, 3] in world units."""
    places = points.flip(1) * (2 / box_side)  # grid_sample wants the last axis of the volume first
    found = F.grid_sample(volume[None], places[None, None, None], align_corners=True, padding_mode="border")
    return found.flatten(1, 4).view(len(volume), -1).t()


@torch.inference_mode()
def shaded(surface: Surface, camera: torch.Tensor, resolution: int, rays_a_side: int = 2) -> torch.Tensor:
    """Return a picture uint8 [3, R, R] of a surface seen by a camera [25]: grey under a light from the upper left.

    Args:
        resolution: of the picture, R.
        rays_a_side: rays for each pixel are the square of it, and averaged.
    """
    camera = camera.to(surface.sigma.device)
    origins, directions = (part[0] for part in camera_rays(camera[None], resolution * rays_a_side))
    distance = surface.meet(origins, directions)
    is_met = distance.isfinite()
    points = origins[is_met] + directions[is_met] * distance[is_met, None]
    grey = torch.full_like(distance, BACKGROUND)
    grey[is_met] = GREY * light(surface.normals(points), camera)
    pixels = F.avg_pool2d(grey.view(1, 1, resolution * rays_a_side, -1), rays_a_side)
    return pixels[0].round().clamp(0, 255).to(torch.uint8).expand(3, -1, -1)


def light(normals: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """Return how bright surfaces with normals [M, 3] in world axes are before a camera [25]: 0 to 1."""
    to_world = split_label(camera)[0][:3, :3]
    key, fill = (F.normalize(to_world @ torch.tensor(way, device=camera.device), dim=0) for way in (KEY, FILL))
    bright = AMBIENT_LIGHT + KEY_LIGHT * (normals @ key).clamp(min=0) + FILL_LIGHT * (normals @ fill).clamp(min=0)
    return bright.clamp(max=1)
