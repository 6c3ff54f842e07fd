"""training.sampling.mesh: closed forms on a lattice, orientation, world units, files that parse back."""

import errno
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from training.sampling.mesh import (
    density_grid_to_mesh,
    density_lattice,
    lattice_axis,
    level_of_surface,
    linear_light,
    part_at,
    vertex_normals,
    write_mesh,
)
from training.sampling.options import MESH_FORMATS, MeshFiles

trimesh = pytest.importorskip("trimesh")
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
    with pytest.raises(UserError, match="pip install scikit-image trimesh"):
        density_grid_to_mesh(np.zeros((3, 3, 3)), 0.0, 1.0)


def read_back(path: Path) -> Any:
    more = {"skip_materials": True} if path.suffix == ".glb" else {}  # a material takes the place of colours
    return trimesh.load(path, process=False, force="mesh", **more)


@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("format", MESH_FORMATS)
def test_files_read_back(tmp_path, ball, format, coloured):
    vertices, faces = ball
    colours = np.random.default_rng(0).integers(0, 256, vertices.shape, dtype=np.uint8) if coloured else None
    path = tmp_path / "meshes" / f"a.{format}"
    write_mesh(path, vertices, faces, colours)
    assert [found.name for found in path.parent.iterdir()] == [path.name], "one file, whole"
    found = read_back(path)
    np.testing.assert_allclose(found.vertices, vertices, rtol=0, atol=6e-9 if format == "obj" else 0)
    np.testing.assert_array_equal(found.faces, faces)
    assert found.is_watertight and found.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01), "outward winding"
    assert (found.visual.kind == "vertex") == coloured
    if coloured:
        expected = linear_light(colours) if format == "glb" else colours
        np.testing.assert_array_equal(found.visual.vertex_colors[:, :3], expected)


def test_linear_light_is_that_of_srgb():
    """A quarter, a half of the light and the ends; the curve rises without a jump."""
    np.testing.assert_array_equal(linear_light(np.uint8([0, 137, 188, 255])), [0, 64, 128, 255])
    steps = np.diff(linear_light(np.arange(256, dtype=np.uint8)).astype(int))
    assert steps.min() >= 0 and steps.max() <= 3


def test_glb_is_matte(tmp_path, ball):
    """Without a material viewers take a mesh for metal."""
    write_mesh(tmp_path / "a.glb", *ball, None)
    content = (tmp_path / "a.glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    tree = json.loads(content[20 : 20 + length])
    (primitive,) = tree["meshes"][0]["primitives"]
    assert tree["materials"][primitive["material"]]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, ball, monkeypatch):
    (tmp_path / "a.ply").write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        write_mesh(tmp_path / "a.ply", *ball, None)
    assert (tmp_path / "a.ply").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_normals_are_those_of_the_sphere(ball):
    vertices, faces = ball
    normals = vertex_normals(vertices, faces)
    outwards = (vertices - CENTRE) / np.linalg.norm(vertices - CENTRE, axis=1, keepdims=True)
    assert normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (normals * outwards).sum(1).min() > 0.98
    lonely = vertex_normals(np.concatenate([vertices, vertices[:1]]), faces)
    np.testing.assert_array_equal(lonely[-1], 0)
    np.testing.assert_array_equal(lonely[:-1], normals)


def test_numbers_of_frames():
    assert MeshFiles().numbers(3) == [0, 1, 2]
    assert MeshFiles(frames=[2, 0, 2]).numbers(3) == [0, 2]
    with pytest.raises(UserError, match="--shape-frames has 3, but there are 3 frames: choose from 0 to 2"):
        MeshFiles(frames=[0, 3]).numbers(3)


@pytest.mark.parametrize("count, first, last", [(1, "000", "000"), (1000, "000", "999"), (1001, "0000", "1000")])
def test_names_sort_as_frames_do(count, first, last):
    names = [MeshFiles(format="obj").name(number, count) for number in range(count)]
    assert names == sorted(names) and len(set(names)) == count
    assert (names[0], names[-1]) == (f"frame{first}.obj", f"frame{last}.obj")
