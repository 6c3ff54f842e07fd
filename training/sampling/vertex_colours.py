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

VIEWS = (0, -30, 30, -60, 60)  # degrees of yaw from the frontal camera, positive to the +x side
# World units between a vertex and the depth that a view shows there. Surfaces of trained models are soft: of what
# nothing hides, 0.94 to 0.98 lie within from the front (models of synthetic heads), but 0.04 to 0.4 within 0.03.
TOLERANCE = 0.08


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


def vertex_colours(vertices: np.ndarray, normals: np.ndarray, views: Iterable[View]) -> np.ndarray | None:
    """Return colours uint8 [V, 3] of vertices.

    A view sees a vertex that faces it and lies, within TOLERANCE, where its depth is. The colours of all views that
    see it are blended, by the cosine between its normal and the direction to the eye. What no view sees has the colour
    of the nearest vertex that one does.

    Args:
        vertices: [V, 3], world units.
        normals: [V, 3], outward and of length 1.

    Returns:
        The colours; None if no view sees any vertex: the mesh is not the surface that pictures show.
    """
    total = torch.zeros(len(vertices), 3, dtype=torch.float64)
    weights = torch.zeros(len(vertices), 1, dtype=torch.float64)
    for view in views:
        colours, weight = (part.double().cpu() for part in _seen(vertices, normals, view))
        total += weight * colours
        weights += weight
    is_seen = (weights[:, 0] > 0).numpy()
    if not is_seen.any():
        return None
    levels = to_uint8(total / weights.clamp(min=torch.finfo(weights.dtype).tiny)).numpy()
    _, nearest = scipy.spatial.cKDTree(vertices[is_seen]).query(vertices[~is_seen])
    levels[~is_seen] = levels[is_seen][nearest]
    return levels


def _seen(vertices: np.ndarray, normals: np.ndarray, view: View) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the colours [V, 3] that a view shows where vertices are, and their weights [V, 1]: 0 for what it hides."""
    points = torch.as_tensor(vertices).to(view.camera)
    cam2world, intrinsics = split_label(view.camera)
    to_eye = cam2world[:3, 3] - points
    cosine = (normalize(to_eye, dim=1) * torch.as_tensor(normals).to(points)).sum(dim=1, keepdim=True)
    in_camera = -to_eye @ cam2world[:3, :3]
    place = (in_camera @ intrinsics.mT)[:, :2] / in_camera[:, 2:]  # in units of the picture's side
    difference = (_picture_at(view.depth[None], place) - to_eye.norm(dim=1, keepdim=True)).abs()
    inside = ((place > 0) & (place < 1)).all(dim=1, keepdim=True) & (in_camera[:, 2:] > 0)
    is_seen = inside & (difference < TOLERANCE)  # false where a ray beside it meets nothing: infinite or not a number
    return _picture_at(view.image.clamp(-1, 1), place), cosine.clamp(min=0) * is_seen


def _picture_at(picture: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Return the values [V, C] of a picture [C, R, R], bilinear, at places [V, 2] in units of its side."""
    grid = place[None, None].to(picture) * 2 - 1
    values = grid_sample(picture[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].mT
