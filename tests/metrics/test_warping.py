"""metrics.warping: the reference's numbers and the paper's, exact scenes, perturbed geometry, odd input."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from metrics.multiview import CAMERA_OF_VIEW, PAIRS_GEOMETRY, TIME_OF_VIEW
from metrics.warping import SIZE, Landing, WarpingErrors, land, warping_errors
from tests.helpers.golden_metrics import array, hold
from training.rendering.rays import camera_rays

SCENES = ("bumpy", "sphere_plane")
REFERENCE = 1e-3
EXACT = 1e-9
WALL = -0.28  # z of the plane of sphere_plane
pytestmark = pytest.mark.usefixtures("one_thread")


def camera(name: str) -> torch.Tensor:
    return torch.from_numpy(array("warping", f"{name}_camera"))


def camera_of(view: int) -> torch.Tensor:
    name = "side" if CAMERA_OF_VIEW[view] else "canonical"
    return camera(name)


def depths(scene: str) -> torch.Tensor:
    """[4, 64, 64]"""
    maps = array("warping", f"{scene}_depth")
    return torch.from_numpy(maps).squeeze(1)


@dataclass(frozen=True)
class Pair:
    """A frontal and a side view."""

    front: torch.Tensor  # uint8 [3, 256, 256]
    side: torch.Tensor
    depth: torch.Tensor  # [64, 64]

    def errors(self, front_camera: str = "canonical", side_camera: str = "side") -> WarpingErrors:
        return self.errors_from(camera(front_camera), camera(side_camera))

    def errors_from(self, front_camera: torch.Tensor, side_camera: torch.Tensor) -> WarpingErrors:
        return warping_errors(
            front=self.front.numpy(),
            side=self.side.numpy(),
            side_depth=self.depth,
            front_camera=front_camera,
            side_camera=side_camera,
        )

    def landing(self) -> Landing:
        """Where the side view's pixels land."""
        return land(
            self.depth,
            side_camera=camera("side"),
            front_camera=camera("canonical"),
        )


def pairs(scene: str) -> list[Pair]:
    """The protocol's four pairs of views of a scene."""
    channels_last = torch.from_numpy(array("warping", f"{scene}_images"))
    images = channels_last.permute(0, 3, 1, 2).contiguous()
    depth = depths(scene)
    return [Pair(images[front], images[side], depth[side]) for front, side in PAIRS_GEOMETRY]


# --- The reference's numbers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> dict[str, list[WarpingErrors]]:
    return {scene: [pair.errors() for pair in pairs(scene)] for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(
    "name, definition, tolerance",
    [
        ("we", "reference", REFERENCE),
        ("we_f64", "reference", EXACT),
        ("we_fixed_range_mask", "paper", REFERENCE),
        ("we_fixed_range_mask_zbuffer", "zbuffer", REFERENCE),
        ("no_warp", "no_warp", EXACT),
    ],
)
def test_errors(found, scene, name, definition, tolerance):
    values = [getattr(pair, definition) for pair in found[scene]]
    hold("warping", f"{scene}_{name}", values, atol=tolerance)


def test_mean_over_pairs(found):
    hold("warping", "pairs", PAIRS_GEOMETRY)
    all_pairs = found["bumpy"] + found["sphere_plane"]
    mean = np.mean([pair.reference for pair in all_pairs])
    hold("warping", "we_mean", mean, atol=REFERENCE)


@pytest.mark.parametrize("scene", SCENES)
def test_counted_pixels_and_medians(scene):
    counts = []
    medians = []
    for pair in pairs(scene):
        warped = pair.landing().warp_like_reference(pair.side)
        differences = pair.front.int() - warped.image.int()
        counted = differences[:, warped.mask].abs().flatten()
        counts.append(len(counted))
        medians.append(float(counted.median()))
    hold("warping", f"{scene}_valid_count", counts, atol=15)
    hold("warping", f"{scene}_we_median", medians)


@pytest.mark.parametrize("scene", SCENES)
def test_warped_image(scene):
    """At most 5 pixels differ, by anything."""
    pair = pairs(scene)[0]
    warped = pair.landing().warp_like_reference(pair.side)
    mask = np.packbits(warped.mask.numpy())
    expected_mask = array("warping", f"{scene}_mask_pair0_packed")
    wrong_mask = np.unpackbits(mask ^ expected_mask)
    assert wrong_mask.sum() <= 5
    hold("warping", f"{scene}_mask_pair0_packed", mask, atol=255)
    image = warped.image.permute(1, 2, 0).numpy()
    expected_image = array("warping", f"{scene}_warp_pair0")
    wrong_image = (image != expected_image).any(axis=-1)
    assert wrong_image.sum() <= 5
    hold("warping", f"{scene}_warp_pair0", image, atol=255)


# --- The scene of a sphere before a wall ------------------------------------------------------------------------------


def rays_of(view: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins and unit directions [size * size, 3] of a view's rays, float64."""
    origins, directions = camera_rays(camera_of(view).double()[None], size)
    return origins[0], directions[0]


def points_on_the_sphere(time: int) -> torch.Tensor:
    """World points [N, 3] of the sphere at a time, from both sides."""
    points = []
    for view in range(4):
        if TIME_OF_VIEW[view] != time:
            continue
        origins, directions = rays_of(view, 64)
        depth = depths("sphere_plane")[view].double()
        seen = origins + directions * depth.reshape(-1, 1)
        in_front_of_wall = seen[:, 2] > WALL + 1e-3
        points.append(seen[in_front_of_wall])
    return torch.cat(points)


def sphere(time: int) -> tuple[torch.Tensor, float]:
    """Centre [3] and radius of the sphere at a time, by least squares: |p|^2 = 2 p . c + (r^2 - |c|^2)."""
    points = points_on_the_sphere(time)
    ones = torch.ones(len(points), 1)
    equations = torch.cat([2 * points, ones], dim=1)
    squares = points.square().sum(dim=1, keepdim=True)
    solution = torch.linalg.lstsq(equations, squares).solution[:, 0]
    centre = solution[:3]
    radius = float(solution[3] + centre @ centre) ** 0.5
    distances = (points - centre).norm(dim=1)
    assert (distances - radius).abs().max() < 3e-7
    return centre, radius


def sphere_plane_depth(view: int, size: int) -> torch.Tensor:
    """Exact depth [size, size] of a view."""
    origins, directions = rays_of(view, size)
    centre, radius = sphere(TIME_OF_VIEW[view])
    offsets = origins - centre
    along = (offsets * directions).sum(dim=1)
    outside = offsets.square().sum(dim=1) - radius**2
    discriminant = along.square() - outside
    half_chord = discriminant.clamp(min=0).sqrt()
    sphere_depth = -along - half_chord
    before_wall = WALL - origins[:, 2]
    wall_depth = before_wall / directions[:, 2]
    depth = torch.where(discriminant > 0, sphere_depth, wall_depth)
    return depth.reshape(size, size)


@pytest.mark.parametrize("view", range(4))
def test_the_scene_is_found_from_its_depths(view):
    found = sphere_plane_depth(view, 64)
    expected = depths("sphere_plane")[view]
    assert (found - expected).abs().max() < 1e-6


def test_exact_depth():
    """At full size, without upsampling. One pixel at an outline is 1.4e-3."""
    values = []
    for pair, (_, side) in zip(pairs("sphere_plane"), PAIRS_GEOMETRY, strict=True):
        exact = replace(pair, depth=sphere_plane_depth(side, SIZE))
        warped = exact.landing().warp(pair.side, nearest_wins=True)
        values.append(warped.error(pair.front))
    hold("warping", "sphere_plane_we_fixed_zbuffer_exact_depth", values, atol=3e-3)


# --- Perturbed geometry, other cameras --------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("scene", SCENES)
def test_the_error_grows_as_geometry_is_perturbed(scene, sign):
    for pair in pairs(scene)[:2]:  # of one time
        exact = pair.errors()
        values = [exact.paper]
        for shift in (0.005, 0.02, 0.05):
            moved = replace(pair, depth=pair.depth + sign * shift)
            found = moved.errors()
            values.append(found.paper)
        assert values == sorted(values)
        assert values[-1] > 2 * values[0]
        assert values[-1] < exact.no_warp


@pytest.mark.parametrize("name", ["canonical", "side"])
def test_identical_views_are_at_zero(name):
    """From one camera every pixel lands on itself, whatever the depth."""
    pair = pairs("bumpy")[0]
    same = replace(pair, side=pair.front, depth=depths("sphere_plane")[0])
    assert same.errors(name, name) == WarpingErrors(paper=0, reference=0, zbuffer=0, no_warp=0)


def test_pixels_of_one_camera_land_on_themselves():
    image = pairs("bumpy")[0].front
    depth = depths("sphere_plane")[0]
    itself = land(depth, side_camera=camera("side"), front_camera=camera("side"))
    warped = itself.warp(image)
    assert warped.mask.all()
    assert torch.equal(warped.image, image)


def moved(x: float = 0.0, z: float = 0.0, turned: bool = False) -> torch.Tensor:
    """The frontal camera, moved; turned to look the other way before."""
    transform = torch.eye(4)
    if turned:
        transform[0, 0] = -1
        transform[2, 2] = -1
    transform[0, 3] = x
    transform[2, 3] = z
    label = camera("canonical").clone()
    cam2world = label[:16].reshape(4, 4)
    label[:16] = (transform @ cam2world).flatten()
    return label


@pytest.mark.parametrize(
    "front_camera",
    [
        {"x": 5.0},
        {"z": -6.0},
        {"x": 5.0, "turned": True},
    ],
)
def test_views_that_do_not_overlap(front_camera):
    """Nothing lands inside; behind the camera is not inside either."""
    pair = pairs("bumpy")[0]
    found = pair.errors_from(moved(**front_camera), camera("side"))
    assert np.isnan(found.paper)
    assert np.isnan(found.zbuffer)
    assert found.no_warp > 0


# --- Odd input --------------------------------------------------------------------------------------------------------


def test_nearest_wins():
    """Two layers that land on the same pixels: the later in raster order without a z-buffer, the nearer with one."""
    pixels = SIZE**2
    image = torch.full([3, SIZE, SIZE], 10, dtype=torch.uint8)
    image[:, :, 1::2] = 20
    place = pairs("bumpy")[0].landing()
    place.target = torch.arange(pixels) // 2 * 2  # neighbours land on one pixel
    place.inside = torch.ones(pixels, dtype=torch.bool)
    place.points = torch.ones(3, pixels, dtype=torch.float64)
    later = place.warp(image)
    assert (later.image[:, later.mask] == 20).all()

    place.points[2, 1::2] = 2.0
    nearer = place.warp(image, nearest_wins=True)
    assert (nearer.image[:, nearer.mask] == 10).all()
    assert nearer.mask.sum() == pixels // 2


def test_threads_do_not_matter():
    pair = pairs("sphere_plane")[0]
    expected = pair.errors()
    torch.set_num_threads(2)
    assert pair.errors() == expected


def test_depths_that_are_not_finite():
    pair = pairs("sphere_plane")[0]
    depth = pair.depth.clone()
    depth[10:20, 10:20] = torch.nan
    depth[40, 40] = torch.inf
    found = replace(pair, depth=depth).errors()
    assert np.isfinite(found.paper)
    assert np.isfinite(found.zbuffer)


def enlarged(image: torch.Tensor) -> torch.Tensor:
    taller = image.repeat_interleave(2, dim=1)
    return taller.repeat_interleave(2, dim=2)


def test_larger_images_are_resized():
    pair = pairs("bumpy")[0]
    large = replace(pair, front=enlarged(pair.front), side=enlarged(pair.side))
    assert large.errors() == pair.errors()
