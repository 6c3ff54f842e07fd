"""The 25-number camera label: build, split, look at, orbit, mirror, interpolate, parse; which one the mapping sees.

A label is the flattened 4 x 4 cam2world matrix followed by the flattened 3 x 3 intrinsics. Axes are OpenCV's: +x right,
+y down, +z forward (the viewing direction). Intrinsics are in units of the image size: principal point 0.5 is the
centre, and a focal length of 4.2647 means a frame that is 1 / 4.2647 as wide as it is far away (PV3D section 3.1, A.3).

Everything but the parsing of labels from files takes and returns torch tensors with any leading batch shape `...`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

from dnnlib.errors import UserError
from torch_utils.random_numbers import Random, uniform
from training.config import FOCAL

CAMERA_DIM = 25  # 16 numbers of cam2world, 9 of the intrinsics
RADIUS = 2.7  # distance from camera to the world's origin after normalisation
LOOK_AT = (0.0, 0.0, 0.2)  # point that orbit cameras face, about the middle of the face
FRONTAL_YAW = math.pi / 2  # EG3D's angles of a camera on the +z axis
FRONTAL_PITCH = math.pi / 2 - 0.05  # EG3D's frontal evaluation pose, slightly from above
POLE_DISTANCE = 1e-5  # least angle between a camera and the poles, where no direction is up; radians
MIRROR_NEGATES = [1, 2, 3, 4, 8]  # label entries that change sign when a frame is mirrored left-right
SKEW, CENTRE_X = 17, 18  # label entries: skew, and where the principal point is from left to right
MAX_TURN = math.radians(170)  # between neighbours of a path; the way to the opposite side could be any

Numbers = float | torch.Tensor

# --- Build and split --------------------------------------------------------------------------------------------------


def intrinsics_matrix(focal: float = FOCAL) -> torch.Tensor:
    """Return intrinsics [3, 3] with a centred principal point."""
    rows = [
        [focal, 0, 0.5],
        [0, focal, 0.5],
        [0, 0, 1],
    ]
    return torch.tensor(rows, dtype=torch.float32)


def make_label(
    cam2world: torch.Tensor,
    intrinsics: torch.Tensor | None = None,
) -> torch.Tensor:
    """Build label [..., 25] of cam2world [..., 4, 4] and intrinsics [(...,) 3, 3], by default `intrinsics_matrix()`."""
    if intrinsics is None:
        intrinsics = intrinsics_matrix()
    intrinsics = intrinsics.to(cam2world).expand(*cam2world.shape[:-2], 3, 3)
    return torch.cat([cam2world.flatten(-2), intrinsics.flatten(-2)], dim=-1)


def split_label(label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split label [..., 25] into cam2world [..., 4, 4] and intrinsics [..., 3, 3]."""
    cam2world, intrinsics = label.split([16, 9], dim=-1)
    return cam2world.unflatten(-1, (4, 4)), intrinsics.unflatten(-1, (3, 3))


def canonical_label() -> torch.Tensor:
    """Return the camera [25] at (0, 0, 2.7) that looks along -z, upright."""
    cam2world = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    cam2world[2, 3] = RADIUS
    return make_label(cam2world)


# --- Look at a point, orbit around it ---------------------------------------------------------------------------------


def look_at_pose(
    yaw: Numbers,
    pitch: Numbers,
    pivot: Sequence[float] | torch.Tensor = LOOK_AT,
    radius: float = RADIUS,
) -> torch.Tensor:
    """Return poses on a sphere around the world's origin that face `pivot`.

    Args:
        yaw: horizontal angle in radians, number or [...]; pi / 2 is frontal.
        pitch: vertical angle in radians, clamped to [1e-5, pi - 1e-5]; pi / 2 is level. It acts through the polar angle
            arccos(1 - 2 pitch / pi), which spreads uniform draws evenly over the sphere: no angle of elevation.
        pivot: point [3] or [..., 3] that the camera looks at.
        radius: distance to the origin.

    Returns:
        cam2world [..., 4, 4].
    """
    yaws, pitches = torch.broadcast_tensors(_as_tensor(yaw), _as_tensor(pitch))
    position = radius * _on_sphere(yaws, pitches)
    pivot = _as_tensor(pivot).expand_as(position)
    forward = normalize(pivot - position, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(forward)
    right = normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    cam2world = torch.eye(4).repeat(*yaws.shape, 1, 1)
    top = cam2world[..., :3, :]
    top[..., :3] = torch.stack([right, down, forward], dim=-1)
    top[..., 3] = position
    return cam2world


def _as_tensor(value: Numbers | Sequence[float]) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float32)


def _on_sphere(yaw: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
    """Return points [..., 3] of the unit sphere at angles [...] as of `look_at_pose`."""
    pitch = pitch.clamp(POLE_DISTANCE, math.pi - POLE_DISTANCE)
    polar = torch.arccos(1 - 2 * (pitch / math.pi))
    azimuth = math.pi - yaw
    ring = torch.sin(polar)  # radius of the circle at this height
    point = [
        ring * torch.cos(azimuth),
        torch.cos(polar),
        ring * torch.sin(azimuth),
    ]
    return torch.stack(point, dim=-1)


def frontal_label(
    yaw_offset: Numbers = 0.0,
    pitch_offset: Numbers = 0.0,
) -> torch.Tensor:
    """Return the frontal evaluation camera [..., 25], turned by offsets in radians (positive yaw: to the +x side)."""
    pose = look_at_pose(
        _as_tensor(yaw_offset) + FRONTAL_YAW,
        _as_tensor(pitch_offset) + FRONTAL_PITCH,
    )
    return make_label(pose)


def orbit_labels(
    frames: int,
    yaw_range: float = 0.35,
    pitch_range: float = 0.15,
    turns: float = 1.0,
) -> torch.Tensor:
    """Return a closed elliptical path [frames, 25] around the frontal camera, `turns` rounds in all.

    Ranges are radians either side.
    """
    step = 2 * math.pi * turns / max(frames, 1)
    phase = torch.arange(frames, dtype=torch.float32) * step
    return frontal_label(yaw_range * torch.sin(phase), pitch_range * torch.cos(phase))


# --- Mirror and interpolate -------------------------------------------------------------------------------------------


def mirror_label(label: torch.Tensor) -> torch.Tensor:
    """Return the camera [..., 25] of the same frame mirrored left-right (world and picture mirrored in x)."""
    mirrored = label.clone()
    mirrored[..., MIRROR_NEGATES] *= -1
    mirrored[..., SKEW] = 0 - label[..., SKEW]  # none stays 0, not -0
    mirrored[..., CENTRE_X] = 1 - label[..., CENTRE_X]
    return mirrored


def resample_labels(labels: torch.Tensor, frames: int) -> torch.Tensor:
    """Resample a camera path [F, 25] at `frames` evenly spaced moments from its first to its last camera.

    Between two cameras the rotation turns about one axis (slerp), and so does the direction in which they see the
    origin; distance from the origin and intrinsics change linearly. So cameras on a sphere stay on it, and see the head
    where their neighbours see it.

    Raises:
        UserError: neighbouring cameras are about opposite, so that no way between them is the shortest.
    """
    if len(labels) == frames:
        return labels
    moment = torch.linspace(0, len(labels) - 1, frames)
    before = moment.floor().long()
    after = (before + 1).clamp(max=len(labels) - 1)
    share = (moment - before).to(labels)[:, None]
    start, end = (split_label(labels[index])[0][:, :3] for index in (before, after))
    (rotation, position), (next_rotation, next_position) = (pose.split([3, 1], dim=2) for pose in (start, end))
    place, next_place = rotation.mT @ position, next_rotation.mT @ next_position  # in the camera's axes
    axis, angle = _turn_of_rotations(rotation.mT @ next_rotation)
    place_axis, place_angle = _turn_of_points(place[..., 0], next_place[..., 0])
    far = (torch.maximum(angle, place_angle) > MAX_TURN) & (share > 0)
    if far.any():
        key = before[far[:, 0]][0].item()
        raise UserError(
            f"Cameras {key} and {key + 1} of the path are about opposite, so the way between them could be any: "
            "put another camera between them."
        )
    path = torch.lerp(labels[before], labels[after], share)
    cam2world, intrinsics = split_label(path)
    radius = torch.lerp(position.norm(dim=1), next_position.norm(dim=1), share)
    rotation = rotation @ rotations(share * angle * axis)
    direction = rotations(share * place_angle * place_axis) @ normalize(place, dim=1)
    cam2world[:, :3, :3] = rotation
    cam2world[:, :3, 3:] = rotation @ direction * radius[..., None]
    return make_label(cam2world, intrinsics)


def rotations(vectors: torch.Tensor) -> torch.Tensor:
    """Return the rotations [F, 3, 3] about these axes by their lengths [F, 3] in radians."""
    axes = torch.eye(3).to(vectors).expand(len(vectors), 3, 3)
    return torch.linalg.matrix_exp(torch.linalg.cross(axes, vectors[:, None]))


def _turn_of_rotations(rotations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return axes [F, 3] and angles [F, 1] of rotations [F, 3, 3]; no axis (0) for angles 0 and pi."""
    odd = (rotations - rotations.mT) / 2
    sine = torch.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], dim=-1)  # times the axis
    cosine = (rotations.diagonal(dim1=1, dim2=2).sum(dim=-1, keepdim=True) - 1) / 2
    return normalize(sine, dim=-1), torch.atan2(sine.norm(dim=-1, keepdim=True), cosine)


def _turn_of_points(start: torch.Tensor, end: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return axes [F, 3] and angles [F, 1] that turn the directions of points [F, 3] into those of others, alike."""
    sine = torch.linalg.cross(start, end)
    cosine = (start * end).sum(dim=-1, keepdim=True)
    return normalize(sine, dim=-1), torch.atan2(sine.norm(dim=-1, keepdim=True), cosine)


# --- Which camera the mapping network sees ----------------------------------------------------------------------------


def condition_cameras(
    cameras: torch.Tensor,
    mode: str,
    training: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Split cameras of clips [B, T, 25] into those for the mapping network and those for rendering, both [B, T, 25].

    All: the clip's first camera for both. Non: each frame's own for both. Map: the first for mapping, each frame's own
    for rendering. MapT: like Non in training, like Map at inference (section 3.4).
    """
    first = cameras[:, :1].expand_as(cameras)
    if mode == "MapT":
        mode = "Non" if training else "Map"
    if mode == "Non":
        return cameras, cameras
    return first, first if mode == "All" else cameras


def swap_cameras(
    cameras: torch.Tensor,
    others: torch.Tensor,
    probability: float,
    random: Random,
) -> torch.Tensor:
    """Replace each clip's cameras [B, T, 25] by another clip's (`others`, alike) with a probability (A.1).

    This keeps the generator from reading the rendering camera's pose off its condition.
    """
    draws = uniform([len(cameras), 1, 1], random, cameras.device)
    return torch.where(draws < probability, others, cameras)


# --- Labels from files ------------------------------------------------------------------------------------------------


def parse_label(label: object) -> np.ndarray | None:
    """Return a label from a file as float32 [25]; None if it is something else, or float32 cannot hold it."""
    numbers = _as_array(label)
    if numbers is None or numbers.shape != (CAMERA_DIM,):
        return None
    with np.errstate(over="ignore"):  # too large a number becomes infinite
        camera = numbers.astype(np.float32)
    return camera if np.isfinite(camera).all() else None


def _as_array(label: object) -> np.ndarray | None:
    try:
        return np.array(label, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None


def label_fault(label: object) -> str:
    """Return why `parse_label` takes a label from a file for none, in words."""
    if label is None:
        return "missing camera"
    numbers = _as_array(label)
    if numbers is None:
        return "camera is not a list of numbers"
    if numbers.shape != (CAMERA_DIM,):
        return f"camera has shape {list(numbers.shape)}, not {CAMERA_DIM} numbers"
    return "camera has non-finite numbers"
