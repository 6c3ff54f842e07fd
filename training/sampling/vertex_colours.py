"""Colours of a mesh's vertices from pictures of several views: each vertex has the colour that it is seen in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.spatial
import torch
from torch.nn.functional import grid_sample, normalize

from training.cameras import frontal_label, split_label
from training.sampling.clips import OPAQUE, Geometry
from training.sampling.pictures import to_uint8
from training.sampling.shading import Surface

VIEWS = (0, -30, 30, -60, 60)  # degrees of yaw from the frontal camera, positive to the +x side
# A view that shows a depth so far from a vertex counts half, world units: surfaces of trained models are soft, and
# where the depth is another, so is the colour. Measured against pictures from yaw 0, +-15 and +-45 degrees, two models
# of synthetic heads: off by 16.7 and 17.9 grey levels; by 17.4 and 18.9 if all views that see a vertex count alike, by
# 18.5 and 18.6 if only those within 0.08 count, which leaves patches. From 0.03 to 0.08 it makes no difference.
AGREEMENT = 0.05
# How far above the surface a ray to the eye starts, cells of the lattice, so that it does not meet the spot it leaves.
# At a low angle the way there would be long, and what lies on it would hide nothing: no angle's sine counts as less.
CLEARANCE = 1.5
LEAST_SINE = 0.2


@dataclass(frozen=True, kw_only=True)
class View:
    """What a camera [25] sees: an image [3, R, R] in [-1, 1], and depth [r, r], infinite where rays meet nothing."""

    camera: torch.Tensor
    image: torch.Tensor
    depth: torch.Tensor


def views_of(geometry: Geometry) -> list[View]:
    """Return the generator's own pictures of a frame from VIEWS."""
    views = []
    for degrees in VIEWS:
        camera = frontal_label(math.radians(degrees))
        seen = geometry.view(camera)
        depth = seen["image_depth"][0, 0].float()
        is_met = seen["weight_total"][0, :, :, 0] > OPAQUE
        # Whatever a ray through a thin haze shows is mostly background.
        views.append(View(camera=camera.to(depth), image=seen["image"][0].float(), depth=depth.where(is_met, math.inf)))
    return views


def vertex_colours(
    vertices: np.ndarray, normals: np.ndarray, views: Iterable[View], surface: Surface
) -> np.ndarray | None:
    """Return colours uint8 [V, 3] of vertices.

    A view sees a vertex that faces it and has nothing of the surface before it. The colours of all views that see it
    are blended, by the cosine between its normal and the direction to the eye, times how well the view's depth agrees
    (AGREEMENT). What no view sees has the colour of the nearest vertex that one does.

    Args:
        vertices: [V, 3], world units.
        normals: [V, 3], outward and of length 1.
        surface: that the vertices lie on, and whatever else hides it.

    Returns:
        The colours; None if no view sees any vertex: the mesh is not the surface that pictures show.
    """
    total = torch.zeros(len(vertices), 3, dtype=torch.float64)
    weights = torch.zeros(len(vertices), 1, dtype=torch.float64)
    for view in views:
        colours, weight = (part.double().cpu() for part in _seen(vertices, normals, view, surface))
        total += weight * colours
        weights += weight
    is_seen = (weights[:, 0] > 0).numpy()
    if not is_seen.any():
        return None
    levels = to_uint8(total / weights.clamp(min=torch.finfo(weights.dtype).tiny)).numpy()
    _, nearest = scipy.spatial.cKDTree(vertices[is_seen]).query(vertices[~is_seen])
    levels[~is_seen] = levels[is_seen][nearest]
    return levels


@torch.inference_mode()
def _seen(vertices: np.ndarray, normals: np.ndarray, view: View, surface: Surface) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the colours [V, 3] that a view shows where vertices are, and their weights [V, 1]: 0 for what it hides."""
    points = torch.as_tensor(vertices).to(view.camera)
    cam2world, intrinsics = split_label(view.camera)
    to_eye = cam2world[:3, 3] - points
    rays = normalize(to_eye, dim=1)
    cosine = (rays * torch.as_tensor(normals).to(points)).sum(dim=1, keepdim=True)
    in_camera = -to_eye @ cam2world[:3, :3]
    place = (in_camera @ intrinsics.mT)[:, :2] / in_camera[:, 2:]  # in units of the picture's side
    inside = ((place > 0) & (place < 1)).all(dim=1, keepdim=True) & (in_camera[:, 2:] > 0)
    is_seen = (inside & (cosine > 0))[:, 0]
    start = points + rays * (CLEARANCE * surface.cell / cosine.clamp(min=LEAST_SINE))
    is_seen[is_seen.clone()] = surface.meet(start[is_seen], rays[is_seen]).isinf()
    # No agreement where a ray beside it meets nothing: infinite or not a number.
    difference = _picture_at(view.depth[None], place) - to_eye.norm(dim=1, keepdim=True)
    agreement = 1 / (1 + (difference / AGREEMENT) ** 2)
    weight = (cosine * agreement).nan_to_num(0) * is_seen[:, None]
    return _picture_at(view.image.clamp(-1, 1), place), weight


def _picture_at(picture: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return the values [V, C] of a picture [C, R, R], bilinear, at places [V, 2] in units of its side."""
    grid = place[None, None].to(picture) * 2 - 1
    values = grid_sample(picture[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].mT
