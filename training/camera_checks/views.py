"""What cameras see of the head, and the ranges that good cameras are in, with their reasons (docs/conventions.md)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from training.cameras import LOOK_AT, intrinsics_matrix
from training.config import FOCALS, RenderingConfig

HEAD = np.array(LOOK_AT) / 2  # between the points that cameras face: the origin, or the middle of the face
ROTATION_TOLERANCE = 1e-3  # of R^T R - 1
SMALLEST_VOLUME = 1e-6  # of the axes of a camera; those of a rotation have 1
ROW_TOLERANCE = 1e-4  # of the last rows of both matrices
USUAL = RenderingConfig()  # what cameras are judged for where nothing else is known
BEFORE, BEHIND = 0.35, 0.4  # the origin: where a head begins and ends along the sight, world units
MAX_ASPECT = 1.1  # of the two focal lengths; calibrations differ by a few percent, squeezed pictures by a third
MAX_SKEW = 0.1  # of the focal length; a pixel is no rhombus
MIDDLE = 0.15  # sides from a picture's middle: either the principal point is nearer, or a crop has the head there
MIN_UP = 0.25  # cosine between the picture's up and the world's: 75 degrees of rolling and looking up or down in all


@dataclass(frozen=True, kw_only=True)
class View:
    """What N cameras see of the head."""

    place: np.ndarray  # [N, 2] where it is in the picture, in sides
    is_ahead: np.ndarray  # [N] whether it is before the camera
    is_inside: np.ndarray  # [N] whether it is in the picture, if it is before the camera
    is_upright: np.ndarray  # [N] whether the picture's up is about the world's
    line: np.ndarray  # [N, 3] the unit direction that the picture's middle sees


def view(pose: np.ndarray, intrinsics: np.ndarray) -> View:
    """Return what cameras [N, 4, 4] with usable intrinsics [N, 3, 3] see."""
    rotation = pose[:, :3, :3]
    head = np.einsum("nji,nj->ni", rotation, HEAD - pose[:, :3, 3])
    is_ahead = head[:, 2] > 0
    x, y = head[:, :2].T / np.where(is_ahead, head[:, 2], 1)
    fx, skew, cx = intrinsics[:, 0].T
    _, fy, cy = intrinsics[:, 1].T
    place = np.stack([fx * x + skew * y + cx, fy * y + cy], axis=1)
    middle_y = (0.5 - cy) / fy
    middle_x = (0.5 - cx - skew * middle_y) / fx
    line = np.einsum("nij,nj->ni", rotation, np.stack([middle_x, middle_y, np.ones_like(fx)], axis=1))
    return View(
        place=place,
        is_ahead=is_ahead,
        is_inside=np.all((place >= 0) & (place <= 1), axis=1),
        is_upright=-rotation[:, 1, 1] >= MIN_UP,
        line=line / np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-9),
    )


def radii(rendering: RenderingConfig) -> tuple[float, float]:
    """Return how far from the origin cameras may stand for the samples along their rays to hold the head."""
    return rendering.near + BEFORE, rendering.far - BEHIND


def matrices(cameras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cam2world [N, 4, 4] and intrinsics [N, 3, 3] of labels [N, 25], float64."""
    numbers = cameras.astype(np.float64)
    return numbers[:, :16].reshape(-1, 4, 4), numbers[:, 16:].reshape(-1, 3, 3)


def near(values: np.ndarray, wanted: Any, tolerance: float) -> np.ndarray:
    """Return [N], whether all numbers of each item [N, ...] are within a tolerance of those wanted."""
    return (abs(values - wanted) <= tolerance).reshape(len(values), -1).all(axis=1)


def has_rays(labels: np.ndarray) -> np.ndarray:
    """Return bool [N]: whether labels [N, 25] give every pixel a ray, if only a wrong one."""
    pose, intrinsics = matrices(labels)
    focal = intrinsics[:, [0, 1], [0, 1]]
    return (focal != 0).all(axis=1) & (np.abs(np.linalg.det(pose[:, :3, :3])) > SMALLEST_VOLUME)


def is_rotation(pose: np.ndarray) -> np.ndarray:
    """Return [N], whether matrices [N, 4, 4] turn without scaling or mirroring."""
    rotation = pose[:, :3, :3]
    gram = rotation.transpose(0, 2, 1) @ rotation
    return near(gram, np.eye(3), ROTATION_TOLERANCE) & (np.linalg.det(rotation) > 0)


def has_pose_row(pose: np.ndarray) -> np.ndarray:
    """Return [N], whether the last row of matrices [N, 4, 4] is 0 0 0 1."""
    return near(pose[:, 3], (0, 0, 0, 1), ROW_TOLERANCE)


def is_camera(intrinsics: np.ndarray) -> np.ndarray:
    """Return [N], whether matrices [N, 3, 3] have the form of intrinsics."""
    positive = (intrinsics[:, 0, 0] > 0) & (intrinsics[:, 1, 1] > 0)
    return positive & near(intrinsics[:, 2], (0, 0, 1), ROW_TOLERANCE)


def usable(intrinsics: np.ndarray) -> np.ndarray:
    """Replace intrinsics [N, 3, 3] that say nothing about what is seen by those that most data has."""
    focals, centre = intrinsics[:, [0, 1], [0, 1]], intrinsics[:, :2, 2]
    good = is_camera(intrinsics) & ((focals >= FOCALS[0]) & (focals <= FOCALS[1])).all(axis=1)
    good &= ((centre >= 0) & (centre <= 1)).all(axis=1) & (abs(intrinsics[:, 0, 1]) <= MAX_SKEW * focals[:, 0])
    return np.where(good[:, None, None], intrinsics, intrinsics_matrix().numpy())
