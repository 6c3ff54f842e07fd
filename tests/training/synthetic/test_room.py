"""training.synthetic.room: the background is a closed surface in the box, seen from every camera beside a person."""

import math

import numpy as np
import pytest

from training.cameras import frontal_label
from training.config import RenderingConfig
from training.data.options import MAX_YAW, YAW_RANGE
from training.synthetic import room
from training.synthetic.motion import PITCH_RANGE
from training.synthetic.rays import intervals, points_at
from training.synthetic.render import pixel_rays
from training.synthetic.scene import FRONT

SIDE = 48
EDGE_TO_EDGE = np.linspace(0, 1, SIDE)
COLUMNS, ROWS = (grid.ravel() for grid in np.meshgrid(EDGE_TO_EDGE, EDGE_TO_EDGE))


def rays_of(yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Return eye [3] and directions [3, M], edges of the picture included, for a yaw in degrees."""
    return pixel_rays(frontal_label(math.radians(yaw), pitch).numpy(), COLUMNS, ROWS)


def room_points(yaw: float, pitch: float) -> np.ndarray:
    """Return the points [3, M] of the background that a camera sees."""
    eye, directions = rays_of(yaw, pitch)
    return points_at(eye, directions, room.room_depth(eye, directions))


@pytest.mark.parametrize("pitch", [-PITCH_RANGE, 0.0, PITCH_RANGE])
@pytest.mark.parametrize("yaw", [0, 26, 31, 45, 55, 65, MAX_YAW])
def test_cameras_see_the_room_everywhere_and_in_the_box(yaw, pitch):
    bounds = RenderingConfig()
    for side in (-yaw, yaw):
        eye, directions = rays_of(side, pitch)
        depth = room.room_depth(eye, directions)
        assert depth.min() > bounds.near and depth.max() < bounds.far
        x, _, z = points_at(eye, directions, depth)
        round_part = np.abs(np.hypot(x, z) - room.WALL_RADIUS) < 1e-5
        flat_part = np.abs(np.abs(x) - room.SIDE_X) < 1e-5
        assert np.where(z < room.SIDE_START, round_part, flat_part).all()
        assert max(np.abs(x).max(), np.abs(z).max()) < bounds.box_side / 2


@pytest.mark.parametrize("pitch", [-1.2 * PITCH_RANGE, 0.0, 1.2 * PITCH_RANGE])
def test_cameras_in_front_see_nothing_but_the_cylinder(pitch):
    """Nothing has changed for them, to the bit, since there are sides: datasets, and frames that `pose` learns from."""
    for yaw in np.degrees(YAW_RANGE * np.array([-1.2, -1, 0, 1, 1.2])):
        eye, directions = rays_of(yaw, pitch)
        _, leaves = intervals(eye, directions, room.CYLINDER)
        assert np.array_equal(room.room_depth(eye, directions), leaves[0])
        x, _, z = points_at(eye, directions, leaves[0])
        assert np.array_equal(room.along_room(np.stack([x, x, z])), np.arctan2(x, -z) * room.WALL_SCALE)
    assert FRONT > 1.2 * YAW_RANGE  # so neither do rays to the face


@pytest.mark.parametrize("yaw", [35, 60, MAX_YAW])
def test_the_room_is_one_surface_with_one_measure(yaw):
    """Neighbouring rays of a row see neighbouring points, and places along the wall differ by the way between them."""
    points = room_points(-yaw, 0.0).reshape(3, SIDE, SIDE)
    across = np.diff(points[:, SIDE // 2], axis=1)
    way = np.hypot(across[0], across[2])
    assert way.max() < 0.06
    places = room.along_room(points[:, SIDE // 2])
    assert np.allclose(np.abs(np.diff(places)), way, rtol=0.02, atol=1e-4)
    assert (np.diff(places) > 0).all()


def test_both_sides_are_mirror_images():
    left = room_points(60, 0.1).reshape(3, SIDE, SIDE)
    right = room_points(-60, 0.1).reshape(3, SIDE, SIDE)[:, :, ::-1]
    assert np.allclose(left, right * np.array([-1, 1, 1])[:, None, None], atol=1e-5)
    assert np.allclose(room.along_room(left.reshape(3, -1)), -room.along_room(right.reshape(3, -1)), atol=1e-5)
