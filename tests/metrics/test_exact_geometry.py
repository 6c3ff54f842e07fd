"""CD and WE of a procedural head, whose geometry is known, seen by the protocol's two cameras at one time.

They are near zero, not zero. CD: the two views sample the surface at different points, 0.009 world units apart at
64 x 64; the distance between samples is what it measures, and it falls with their density. WE: pixels are moved to
whole places, without interpolation, which costs 2.0 to 2.5 levels of 255 where the texture has edges. Three more things
count in it that are no errors of geometry: highlights, which move with the viewer (1 to 2.5 levels), depth maps of
64 x 64 (1.5 to 2), and above all what only one of the cameras sees (5.5 to 12). So WE by the protocol is 12 to 18 for
these heads, although their geometry is exact; most tests here look at heads without highlights, where both cameras see.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from metrics.chamfer import chamfer_distances
from metrics.multiview import protocol_cameras
from metrics.warping import SIZE, WarpingErrors, warping_errors
from training import synthetic
from training.rendering.rays import camera_rays
from training.synthetic import room
from training.synthetic import scene as rendered
from training.synthetic.render import pixel_rays

pytestmark = pytest.mark.usefixtures("one_thread")
BIN = 1.05 / 48  # world units between samples along a ray, at the published configuration
MAP = 64  # side of the depth maps of CD, as in the protocol
CAMERAS = protocol_cameras()
SEEDS = (1, 2)
NOWHERE = 1e6  # a depth that puts a point of the side view outside the frontal one
SAME_POINT = 2e-3  # world units
MATTE = {part: (0.0, power) for part, (_, power) in rendered.GLOSS.items()}  # no highlights


# --- Heads ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """One person at one moment, seen from the front and from the side."""

    identity: synthetic.Identity
    expression: synthetic.Expression

    def scene(self) -> rendered.Scene:
        return rendered.Scene(self.identity, self.expression)

    def seen(self, resolution: int) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [2, 3, R, R] and exact depths float32 [2, R, R] along the unit rays."""
        images = []
        depths = []
        for camera in CAMERAS.numpy():
            image, depth = synthetic.render_frame(self.identity, self.expression, camera, resolution)
            images.append(image)
            depths.append(depth)
        return np.stack(images), np.stack(depths)

    def shared(self, side_depth: np.ndarray) -> np.ndarray:
        """Which pixels of the side view [R, R] the frontal camera sees, too: by its own rays to their points."""
        points = surface(CAMERAS[1], side_depth)
        eye, directions, distance = towards(points)
        _, first_hit = self.scene().look(eye, directions)
        hit_the_point = np.abs(first_hit - distance) < SAME_POINT
        return hit_the_point.reshape(side_depth.shape)


def head(seed: int) -> Head:
    """The middle of a clip."""
    motion = synthetic.random_motion(seed, 16)
    identity = synthetic.random_identity(seed)
    return Head(identity, motion.expressions[8])


def surface(camera: torch.Tensor, depth: np.ndarray) -> torch.Tensor:
    """World points [R, R, 3]: origin + depth * unit direction."""
    origins, directions = camera_rays(camera[None], len(depth))
    along = torch.from_numpy(depth).reshape(-1, 1)
    points = origins[0] + directions[0] * along
    return points.reshape(*depth.shape, 3)


def towards(points: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frontal camera's eye [3], unit directions [3, M] from it to points [..., 3], and their distances [M]."""
    eye = CAMERAS[0][[3, 7, 11]].double().numpy()
    offsets = points.reshape(-1, 3).numpy() - eye
    distances = np.linalg.norm(offsets, axis=1)
    directions = offsets.T / distances
    return eye, directions.astype(np.float32), distances


@pytest.fixture(scope="module", params=SEEDS)
def person(request) -> Head:
    return head(request.param)


@pytest.fixture(scope="module")
def depths(person) -> np.ndarray:
    """[2, MAP, MAP]"""
    return person.seen(MAP)[1]


def grows(values: list[float], factor: float) -> bool:
    """Each value is larger than the one before by a factor."""
    pairs = itertools.pairwise(values)
    return all(after > factor * before for before, after in pairs)


def noise(depths: np.ndarray, size: float) -> np.ndarray:
    """Depths with normal noise, which stays the same but for its size."""
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(depths.shape, dtype=np.float32)
    return depths + size * normal


# --- CD ---------------------------------------------------------------------------------------------------------------


def chamfer(depths: np.ndarray) -> float:
    """CD of both views, in squared bins; the wall behind the person is transparent."""
    front = surface(CAMERAS[0], depths[0])
    side = surface(CAMERAS[1], depths[1])
    points = torch.stack([front, side])
    from_axis = points[..., [0, 2]].norm(dim=-1)
    before_wall = from_axis <= room.WALL_RADIUS - SAME_POINT
    found = chamfer_distances(points, before_wall.float(), [(0, 1)], BIN)
    return float(found.paper[0])


def test_chamfer_is_near_zero(depths):
    """Measured over five people: 0.082 to 0.091 squared bins (4.0e-5 to 4.3e-5 squared world units)."""
    assert chamfer(depths) < 0.11


def test_chamfer_falls_with_the_distance_of_samples(person, depths):
    """Measured: to 0.25 to 0.27 bins at twice the resolution; a quarter is what the square of the distance falls to."""
    _, finer = person.seen(2 * MAP)
    assert chamfer(finer) < 0.4 * chamfer(depths)


def test_chamfer_grows_with_shifts_of_a_view(depths):
    """Measured: 0.11, 0.39 to 0.40, 1.1 to 1.2, 3.8 to 4.1."""
    values = []
    for shift in (0, 0.003, 0.01, 0.02, 0.04):
        shifted = depths.copy()
        shifted[1] += shift
        values.append(chamfer(shifted))
    assert grows(values, 1.2)


def test_chamfer_grows_with_noise(depths):
    """Measured: 0.28 to 2.3."""
    noisy = [noise(depths, size) for size in (0, 0.005, 0.01, 0.02, 0.04)]
    values = [chamfer(maps) for maps in noisy]
    assert grows(values, 1.4)


def test_chamfer_tells_people_apart(depths):
    """The side view of somebody else: measured 3.6 to 5.1 times as much."""
    _, other = head(60).seen(MAP)
    mixed = depths.copy()
    mixed[1] = other[1]
    assert chamfer(mixed) > 2 * chamfer(depths)


# --- WE ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MatteViews:
    """Images of a head without highlights, depth of its side view, and which of its pixels the front sees, too."""

    images: np.ndarray
    depth: np.ndarray
    shared: np.ndarray

    def errors(self, depth: np.ndarray) -> WarpingErrors:
        """WE on what both cameras see, with this depth of the side view."""
        seen_by_both = np.where(self.shared, depth, NOWHERE)
        return warping(self.images, seen_by_both)


@pytest.fixture(scope="module")
def matte(person) -> MatteViews:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendered, "GLOSS", MATTE)
        images, depths = person.seen(SIZE)
    shared = person.shared(depths[1])
    return MatteViews(images, depths[1], shared)


def warping(images: np.ndarray, side_depth: np.ndarray) -> WarpingErrors:
    return warping_errors(
        front=images[0],
        side=images[1],
        side_depth=side_depth,
        front_camera=CAMERAS[0],
        side_camera=CAMERAS[1],
    )


def test_warping_is_near_zero(matte):
    """On what both cameras see. Measured over five people: 2.0 to 2.6 levels, 5 to 10 % of what no warp leaves."""
    assert matte.shared.mean() > 0.8
    found = matte.errors(matte.depth)
    assert found.paper < 3
    assert found.zbuffer < 3
    assert found.paper < 0.13 * found.no_warp


def assert_both_grow(found: list[WarpingErrors], factor: float) -> None:
    assert grows([errors.paper for errors in found], factor)
    assert grows([errors.zbuffer for errors in found], factor)


def test_warping_grows_with_shifts(matte):
    """Measured: 2.5 to 4.0, 5.6 to 9.9, 11.6 to 21.5."""
    shifted = [matte.depth + shift for shift in (0, 0.003, 0.01, 0.03)]
    found = [matte.errors(depth) for depth in shifted]
    assert_both_grow(found, 1.1)


def test_warping_grows_with_noise(matte):
    """Measured: 4.7 to 5.9, 9.8 to 13.2, 17.4 to 25.2."""
    noisy = [noise(matte.depth, size) for size in (0, 0.005, 0.015, 0.04)]
    found = [matte.errors(depth) for depth in noisy]
    assert_both_grow(found, 1.1)


def test_warping_tells_people_apart(matte):
    """The depth of somebody else's side view: measured 5.1 to 7.5 times as much."""
    _, depths = head(60).seen(SIZE)
    exact = matte.errors(matte.depth)
    other = matte.errors(depths[1])
    assert other.paper > 3 * exact.paper
    assert other.zbuffer > 3 * exact.zbuffer


def test_warping_by_the_protocol(person, depths):
    """With highlights, hidden parts and depth of 64 x 64: 12 to 18 levels (21 to 42 without a warp), and it grows."""
    images, _ = person.seen(SIZE)
    shifted = [depths[1] + shift for shift in (0, 0.01, 0.03, 0.1)]
    found = [warping(images, depth) for depth in shifted]
    assert_both_grow(found, 1.05)
    exact = found[0]
    assert exact.paper < 0.7 * exact.no_warp
    assert exact.zbuffer < 0.7 * exact.no_warp


def test_matte_heads_have_one_colour_from_everywhere(person, monkeypatch):
    """So that what is left of WE is the metric's own rounding. Measured: colours of a point agree to 0.009 levels."""
    monkeypatch.setattr(rendered, "GLOSS", MATTE)
    centres = (np.arange(MAP) + 0.5) / MAP
    u = np.tile(centres, MAP)
    v = np.repeat(centres, MAP)
    origin, directions = pixel_rays(CAMERAS[1].numpy(), u, v)
    scene = person.scene()
    from_side, depth = scene.look(origin, directions)
    depth = depth.reshape(MAP, MAP)
    points = surface(CAMERAS[1], depth)
    eye, directions, _ = towards(points)
    from_front, _ = scene.look(eye, directions)
    shared = person.shared(depth).ravel()
    differences = np.abs(from_side - from_front)[:, shared]
    assert 255 * differences.mean() < 0.05
