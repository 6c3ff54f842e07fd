"""metrics.warping: the reference's numbers and the paper's, exact scenes, perturbed geometry, odd input."""

import numpy as np
import pytest
import torch

from metrics.warping import SIZE, WarpingErrors, land, warping_errors
from tests.helpers.golden_metrics import array, hold
from training.rendering.rays import camera_rays

SCENES = ("bumpy", "sphere_plane")
PAIRS = [(0, 2), (3, 1), (0, 1), (3, 2)]
IS_SIDE, TIME_SLOT = (0, 1, 1, 0), (0, 1, 0, 1)
REFERENCE, EXACT = {"atol": 1e-3}, {"atol": 1e-9}
WALL = -0.28  # z of the plane of sphere_plane
pytestmark = pytest.mark.usefixtures("one_thread")


def camera(name: str) -> torch.Tensor:
    return torch.from_numpy(array("warping", f"{name}_camera"))


def images(scene: str) -> np.ndarray:
    """uint8 [4, 3, 256, 256]"""
    return np.ascontiguousarray(array("warping", f"{scene}_images").transpose(0, 3, 1, 2))


def depths(scene: str) -> np.ndarray:
    """[4, 64, 64]"""
    return array("warping", f"{scene}_depth")[:, 0]


def compare(front, side, side_depth, front_camera, side_camera) -> WarpingErrors:
    return warping_errors(
        front=front,
        side=side,
        side_depth=side_depth,
        front_camera=front_camera,
        side_camera=side_camera,
    )


def landing(scene: str, view: int):
    return land(torch.from_numpy(depths(scene)[view]), side_camera=camera("side"), front_camera=camera("canonical"))


def errors(scene: str, shift: float = 0.0):
    """Of the four pairs; `shift` moves the surface along the rays."""
    seen, depth = images(scene), depths(scene) + np.float32(shift)
    return [compare(seen[a], seen[b], depth[b], camera("canonical"), camera("side")) for a, b in PAIRS]


@pytest.fixture(scope="module")
def found():
    return {scene: errors(scene) for scene in SCENES}


@pytest.mark.parametrize("scene", SCENES)
def test_errors(found, scene):
    values = {
        name: [getattr(pair, name) for pair in found[scene]] for name in ("reference", "paper", "zbuffer", "no_warp")
    }
    hold("warping", f"{scene}_we", values["reference"], **REFERENCE)
    hold("warping", f"{scene}_we_f64", values["reference"], **EXACT)
    hold("warping", f"{scene}_we_fixed_range_mask", values["paper"], **REFERENCE)
    hold("warping", f"{scene}_we_fixed_range_mask_zbuffer", values["zbuffer"], **REFERENCE)
    hold("warping", f"{scene}_no_warp", values["no_warp"], **EXACT)


def test_mean_over_pairs(found):
    hold("warping", "pairs", PAIRS)
    mean = np.mean([[pair.reference for pair in found[scene]] for scene in SCENES])
    hold("warping", "we_mean", mean, **REFERENCE)


@pytest.mark.parametrize("scene", SCENES)
def test_counted_pixels_and_medians(scene):
    counts, medians = [], []
    for a, b in PAIRS:
        front, side = (torch.from_numpy(images(scene)[view]) for view in (a, b))
        warp = landing(scene, b).warp_like_reference(side)
        differences = (front.int() - warp.image.int()).abs()[:, warp.mask]
        counts.append(differences.numel())
        medians.append(float(differences.flatten().median()))
    hold("warping", f"{scene}_valid_count", counts, atol=15)
    hold("warping", f"{scene}_we_median", medians)


@pytest.mark.parametrize("scene", SCENES)
def test_warped_image(scene):
    warp = landing(scene, 2).warp_like_reference(torch.from_numpy(images(scene)[2]))
    mask, image = np.packbits(warp.mask.numpy()), warp.image.permute(1, 2, 0).numpy()
    other = array("warping", f"{scene}_warp_pair0") != image
    assert np.unpackbits(mask ^ array("warping", f"{scene}_mask_pair0_packed")).sum() <= 5
    assert other.any(axis=-1).sum() <= 5
    # At most 5 pixels differ, by anything.
    hold("warping", f"{scene}_mask_pair0_packed", mask, atol=255)
    hold("warping", f"{scene}_warp_pair0", image, atol=255)


def sphere(slot: int) -> tuple[torch.Tensor, float]:
    """Centre and radius of the sphere of sphere_plane at a time, fitted to its depths from both sides."""
    points = []
    for view in range(4):
        origins, directions = camera_rays(camera("side" if IS_SIDE[view] else "canonical").double()[None], 64)
        seen = origins[0] + directions[0] * torch.from_numpy(depths("sphere_plane")[view]).double().reshape(-1, 1)
        points += [seen[seen[:, 2] > WALL + 1e-3]] if TIME_SLOT[view] == slot else []
    points = torch.cat(points)
    # |p|^2 = 2 p . c + (r^2 - |c|^2)
    equations = torch.cat([2 * points, torch.ones(len(points), 1)], dim=1)
    *centre, rest = torch.linalg.lstsq(equations, points.square().sum(dim=1, keepdim=True)).solution[:, 0].tolist()
    centre = torch.tensor(centre, dtype=torch.float64)
    radius = (rest + float(centre @ centre)) ** 0.5
    assert ((points - centre).norm(dim=1) - radius).abs().max() < 3e-7
    return centre, radius


def sphere_plane_depth(view: int, size: int) -> torch.Tensor:
    """Exact depth [size, size] of a view of sphere_plane."""
    origins, directions = camera_rays(camera("side" if IS_SIDE[view] else "canonical").double()[None], size)
    origins, directions = origins[0], directions[0]
    centre, radius = sphere(TIME_SLOT[view])
    along = (origins - centre).mul(directions).sum(dim=1)
    inside = along.square() - ((origins - centre).square().sum(dim=1) - radius**2)
    wall = (WALL - origins[:, 2]) / directions[:, 2]
    return torch.where(inside > 0, -along - inside.clamp(min=0).sqrt(), wall).reshape(size, size)


def test_exact_depth():
    """At full size, without upsampling: the scene is found again from its depths. One pixel at an outline is 1.4e-3."""
    for view in range(4):
        assert np.abs(sphere_plane_depth(view, 64).numpy() - depths("sphere_plane")[view]).max() < 1e-6
    seen = torch.from_numpy(images("sphere_plane"))
    values = [
        land(sphere_plane_depth(b, SIZE), side_camera=camera("side"), front_camera=camera("canonical"))
        .warp(seen[b], True)
        .error(seen[a])
        for a, b in PAIRS
    ]
    hold("warping", "sphere_plane_we_fixed_zbuffer_exact_depth", values, atol=3e-3)


@pytest.mark.parametrize("scene", SCENES)
def test_the_error_grows_as_geometry_is_perturbed(found, scene):
    for shifts in ((0.005, 0.02, 0.05), (-0.005, -0.02, -0.05)):
        perturbed = [errors(scene, shift) for shift in shifts]
        for k in (0, 1):  # pairs of one time
            values = [found[scene][k].paper, *(pairs[k].paper for pairs in perturbed)]
            assert values == sorted(values) and values[-1] > 2 * values[0]
            assert values[-1] < found[scene][k].no_warp


def test_identical_views_are_at_zero():
    """From one camera every pixel lands on itself, whatever the depth."""
    image, depth = images("bumpy")[0], depths("sphere_plane")[0]
    for name in ("canonical", "side"):
        same = compare(image, image, depth, camera(name), camera(name))
        assert (same.paper, same.zbuffer, same.reference, same.no_warp) == (0, 0, 0, 0)
    warp = land(torch.from_numpy(depth), side_camera=camera("side"), front_camera=camera("side")).warp(
        torch.from_numpy(image)
    )
    assert warp.mask.all() and torch.equal(warp.image, torch.from_numpy(image))


def moved(transform: torch.Tensor) -> torch.Tensor:
    """The frontal camera, carried elsewhere by a rigid motion [4, 4]."""
    label = camera("canonical").clone()
    label[:16] = (transform @ label[:16].reshape(4, 4)).flatten()
    return label


def test_views_that_do_not_overlap():
    """Nothing lands inside; behind the camera is not inside either."""
    backwards = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    seen, depth = images("bumpy"), depths("bumpy")[2]
    aside = torch.eye(4)
    aside[0, 3] = 5.0
    behind = torch.eye(4)
    behind[2, 3] = -6.0
    for transform in (aside, behind, aside @ backwards):
        found = compare(seen[0], seen[2], depth, moved(transform), camera("side"))
        assert np.isnan(found.paper) and np.isnan(found.zbuffer) and found.no_warp > 0


def test_nearest_wins():
    """Two layers that land on the same pixels: the later in raster order without a z-buffer, the nearer with one."""
    image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    image[:, :, ::2], image[:, :, 1::2] = 10, 20
    place = landing("bumpy", 2)
    place.target = torch.arange(SIZE**2) // 2 * 2  # neighbours land on one pixel
    place.inside = torch.ones_like(place.inside)
    place.points = torch.ones(3, SIZE**2, dtype=torch.float64)
    assert (place.warp(image).image[:, place.warp(image).mask] == 20).all()
    place.points[2, 1::2] = 2.0
    warp = place.warp(image, nearest_wins=True)
    assert (warp.image[:, warp.mask] == 10).all() and warp.mask.sum() == SIZE**2 // 2


def test_threads_and_depths_that_are_not_finite():
    seen, depth = images("sphere_plane"), depths("sphere_plane")[2].copy()
    expected = compare(seen[0], seen[2], depth, camera("canonical"), camera("side"))
    torch.set_num_threads(2)
    assert compare(seen[0], seen[2], depth, camera("canonical"), camera("side")) == expected
    depth[10:20, 10:20] = np.nan
    depth[40, 40] = np.inf
    found = compare(seen[0], seen[2], depth, camera("canonical"), camera("side"))
    assert np.isfinite([found.paper, found.zbuffer]).all()


def test_larger_images_are_resized():
    seen, depth = images("bumpy"), depths("bumpy")[2]
    large = seen.repeat(2, axis=2).repeat(2, axis=3)
    cameras = camera("canonical"), camera("side")
    assert compare(large[0], large[2], depth, *cameras) == compare(seen[0], seen[2], depth, *cameras)
