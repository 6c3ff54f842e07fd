"""training.sampling.vertex_colours: a sphere whose colour is a known function of position, hidden and skewed views."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.cameras import frontal_label, make_label, split_label
from training.checkpoints.opener import load_generator
from training.rendering.rays import camera_rays
from training.sampling import mesh
from training.sampling.clips import clip_geometry, clip_spec
from training.sampling.pictures import to_uint8
from training.sampling.shading import Surface
from training.sampling.vertex_colours import AGREEMENT, VIEWS, View, vertex_colours, views_of

CENTRE, RADIUS = torch.tensor([0.02, -0.03, 0.15]).double(), 0.2  # all of it in every picture
SKEWED = torch.tensor([[4.0, 0.15, 0.45], [0.0, 3.5, 0.53], [0.0, 0.0, 1.0]])
WHITE = (torch.tensor([0.0, 0.0, 0.6]).double(), 0.08)  # a ball before the sphere that hides its middle


def colour_at(points: torch.Tensor) -> torch.Tensor:
    """Red rises with x, green with y, blue with z: from -0.8 to 0.8 over the sphere."""
    return (points - CENTRE) / RADIUS * 0.8


def distance_to(centre: torch.Tensor, radius: float, origins: torch.Tensor, rays: torch.Tensor) -> torch.Tensor:
    """Distances along rays to a sphere; infinite where they miss it."""
    middle = ((centre - origins) * rays).sum(-1)
    inside = radius**2 - ((centre - origins) ** 2).sum(-1) + middle**2
    return torch.where(inside > 0, middle - inside.clamp(min=0).sqrt(), math.inf)


def view(camera: torch.Tensor, *, hidden: bool = False, image_side: int = 256, depth_side: int = 128) -> View:
    """The sphere on a ground of its mean colour, and before it the white ball where it is `hidden`."""

    def seen(side: int) -> tuple[torch.Tensor, torch.Tensor]:
        origins, rays = (part[0] for part in camera_rays(camera[None].double(), side))
        depth = distance_to(CENTRE, RADIUS, origins, rays)
        points = origins + depth.nan_to_num(posinf=0)[:, None] * rays
        colours = colour_at(points).where(depth.isfinite()[:, None], 0.0)
        if hidden:
            nearer = distance_to(*WHITE, origins, rays)
            colours = colours.where((depth < nearer)[:, None] | nearer.isinf()[:, None], 1.0)
            depth = depth.minimum(nearer)
        return colours.mT.unflatten(1, (side, side)).float(), depth.unflatten(0, (side, side)).float()

    return View(camera=camera, image=seen(image_side)[0], depth=seen(depth_side)[1])


def surface(*, hidden: bool = False) -> Surface:
    """The sphere, and before it the white ball where it is `hidden`, on a lattice."""
    box_side = 1.6
    axis = mesh.lattice_axis(97, box_side).double()
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)
    sigma = RADIUS - (points - CENTRE).norm(dim=-1)
    if hidden:
        centre, radius = WHITE
        sigma = torch.maximum(sigma, radius - (points - centre).norm(dim=-1))
    return Surface(sigma=sigma.float(), level=0.0, box_side=box_side)


@pytest.fixture(scope="module")
def sphere() -> tuple[np.ndarray, np.ndarray]:
    """Vertices all over the sphere, and their normals."""
    count = 4000
    height = 1 - (torch.arange(count).double() + 0.5) * 2 / count
    angle = torch.arange(count).double() * math.pi * (3 - math.sqrt(5))
    ring = (1 - height**2).sqrt()
    normals = torch.stack([ring * angle.cos(), height, ring * angle.sin()], dim=1)
    return (CENTRE + RADIUS * normals).float().numpy(), normals.float().numpy()


def greatest_cosine(vertices: np.ndarray, normals: np.ndarray, cameras: list[torch.Tensor]) -> np.ndarray:
    """How much each vertex faces the camera that it faces most."""
    eyes = [split_label(camera)[0][:3, 3].numpy() - vertices for camera in cameras]
    return np.max([(eye * normals).sum(1) / np.linalg.norm(eye, axis=1) for eye in eyes], axis=0)


@pytest.mark.parametrize("intrinsics", [None, SKEWED], ids=["centred", "skewed"])
@pytest.mark.parametrize("hidden", [False, True])
def test_colours_are_the_function_that_the_views_show(sphere, intrinsics, hidden):
    vertices, normals = sphere
    cameras = [make_label(split_label(frontal_label(math.radians(yaw)))[0], intrinsics) for yaw in VIEWS]
    colours = vertex_colours(
        vertices, normals, [view(camera, hidden=hidden) for camera in cameras], surface(hidden=hidden)
    )
    assert colours.dtype == np.uint8 and colours.shape == vertices.shape
    truth = to_uint8(colour_at(torch.from_numpy(vertices).double())).numpy().astype(int)
    error = np.abs(colours - truth).max(axis=1)
    cosine = greatest_cosine(vertices, normals, cameras)
    assert np.quantile(error[cosine > 0.3], 0.99) <= 4, "seen"
    assert hidden or error[cosine > 0.3].max() <= 6, "but for the edge of what hides it"
    unseen = cosine < 0
    assert unseen.sum() > 500
    seen = vertices[cosine > 0.3]
    farthest = np.linalg.norm(vertices[unseen, None] - seen[None], axis=2).min(axis=1)
    assert (error[unseen] <= 0.8 / RADIUS * farthest * 127.5 + 20).all(), "no farther than the nearest that is seen"


def test_views_blend_by_the_cosine(sphere):
    vertices, normals = sphere
    cameras = [frontal_label(math.radians(yaw)) for yaw in (-30, 30)]
    dark, light = (
        replace(view(camera), image=torch.full([3, 8, 8], level))
        for camera, level in zip(cameras, (-0.6, 0.9), strict=True)
    )
    colours = vertex_colours(vertices, normals, [dark, light], surface())
    left, right = (greatest_cosine(vertices, normals, [camera]) for camera in cameras)
    both = (left > 0.3) & (right > 0.3)
    blend = (-0.6 * left + 0.9 * right) / (left + right)
    assert both.sum() > 500
    assert np.abs(colours[both, 0] - (blend[both] * 127.5 + 127.5)).max() <= 0.51
    for alone, level in ((left, -0.6), (right, 0.9)):
        other = right if alone is left else left
        only = (alone > 0.3) & (other < 0)
        assert only.any() and (colours[only] == int(level * 127.5 + 128)).all()


def test_a_view_whose_depth_is_another_counts_less(sphere):
    """Half where it is off by AGREEMENT, a fifth by twice as much; but a view that is alone counts."""
    vertices, normals = (part[part_of_front(sphere[1])] for part in sphere)
    shown = replace(view(frontal_label()), image=torch.full([3, 8, 8], 0.8))
    for shift, share in ((0, 1 / 2), (1, 1 / 3), (-1, 1 / 3), (2, 1 / 6)):
        moved = replace(shown, depth=shown.depth + shift * AGREEMENT, image=-shown.image)
        assert np.ptp(vertex_colours(vertices, normals, [moved], surface())) <= 1, "rounding"
        colours = vertex_colours(vertices, normals, [shown, moved], surface())
        expected = (0.8 * (1 - share) - 0.8 * share) * 127.5 + 127.5
        assert np.abs(colours - expected).max() <= 2, "depth between pixels is interpolated"


def part_of_front(normals: np.ndarray) -> np.ndarray:
    """Which of the vertices look to the front."""
    return normals[:, 2] > 0.8


def test_what_the_mesh_itself_hides_is_not_seen(sphere):
    """Whatever the view's depth says; what is not seen has the colour of its nearest neighbour that is."""
    vertices, normals = sphere
    shown = view(frontal_label())
    through_ball = view(frontal_label(), hidden=True)
    is_ball = through_ball.image.amin(dim=0) == 1
    wrong = replace(shown, image=shown.image.masked_fill(is_ball, 1.0))
    assert is_ball.sum() > 1000
    front = part_of_front(normals)
    believed, found = (
        vertex_colours(vertices[front], normals[front], [wrong], surface(hidden=hidden)) for hidden in (False, True)
    )
    is_white = (believed == 255).all(axis=1)
    assert 0.2 < is_white.mean() < 0.8
    assert (found[is_white] == 255).all(axis=1).mean() < 0.02
    far = np.abs(vertices[front][:, :2]).max(axis=1) > 0.1
    assert far.sum() > 50 and np.array_equal(found[far], believed[far]), "beside the ball nothing changes"


def test_views_that_see_nothing(sphere):
    vertices, normals = sphere
    front = part_of_front(normals)
    shown = view(frontal_label())
    assert vertex_colours(vertices[front], -normals[front], [shown], surface()) is None, "what looks away"
    away = vertices + np.float32([0, 0, 6])
    assert vertex_colours(away, normals, [shown], surface()) is None, "behind the camera"
    nothing = replace(shown, depth=torch.full_like(shown.depth, math.inf))
    assert vertex_colours(vertices, normals, [nothing], surface()) is None, "rays that meet nothing"


def test_views_are_the_generators_own_pictures(snapshot):
    G = load_generator(snapshot).G
    geometry = next(clip_geometry(G, clip_spec(G, 0, 0, frontal_label().expand(2, -1))))
    views = views_of(geometry)
    assert len(views) == len(VIEWS) and {0, -30, 30, -60, 60} == set(VIEWS)
    for shown, yaw in zip(views, VIEWS, strict=True):
        assert torch.equal(shown.camera, frontal_label(math.radians(yaw)))
        seen = geometry.view(shown.camera)
        assert torch.equal(shown.image, seen["image"][0])
        is_met = seen["weight_total"][0, :, :, 0] > 0.5
        assert torch.equal(shown.depth.isfinite(), is_met)
        assert torch.equal(shown.depth[is_met], seen["image_depth"][0, 0][is_met])
