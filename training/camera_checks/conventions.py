"""In which convention a set of cameras was likely written: in the right one, all look at the head."""

from itertools import product
from typing import NamedTuple

import numpy as np

from training.camera_checks.views import FOCALS, HEAD, has_pose_row, is_camera, matrices, usable, view

AXES_APART = 0.12  # RMS miss of the lines of sight, world units: a fifth of a picture, cameras off by 3 degrees
MAX_BEHIND = -0.5  # mean cosine to the head's front: no set of faces is seen from more than 120 degrees aside
PLAINLY = 1 / 3  # of a set's cost as it is: at most that is the cost of the convention that it is likely in
SAME = 0.02  # difference of costs that tells no two conventions apart; the simpler one is named
BLIND = 1.0  # cost of a camera that does not see the head: the side of the planes' cube
HOLD = 0.1  # weight of the head's place, beside the mean line of sight, in finding where all lines meet
SAMPLE = 500  # cameras that conventions are tried on


class Change(NamedTuple):
    """One way to differ from our matrices, and what to do about it in each of them."""

    name: str
    cure: str
    matrix: np.ndarray = np.eye(3)


OURS = Change("", "")
DIRECTIONS = [OURS, Change("world2cam matrices", "invert each 4 x 4 matrix")]
CAMERA_AXES = [
    OURS,
    Change(
        "OpenGL camera axes (y up, z backward)", "negate columns 2 and 3 of each 4 x 4 matrix", np.diag([1, -1, -1])
    ),
    Change("camera axes with x left and y up", "negate columns 1 and 2 of each 4 x 4 matrix", np.diag([-1, -1, 1])),
]
WORLD_AXES = [
    OURS,
    Change("a world with y down", "negate rows 2 and 3 of each 4 x 4 matrix", np.diag([1, -1, -1])),
    Change("a world where faces look along -z", "negate rows 1 and 3 of each 4 x 4 matrix", np.diag([-1, 1, -1])),
    Change(
        "a world with z up",
        "negate row 2 of each 4 x 4 matrix and swap it with row 3",
        np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
    ),
]
# The simplest first.
CONVENTIONS = sorted(
    product(WORLD_AXES, DIRECTIONS, CAMERA_AXES), key=lambda changes: sum(change is not OURS for change in changes)
)


def likely_convention(cameras: np.ndarray) -> str:
    """Return the convention that labels [N, 25] are likely in and its cure; "" if it is ours, or none that we know.

    One camera may not tell: a frontal cam2world matrix is its own inverse, but in a set that turns, those of world2cam
    all stand at one place.
    """
    places = np.linspace(0, len(cameras) - 1, min(len(cameras), SAMPLE)).astype(int)
    pose, intrinsics = matrices(cameras[places])
    has_row = has_pose_row(pose)
    if not has_row.any():
        return ""
    pose, intrinsics = pose[has_row], intrinsics[has_row]
    names, cures = [], []
    side = _side_in_pixels(intrinsics)
    if side:
        intrinsics = intrinsics / np.array([side, side, 1])[:, None]
    costs = [_cost(rewritten(pose, *changes), usable(intrinsics)) for changes in CONVENTIONS]
    if costs[0] > AXES_APART and min(costs) < PLAINLY * costs[0]:
        best = next(i for i, cost in enumerate(costs) if cost <= min(costs) + SAME)
        world, direction, axes = CONVENTIONS[best]
        changes = [change for change in (direction, axes, world) if change is not OURS]
        names += [change.name for change in changes]
        cures += [change.cure for change in changes]
    if side:
        names.append("intrinsics in pixels")
        cures.append(f"divide the first two rows of intrinsics by the picture's side, {side}")
    return f"{' and '.join(names)}: {', then '.join(cures)}" if names else ""


def rewritten(pose: np.ndarray, world: Change, direction: Change, axes: Change) -> np.ndarray:
    """Return matrices [N, 4, 4] that differ from ours in these ways as our cam2world."""
    ours = np.tile(np.eye(4), [len(pose), 1, 1])
    rotation, position = pose[:, :3, :3], pose[:, :3, 3:]
    if direction is not OURS:
        rotation = rotation.transpose(0, 2, 1)
        position = -rotation @ position
    ours[:, :3, :3] = world.matrix @ rotation @ axes.matrix
    ours[:, :3, 3:] = world.matrix @ position
    return ours


def _side_in_pixels(intrinsics: np.ndarray) -> int:
    """Return the picture's side if most intrinsics [N, 3, 3] are plainly in pixels, else 0."""
    focal, centre = np.median(intrinsics[:, 0, 0]), np.median(intrinsics[:, 0, 2])
    side = 2 * centre  # the principal point is about in the middle
    in_pixels = is_camera(intrinsics).mean() > 0.5 and focal > FOCALS[1] and side > FOCALS[1]
    return round(side) if in_pixels and FOCALS[0] <= focal / side <= FOCALS[1] else 0


def _cost(pose: np.ndarray, intrinsics: np.ndarray) -> float:
    """Return how far cameras are from looking at one head: RMS miss of their lines of sight, at most BLIND.

    Where the lines meet is found by least squares, held to the head where they do not say.
    """
    seen = view(pose, intrinsics)
    position = pose[:, :3, 3]
    across = np.eye(3) - seen.line[:, :, None] * seen.line[:, None, :]
    meeting = np.linalg.solve(
        across.mean(axis=0) + HOLD * np.eye(3),
        np.einsum("nij,nj->i", across, position) / len(pose) + HOLD * HEAD,
    )
    miss = np.linalg.norm(np.einsum("nij,nj->ni", across, position - meeting), axis=1)
    sees = seen.is_ahead & seen.is_inside & seen.is_upright
    from_head = position - HEAD
    front = from_head[:, 2] / np.maximum(np.linalg.norm(from_head, axis=1), 1e-9)
    if front.mean() < MAX_BEHIND:
        return BLIND
    return float(np.sqrt((np.where(sees, np.minimum(miss, BLIND), BLIND) ** 2).mean()))
