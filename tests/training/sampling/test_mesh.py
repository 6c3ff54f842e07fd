"""training.sampling.mesh: closed forms on a lattice, orientation, world units, files that parse back."""

import sys

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from training.sampling.mesh import (
    density_grid_to_mesh,
    density_lattice,
    lattice_axis,
    level_of_surface,
    part_at,
    write_ply,
)

SIDE, RESOLUTION = 1.6, 33
VOXEL = SIDE / (RESOLUTION - 1)
CENTRE, RADIUS = np.array([0.1, -0.15, 0.2]), 0.45


def sphere(points: torch.Tensor) -> torch.Tensor:
    """Positive inside a sphere that is not centred, [M, 1]: RADIUS minus the distance to its centre."""
    return RADIUS - (points - torch.from_numpy(CENTRE).to(points)).norm(dim=-1, keepdim=True)


@pytest.fixture(scope="module")
def ball() -> tuple[np.ndarray, np.ndarray]:
    return density_grid_to_mesh(density_lattice(sphere, RESOLUTION, SIDE), 0.0, SIDE)


def test_lattice_is_exact():
    assert torch.equal(lattice_axis(5, 1.0), torch.tensor([-0.5, -0.25, 0.0, 0.25, 0.5]))
    for axis in range(3):
        grid = density_lattice(lambda points, axis=axis: points[:, axis], 5, 1.0)
        assert torch.equal(grid.movedim(axis, 0)[:, 1, 3], lattice_axis(5, 1.0)), "indexed by x, y, z"


def test_vertices_lie_on_the_sphere_in_world_units(ball):
    vertices, faces = ball
    distance = np.linalg.norm(vertices - CENTRE, axis=1)
    assert np.abs(distance - RADIUS).max() < 0.05 * VOXEL
    assert vertices.dtype == np.float32 and faces.dtype == np.int32
    assert np.abs((vertices.max(0) + vertices.min(0)) / 2 - CENTRE).max() < 0.01 * VOXEL, "not shifted, not sheared"


def test_faces_look_outwards_and_close_the_surface(ball):
    vertices, faces = ball
    corners = vertices[faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = (normals * (corners.mean(1) - CENTRE)).sum(1)
    assert (outwards > -1e-12).all()
    volume = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all(), "every edge has two faces"


def test_the_part_that_is_seen_is_kept_whole(ball):
    """A small ball beside the large one, of which rays meet one or the other; a few go astray."""
    vertices, faces = ball
    other = vertices * 0.3 + np.array([0.5, 0.5, -0.5], dtype=np.float32)
    both = np.concatenate([other, vertices])
    all_faces = np.concatenate([faces, faces + len(vertices)])
    for wanted, stray in ((vertices, other), (other, vertices)):
        seen = np.concatenate([wanted[::7] + 0.01, stray[::50]])
        kept, kept_faces = part_at(both, all_faces, seen)
        np.testing.assert_array_equal(kept, wanted)
        np.testing.assert_array_equal(kept_faces, faces)
        assert kept_faces.dtype == np.int32


def test_the_level_is_that_of_the_surface_which_is_seen():
    """A ball whose density rises inwards, in haze."""
    eye = torch.tensor([0.0, 0.0, 2.7])
    generator = torch.Generator().manual_seed(0)
    around = torch.randn(400, 3, generator=generator)
    front = around[around[:, 2] > 0.8 * around.norm(dim=1)]
    surface = 0.3 * front / front.norm(dim=1, keepdim=True)

    def density(points: torch.Tensor) -> torch.Tensor:
        inside = 5 + 100 * (0.3 - points.norm(dim=1))
        return torch.where(points.norm(dim=1) < 0.36, inside, -3.0)

    rough = surface * (1 + 0.02 * torch.randn(len(surface), 1, generator=generator))  # the expected depth errs
    level = level_of_surface(density, eye, rough)
    assert level == pytest.approx(5, abs=2), "within 0.02 of the surface"
    with pytest.raises(UserError, match="--shape-level"):
        level_of_surface(density, eye, surface[:0])


def test_a_plane_lies_where_it_should():
    """A plane x = 0.3 between lattice points: marching cubes is exact for linear fields."""
    for axis in range(3):
        grid = density_lattice(lambda points, axis=axis: 0.3 - points[:, axis], 8, 1.0)
        vertices, _ = density_grid_to_mesh(grid, 0.0, 1.0)
        np.testing.assert_allclose(vertices[:, axis], 0.3, atol=1e-6)
        others = np.delete(vertices, axis, axis=1)
        assert others.min() == -0.5 and others.max() == 0.5


def test_no_surface_and_no_library(monkeypatch):
    with pytest.raises(UserError, match="no surface at density 10.* between 0 and 1"):
        density_grid_to_mesh(np.linspace(0, 1, 27).reshape(3, 3, 3), 10.0, 1.0)
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(UserError, match="pip install scikit-image"):
        density_grid_to_mesh(np.zeros((3, 3, 3)), 0.0, 1.0)


def parse_ply(content: bytes) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray | None]:
    """An independent reader of what write_ply writes."""
    header, body = content.split(b"end_header\n", 1)
    lines = header.decode().splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    count, faces = (int(line.split()[2]) for line in lines if line.startswith("element"))
    coloured = "property uchar red" in lines
    stride = 15 if coloured else 12
    table = np.frombuffer(body[: count * stride], np.uint8).reshape(count, stride)
    positions = np.ascontiguousarray(table[:, :12]).view("<f4")
    triangles = np.frombuffer(body[count * stride :], np.uint8).reshape(faces, 13)
    assert (triangles[:, 0] == 3).all()
    return lines, positions, np.ascontiguousarray(triangles[:, 1:]).view("<i4"), table[:, 12:] if coloured else None


@pytest.mark.parametrize("coloured", [False, True])
def test_ply_parses_back(tmp_path, ball, coloured):
    vertices, faces = ball
    colours = np.random.default_rng(0).integers(0, 256, vertices.shape, dtype=np.uint8) if coloured else None
    write_ply(tmp_path / "meshes" / "a.ply", vertices, faces, colours)
    lines, positions, triangles, read_colours = parse_ply((tmp_path / "meshes" / "a.ply").read_bytes())
    assert [line.split()[-1] for line in lines if line.startswith("property float")] == ["x", "y", "z"]
    np.testing.assert_array_equal(positions, vertices)
    np.testing.assert_array_equal(triangles, faces)
    assert (read_colours is None) != coloured
    if coloured:
        np.testing.assert_array_equal(read_colours, colours)
