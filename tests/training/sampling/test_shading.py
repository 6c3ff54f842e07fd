"""training.sampling.shading: a sphere gives the closed-form disc, normals and light; meshes have the same surface."""

import math

import numpy as np
import pytest
import scipy.spatial
import torch

from training.cameras import frontal_label, split_label
from training.rendering.rays import camera_rays
from training.sampling import mesh, shading
from training.sampling.shading import Surface

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 1.0
RADIUS = 0.15
CENTRE = torch.tensor([0.02, -0.01, 0.03])


def lattice(resolution: int = 65) -> torch.Tensor:
    axis = mesh.lattice_axis(resolution, SIDE)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def ball(centre: torch.Tensor = CENTRE, radius: float = RADIUS, resolution: int = 65) -> torch.Tensor:
    return 10 * (radius - (lattice(resolution) - centre).norm(dim=-1))


def exact_distance(origins: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """How far rays go to the sphere; nan where they miss it."""
    to_centre = CENTRE - origins
    along = (to_centre * directions).sum(dim=1)
    return along - (RADIUS**2 - (to_centre.square().sum(dim=1) - along**2)).sqrt()


@pytest.mark.parametrize("yaw", [0.0, 0.7, 2.5])
def test_rays_meet_a_sphere_where_they_should(yaw):
    origins, directions = (part[0] for part in camera_rays(frontal_label(yaw, 0.2)[None], 48))
    exact = exact_distance(origins, directions)
    found = Surface(sigma=ball(), level=0.0, box_side=SIDE).meet(origins, directions)
    is_grazed = found.isfinite() != exact.isfinite()
    assert is_grazed.float().mean() < 0.01, "the silhouette is off by less than a pixel"
    both = found.isfinite() & exact.isfinite()
    assert both.sum() > 200
    # Interpolation cuts a sphere's cells: sagitta h^2 / (8 r) along the normal, more along rays that graze it.
    normals = ((origins + directions * exact[:, None] - CENTRE) / RADIUS)[both]
    cosine = -(normals * directions[both]).sum(dim=1)
    error = (found - exact)[both].abs() * cosine
    assert error.max() < 3 * (SIDE / 64) ** 2 / (8 * RADIUS) + SIDE / 64 / 2**shading.BISECTIONS


def distance_to_mesh(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distances [M] from points [M, 3] to the nearest of a few faces beside each: no less than to the mesh."""
    trimesh = pytest.importorskip("trimesh")
    corners = vertices[faces].astype(np.float64)
    _, beside = scipy.spatial.cKDTree(corners.mean(axis=1)).query(points, k=8)
    many = np.repeat(points.astype(np.float64), 8, axis=0)
    closest = trimesh.triangles.closest_point(corners[beside.ravel()], many)
    return np.linalg.norm(many - closest, axis=1).reshape(-1, 8).min(axis=1)


def test_the_surface_is_that_of_the_mesh():
    """Of a ball with bumps; both interpolate between the lattice's points, not in the same way."""
    points = lattice(33)
    sigma = ball(resolution=33) + 0.2 * torch.sin(40 * points).prod(dim=-1)
    vertices, faces = mesh.density_grid_to_mesh(sigma, 0.0, SIDE)
    origins, directions = (part[0] for part in camera_rays(frontal_label(0.3)[None], 64))
    found = Surface(sigma=sigma, level=0.0, box_side=SIDE).meet(origins, directions)
    is_met = found.isfinite()
    assert is_met.sum() > 500
    met = (origins + directions * found[:, None])[is_met].numpy()
    assert distance_to_mesh(met, vertices, faces).max() < SIDE / 32 / 2


def test_normals_are_the_spheres():
    rng = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(500, 3, generator=rng), dim=1)
    found = Surface(sigma=ball(), level=0.0, box_side=SIDE).normals(CENTRE + RADIUS * normals)
    assert (found * normals).sum(dim=1).min() > math.cos(0.03)


def test_light_comes_from_the_upper_left_whatever_the_camera():
    for yaw in (0.0, 1.2):
        camera = frontal_label(yaw)
        axes = split_label(camera)[0][:3, :3].T  # rows: right, down, forward
        right, down, forward = axes
        upper_left = torch.nn.functional.normalize(-0.5 * right - 0.7 * down - 0.8 * forward, dim=0)
        bright, dark, behind = shading.light(torch.stack([upper_left, down, forward]), camera)
        assert bright > dark > 0.15
        # Lambert's law in closed form.
        fill = torch.nn.functional.normalize(torch.tensor(shading.FILL), dim=0)
        key = torch.nn.functional.normalize(torch.tensor(shading.KEY), dim=0)
        expected = shading.AMBIENT_LIGHT + shading.KEY_LIGHT + shading.FILL_LIGHT * max(float(fill @ key), 0)
        assert float(bright) == pytest.approx(min(expected, 1), abs=1e-5)
        assert float(behind) == pytest.approx(shading.AMBIENT_LIGHT, abs=1e-5)


def test_the_picture_is_a_disc_on_a_plain_ground():
    camera = frontal_label()
    picture = shading.shaded(Surface(sigma=ball(), level=0.0, box_side=SIDE), camera, 64)
    assert picture.shape == (3, 64, 64) and picture.dtype == torch.uint8
    assert (picture[:, :4] == shading.BACKGROUND).all()
    origins, directions = (part[0] for part in camera_rays(camera[None], 64))
    is_ball = exact_distance(origins, directions).isfinite().view(64, 64)
    is_drawn = picture[0] < shading.BACKGROUND
    assert abs(int(is_drawn.sum()) - int(is_ball.sum())) < 2 * math.pi * (is_ball.sum() / math.pi) ** 0.5
    rows, columns = np.nonzero(is_ball.numpy())
    left = columns < columns.mean()
    top = rows < rows.mean()
    grey = picture[0].float().numpy()[rows, columns]
    assert grey[left & top].mean() > grey[~left & ~top].mean() + 20


def test_the_picture_is_lamberts_law_in_closed_form():
    """Away from the silhouette, whose pixels are part ground, every pixel has the exact sphere's brightness."""
    camera = frontal_label(0.6, 0.1)
    picture = shading.shaded(Surface(sigma=ball(), level=0.0, box_side=SIDE), camera, 64)[0].float()
    origins, directions = (part[0] for part in camera_rays(camera[None], 64))
    exact = exact_distance(origins, directions)
    normals = (origins + directions * exact[:, None] - CENTRE) / RADIUS
    axes = split_label(camera)[0][:3, :3]
    expected = torch.full_like(exact, shading.AMBIENT_LIGHT)
    for share, way in ((shading.KEY_LIGHT, shading.KEY), (shading.FILL_LIGHT, shading.FILL)):
        towards = axes @ torch.tensor(way) / math.hypot(*way)
        expected += share * (normals @ towards).clamp(min=0)
    is_inner = (normals * directions).sum(dim=1) < -0.4
    assert is_inner.sum() > 300
    error = (picture.flatten() - shading.GREY * expected.clamp(max=1))[is_inner].abs()
    assert error.max() < 4 and error.mean() < 1
    assert expected[is_inner].max() - expected[is_inner].min() > 0.4, "it tells light from shade"


def test_another_part_goes_unless_it_is_the_one_that_points_are_next_to():
    other = torch.tensor([-0.3, 0.3, -0.3])
    sigma = torch.maximum(ball(), ball(other, 0.08))
    surface_points = CENTRE + RADIUS * torch.eye(3)
    only = shading.alone(sigma, 0.0, surface_points, SIDE)
    kept = ball() > 0
    assert torch.equal(only > 0, kept)
    assert torch.equal(only[kept], sigma[kept])
    assert torch.equal(shading.alone(sigma, 0.0, other + 0.08 * torch.eye(3), SIDE) > 0, ball(other, 0.08) > 0)
    assert torch.equal(shading.alone(sigma, 0.0, torch.zeros(0, 3), SIDE), sigma)
    assert torch.equal(shading.alone(sigma, 0.0, torch.full([1, 3], 0.45), SIDE), sigma), "next to neither"


def test_rays_that_miss_the_cube_meet_nothing():
    surface = Surface(sigma=torch.ones(8, 8, 8), level=0.0, box_side=SIDE)
    origins = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 2.0], [2.0, 2.0, 2.0], [0.0, 0.0, -2.0]])
    directions = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert surface.meet(origins, directions).tolist() == [1.5, math.inf, math.inf, 1.5]
