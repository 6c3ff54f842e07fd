"""Cameras out of heads' poses: low-pass in time, EG3D's final crop, labels of 25 numbers, angles for people.

The camera's distance from a point of the head is 2.7 in EG3D's data: from the world's origin, or, in its realigned set,
from the point at depth 0.175. Here the crop is made so that this holds: that point is in the middle of the frame, and
the crop as large as it is at that distance.
"""

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from preprocessing.head_pose import FRONTAL
from preprocessing.records import HeadPoses
from preprocessing.smoothing import low_pass
from training.cameras import FOCAL, RADIUS, make_label

CENTRES = {"origin": (0.0, 0.0, 0.0), "depth": (0.0, 0.0, 0.175)}  # points of the world, by `--centre`


def smooth_poses(poses: HeadPoses, sigma: float) -> HeadPoses:
    """Return poses after a Gaussian low-pass in time.

    Rotations are averaged as turns from their mean, which is exact for turns about one axis.

    Args:
        sigma: standard deviation in frames; 0: as they are.
    """
    everywhere = np.ones(len(poses.rotations), dtype=bool)
    rotations = Rotation.from_matrix(poses.rotations)
    middle = rotations.mean()
    turns = low_pass((middle.inv() * rotations).as_rotvec(), everywhere, sigma)
    return replace(
        poses,
        rotations=(middle * Rotation.from_rotvec(turns)).as_matrix(),
        translations=low_pass(poses.translations, everywhere, sigma),
    )


def recrop(poses: HeadPoses, side: int, centre: str) -> tuple[np.ndarray, HeadPoses]:
    """Return the crops in which a point of the head is in the middle, as if 2.7 away, and the poses in them.

    A camera that turns towards the point sees a picture that is not quite a shifted one; for the few degrees that a
    face is off the middle of the first crop, the difference is below what landmarks can tell. Neither is a larger crop
    quite what a nearer camera sees: EG3D's crops have the same fault.

    Args:
        side: of the crops before and after, in pixels.
        centre: one of CENTRES.

    Returns:
        similarities float64 [F, 2, 3] from pixels of the crops before to pixels of those after; the poses.
    """
    point = np.array(CENTRES[centre])
    place = poses.rotations @ point + poses.translations
    distance = np.linalg.norm(place, axis=1)
    towards = _turns_to_axis(place / distance[:, None])
    rotations = towards @ poses.rotations
    translations = np.array([0, 0, RADIUS]) - rotations @ point
    return _shift_and_scale(place, distance, side), replace(poses, rotations=rotations, translations=translations)


def _shift_and_scale(place: np.ndarray, distance: np.ndarray, side: int) -> np.ndarray:
    """Return the maps [F, 2, 3] that bring the pixel where a point [F, 3] is seen to the middle."""
    middle = (side - 1) / 2
    pixel = middle + side * FOCAL * place[:, :2] / place[:, 2:]
    scale = distance / RADIUS
    maps = np.zeros([len(place), 2, 3])
    maps[:, 0, 0] = maps[:, 1, 1] = scale
    maps[:, :, 2] = middle - scale[:, None] * pixel
    return maps


def _turns_to_axis(directions: np.ndarray) -> np.ndarray:
    """Return the smallest rotations [F, 3, 3] that take unit vectors [F, 3] to the camera's axis."""
    axes = np.cross(directions, [0, 0, 1])
    sine = np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.arctan2(sine, directions[:, 2:])
    return Rotation.from_rotvec(axes / np.where(sine > 0, sine, 1) * angles).as_matrix()


def head_cameras(poses: HeadPoses) -> np.ndarray:
    """Return the labels float64 [F, 25] of the cameras that see a head so (`training.cameras`)."""
    rotations = poses.rotations.transpose(0, 2, 1)
    cam2world = np.tile(np.eye(4), (len(rotations), 1, 1))
    cam2world[:, :3, :3] = rotations
    cam2world[:, :3, 3] = -np.einsum("fij,fj->fi", rotations, poses.translations)
    return make_label(torch.from_numpy(cam2world)).numpy()


def angles(poses: HeadPoses) -> np.ndarray:
    """Return yaw, pitch and roll [F, 3] in degrees.

    Positive yaw: the camera stands to the head's +x side, which is the right of a frontal picture; positive pitch:
    above it; positive roll: the head leans to the right of the picture.
    """
    world = Rotation.from_matrix(FRONTAL @ poses.rotations)
    return world.as_euler("ZXY", degrees=True)[:, [2, 1, 0]] * [-1, 1, -1]
