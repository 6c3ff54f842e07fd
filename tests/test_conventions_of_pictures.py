"""docs/conventions.md, line by line: pixels, rays, planes and values (the other lines: test_conventions.py)."""

import io
import math

import numpy as np
import PIL.Image
import pytest
import torch

from tests.helpers import tiny
from tests.helpers.views import ray, turned
from torch_utils.ops.plane_sampling import sample_planes, sample_planes_mean
from training import cameras, config
from training.data.dataset import shrink
from training.data.frames import decode_frame, encode_depth, encode_png
from training.networks.superresolution import resize
from training.rendering.rays import camera_rays
from training.rendering.renderer import Rendered, project_to_planes, render
from training.sampling import mesh, pictures
from training.sampling.clips import clip_geometry, clip_spec, generate


@pytest.fixture(scope="module")
def G():
    """A tiny generator."""
    return tiny.generator()


# --- Pixels and rays --------------------------------------------------------------------------------------------------


def test_rows_run_down_and_columns_right():
    grid = pictures.image_grid(torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 3, 2, 2), 2)
    assert grid[0, :, 0].tolist() == [0, 0, 1, 1] and grid[:, 0, 0].tolist() == [0, 0, 2, 2]
    red = np.array([200, 0, 0], dtype=np.uint8).reshape(3, 1, 1) * np.ones([1, 4, 4], np.uint8)
    assert np.array_equal(decode_frame(encode_png(red)), red)
    assert ray(turned(), 0, 0)[1] > ray(turned(), 0, 8)[1], "row 0 is the top"


def test_pixel_centres():
    k = cameras.intrinsics_matrix(1.0)
    directions = camera_rays(cameras.make_label(torch.eye(4), k)[None], 4)[1].reshape(4, 4, 3)
    on_image = directions[..., :2] / directions[..., 2:] + 0.5
    torch.testing.assert_close(on_image[0, :, 0], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(on_image[:, 0, 1], on_image[0, :, 0])


def test_rays():
    directions = camera_rays(turned()[None], 5)[1][0]
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(25))
    torch.testing.assert_close(directions[7], ray(turned(), 2, 1, 5))


def wall(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A decoder: solid where the plane's feature is positive."""
    return features[..., 0] * 1e4, features.sigmoid()


def test_depth_is_distance_along_the_ray():
    options = config.RenderingConfig(plane_axes="orthogonal", depth_samples=200, importance_samples=50)
    planes = torch.zeros(1, 3, 1, 64, 64)
    planes[:, 1:, :, :32], planes[:, 1:, :, 32:] = 1, -1  # of the planes x-z and y-z: solid where z < 0
    origins, directions = camera_rays(cameras.canonical_label()[None], 9)
    seen = render(planes, wall, origins, directions, config=options, with_points=True)
    expected = 2.7 / -directions[..., 2]  # where the ray meets z = 0: longer than 2.7 off the centre
    torch.testing.assert_close(seen.depth, expected, atol=0.004, rtol=0)
    torch.testing.assert_close((seen.points - origins).norm(dim=-1), seen.depth)
    assert expected.max() - expected.min() > 0.015 and (options.near, options.far) == (2.25, 3.3)


def test_resizing_keeps_the_edges():
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    torch.testing.assert_close(resize(ramp, 4)[0, 0, 0, 1:3], torch.tensor([5.5, 9.5]))
    torch.testing.assert_close(resize(ramp, 4).mean(), ramp.mean())
    assert shrink(np.arange(8, dtype=np.uint8) * np.ones([3, 8, 1], np.uint8), 4)[0, 0].tolist() == [2, 6]


# --- Planes -----------------------------------------------------------------------------------------------------------


def test_channels_of_the_planes(G):
    assert config.Config().generator.plane_channels * 3 == 96
    ws = tiny.normal(0, 1, G.num_ws, 8)
    z = tiny.normal(1, 1, 8)
    t = torch.ones(1, 1)
    painted = G.backbone.synthesis(ws, z, t)
    assert torch.equal(G.planes(ws, z, t)[:, 1], painted[:, 4:8]), "4 features a plane here"


def test_the_box(G):
    assert config.RenderingConfig().box_side == 1.0
    planes = torch.ones(1, 3, 4, 16, 16)
    inside, outside = torch.tensor([[[0.4, -0.4, 0.4]]]), torch.tensor([[[0.6, -0.6, 0.6]]])
    assert torch.equal(G.sample_planes(planes, inside)["rgb"], G.decoder(torch.ones(1, 1, 4))[1])
    assert torch.equal(G.sample_planes(planes, outside)["rgb"], G.decoder(torch.zeros(1, 1, 4))[1])


@pytest.mark.parametrize("axes, seen", [("reference", ["xy", "xz", "zx"]), ("orthogonal", ["xy", "xz", "yz"])])
def test_plane_axes(axes, seen):
    point = torch.tensor([[[0.1, 0.2, 0.3]]])
    uv = project_to_planes(point, axes)[0, :, 0]
    names = {0.1: "x", 0.2: "y", 0.3: "z"}
    assert ["".join(names[round(value, 3)] for value in pair) for pair in uv.tolist()] == seen


def test_pixels_of_a_plane():
    plane = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    uv = torch.tensor([[-0.75, -0.75], [0.75, -0.75], [-0.75, 0.75]]).reshape(1, 1, 3, 2)
    assert sample_planes(plane, uv).flatten().tolist() == [0, 3, 12]


def test_mean_over_planes():
    planes = torch.tensor([1.0, 2.0, 6.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 1, 4, 4)
    torch.testing.assert_close(sample_planes_mean(planes, torch.zeros(1, 3, 1, 2)), torch.full([1, 1, 1], 3.0))


def fog(density: float) -> Rendered:
    """What a ray sees in a constant raw density."""

    def decoder(features):
        return torch.full_like(features[..., 0], density), torch.full_like(features, 0.25)

    origins, directions = camera_rays(cameras.canonical_label()[None], 1)
    planes = torch.zeros(1, 3, 2, 4, 4)
    return render(planes, decoder, origins, directions, config=config.RenderingConfig())


def test_raw_density(G):
    absorbed = 1 - math.exp(-math.log1p(math.exp(0.7 - 1)) * (3.3 - 2.25))
    assert fog(0.7).opacity.item() == pytest.approx(absorbed, rel=1e-5)
    spec, point = clip_spec(G, 0, 0, turned()[None]), torch.tensor([[0.1, 0.2, 0.3]])
    planes = G.planes(G.mapping(spec.z[None], spec.cameras), spec.z_motion[None], spec.times[:, None])
    raw = G.decoder.net(sample_planes_mean(planes, project_to_planes(point[None] * 2, "reference")))[..., 0]
    torch.testing.assert_close(next(clip_geometry(G, spec)).density(point), raw[0])


def test_meshes_are_in_world_units():
    sigma = mesh.density_lattice(lambda points: 10 - points[:, 0] * 100, 11, 1.0)
    vertices, _ = mesh.density_grid_to_mesh(sigma, 0.0, 1.0)  # the plane x = 0.1
    np.testing.assert_allclose(vertices.min(axis=0), [0.1, -0.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(vertices.max(axis=0), [0.1, 0.5, 0.5], atol=1e-6)


# --- Values -----------------------------------------------------------------------------------------------------------


def test_range_of_real_frames():
    options = tiny.config()
    stored = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 3, 1, 1).expand(1, 2, 3, 32, 32)
    phases = tiny.loss(tiny.networks(options), options)
    reals = phases.real_frames(stored, torch.zeros(1, 2), tiny.labels(0, 1, 2), tiny.CALM)
    torch.testing.assert_close(reals.image[1, :, 0, 0], torch.tensor([-1, -0.6, 1]))
    torch.testing.assert_close(reals.image_raw[1, :, 0, 0], torch.tensor([-1, -0.6, 1]))
    bright = tiny.generator()
    bright.superresolution.block1.torgb.bias.fill_(3.0)
    assert next(generate(bright, clip_spec(bright, 0, 0, turned()[None])))["image"].max() > 1


def test_frames_to_uint8_and_back():
    stored = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(pictures.to_uint8(stored.float() / 127.5 - 1), stored)
    assert pictures.to_uint8(torch.tensor([-9, 0.0, 0.9 / 127.5, 9])).tolist() == [0, 128, 128, 255]


def test_range_of_features(G):
    seen = fog(1e4)
    torch.testing.assert_close(seen.features, torch.full([1, 1, 2], 0.25 * 2 - 1))
    _, colours = G.decoder(tiny.normal(0, 50, 4) * 1000)
    assert colours.min() >= -0.0011 and colours.max() <= 1.0011
    assert G.to_img_raw(torch.zeros(1, 4, 2, 2), tiny.normal(1, 1, 8)).abs().max() == 0, "its bias begins at 0"


def test_opacity():
    assert fog(-1e4).opacity.item() == 0 and fog(1e4).opacity.item() == pytest.approx(1)
    assert fog(1e4).depth.item() == pytest.approx(2.25, abs=0.02)


def test_normals():
    normals = pictures.normals_from_depth(torch.full([1, 1, 8, 8], 2.7), turned()[None])
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, 8, 8))
    assert (normals[:, 2] < 0).all(), "towards the camera"
    axes = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]).reshape(3, 3, 1, 1)  # right, up, to the camera
    assert pictures.normals_to_rgb(axes).argmax(dim=1).flatten().tolist() == [0, 1, 2]


def test_depth_pictures():
    options = config.GeneratorConfig()
    depth = torch.tensor([2.0, 2.25, 2.7, 3.3, 4.0]).reshape(5, 1, 1, 1).expand(5, 1, 64, 64)
    drawn = pictures.depth_layer({"image_depth": depth}, options, (2.25, 3.3))
    light = drawn.float().mean(dim=(1, 2, 3))
    assert light[0] == light[1] > light[2] > light[3] == light[4]


def test_depth_files():
    stored = np.array([[0, 1], [30000, 65535]])
    data = encode_depth((2 + 2 * stored / 65535).astype(np.float32))
    assert np.array_equal(np.array(PIL.Image.open(io.BytesIO(data))), stored)
