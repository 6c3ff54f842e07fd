"""training.sampling.pictures: reference rounding, colours that order depth, closed forms of normals, grids."""

import numpy as np
import pytest
import torch

from tests.helpers.tiny import pixels
from training.cameras import canonical_label, intrinsics_matrix, look_at_pose, make_label
from training.config import GeneratorConfig
from training.rendering.rays import camera_rays
from training.sampling.pictures import (
    DEPTH_COLOURS,
    depth_layer,
    depth_range,
    depth_to_rgb,
    image_grid,
    normals_from_depth,
    normals_layer,
    normals_to_rgb,
    to_uint8,
)


def test_to_uint8_clamps_and_truncates():
    values = torch.tensor([-3.0, -1.0, -0.9999, 0.0, 0.5, 0.999, 1.0, 7.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 128, 191, 255, 255, 255]
    assert to_uint8(torch.tensor([1.0])).dtype == torch.uint8


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours 0 to 255, [..., 3]."""
    rgb = rgb / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_depth_colours_are_even_steps_of_lightness():
    steps = np.diff(lightness(np.array(DEPTH_COLOURS)))
    assert steps.min() > 0.9 * steps.mean() and steps.max() < 1.1 * steps.mean()
    depth = torch.linspace(2.0, 4.0, 300).view(1, 1, 1, 300)
    rgb = depth_to_rgb(depth, near=2.25, far=3.3)
    assert rgb.shape == (1, 3, 1, 300) and rgb.dtype == torch.uint8
    levels = lightness(rgb[0, :, 0].T.numpy())
    inside = (depth[0, 0, 0] > 2.25) & (depth[0, 0, 0] < 3.3)
    assert (np.diff(levels[inside.numpy()]) < 0.3).all() and levels[0] > 95 and levels[-1] < 10, "near is bright"
    assert rgb[0, :, 0, 0].tolist() == list(DEPTH_COLOURS[-1]) and rgb[0, :, 0, -1].tolist() == list(DEPTH_COLOURS[0])


def cameras() -> torch.Tensor:
    """Two poses; the second with skew, unequal focal lengths and a shifted centre."""
    odd = intrinsics_matrix()
    odd[0, 0], odd[1, 1], odd[0, 1], odd[0, 2], odd[1, 2] = 3.0, 4.0, 0.2, 0.45, 0.6
    return torch.stack([canonical_label(), make_label(look_at_pose(1.2, 1.4), odd)]).double()


def local_rays(labels: torch.Tensor, resolution: int) -> torch.Tensor:
    """Unit directions in camera axes [N, 3, R, R], from the renderer's own rays."""
    _, directions = camera_rays(labels, resolution)
    cam2world = labels[:, :16].reshape(-1, 4, 4)
    return (directions @ cam2world[:, :3, :3]).transpose(1, 2).unflatten(2, (resolution, resolution))


def test_normals_of_planes():
    """A plane n . p = d is met at depth d / (n . ray); differences of points in it are exact."""
    rays = local_rays(cameras(), 16)
    for normal in ([0.0, 0.0, -1.0], [0.3, -0.2, -0.9], [-0.5, 0.4, -0.8]):
        normal = torch.nn.functional.normalize(torch.tensor(normal, dtype=torch.float64), dim=0)
        depth = (normal[2] * 2.7 / torch.einsum("c,nchw->nhw", normal, rays)).unsqueeze(1)
        assert (depth > 0).all()
        found = normals_from_depth(depth, cameras())
        torch.testing.assert_close(found, normal.view(1, 3, 1, 1).expand_as(found), rtol=0, atol=1e-6)


def test_normals_of_a_sphere():
    rays = local_rays(cameras(), 96)
    centre, radius = torch.tensor([0.05, -0.04, 2.7], dtype=torch.float64), 0.6
    along = torch.einsum("c,nchw->nhw", centre, rays)
    root = along**2 - centre.dot(centre) + radius**2
    assert (root > 0).all(), "the sphere fills the frame"
    depth = (along - root.sqrt()).unsqueeze(1)
    exact = (depth * rays - centre.view(1, 3, 1, 1)) / radius
    cosine = (normals_from_depth(depth, cameras()) * exact).sum(1)
    assert cosine[:, 1:-1, 1:-1].min() > 0.9999 and cosine.min() > 0.999


def test_normals_to_rgb():
    normals = torch.tensor([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]]).T.view(1, 3, 1, 3)
    assert normals_to_rgb(normals)[0, :, 0].T.tolist() == [[128, 128, 255], [255, 128, 128], [128, 255, 128]]


def test_layers_have_the_size_of_the_images():
    config = GeneratorConfig(img_resolution=64)
    frames = {"image_depth": torch.full((2, 1, 16, 16), 2.7), "camera": cameras().float()}
    layers = {"depth": depth_layer(frames, config, (2.0, 3.0)), "normals": normals_layer(frames, config)}
    for layer in layers.values():
        assert layer.shape == (2, 3, 64, 64) and layer.dtype == torch.uint8
    assert layers["normals"][0, 2].min() > 240, "a shell around the camera faces it"


@pytest.mark.parametrize("scale, shift", [(1.0, 0.0), (3.0, 0.0), (0.2, 2.0)])
def test_a_clip_shows_its_own_depth_whatever_its_scale(scale, shift):
    config = GeneratorConfig(img_resolution=16)
    depth = 2 + torch.rand([1, 1, 16, 16], generator=torch.Generator().manual_seed(0))
    seen = depth * scale + shift
    own, other = (depth_layer({"image_depth": d}, config, depth_range(d)) for d in (depth, seen))
    assert (own.int() - other.int()).abs().max() <= 1
    near, far = depth_range(seen)
    shown = ((seen >= near) & (seen <= far)).float().mean()
    assert shown == pytest.approx(0.96, abs=0.01)


def test_a_flat_picture_has_a_range():
    near, far = depth_range(torch.full([1, 1, 8, 8], 2.5))
    assert near == pytest.approx(2.5) and far > near


@pytest.mark.parametrize("count, columns, size", [(6, 3, (8, 15)), (5, 3, (8, 15)), (1, 1, (4, 5))])
def test_image_grid(count, columns, size):
    images = pixels(0, count, 3, 4, 5)
    grid = image_grid(images, columns)
    assert grid.shape == (*size, 3) and grid.dtype == np.uint8
    for k in range(count):
        row, column = divmod(k, columns)
        part = grid[row * 4 : row * 4 + 4, column * 5 : column * 5 + 5]
        np.testing.assert_array_equal(part, images[k].permute(1, 2, 0).numpy())
    if count == 5:
        assert not grid[4:, 10:].any()
