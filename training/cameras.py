"""The 25-number camera label: build, split, look at, orbit, mirror, interpolate, judge; which one the mapping sees.

A label is the flattened 4 x 4 cam2world matrix followed by the flattened 3 x 3 intrinsics. Axes are OpenCV's: +x right,
+y down, +z forward (the viewing direction). Intrinsics are in units of the image size: principal point 0.5 is the
centre, and a focal length of 4.2647 means a frame that is 1 / 4.2647 as wide as it is far away (PV3D section 3.1, A.3).

Everything here takes and returns torch tensors with any leading batch shape `...`.
"""

import math

import numpy as np
import torch

from torch_utils.random_numbers import Random, uniform

CAMERA_DIM = 25  # 16 numbers of cam2world, 9 of the intrinsics
FOCAL = 4.2647  # of the EG3D / PV3D data preparation, in image sizes
RADIUS = 2.7  # distance from camera to the world's origin after normalisation
LOOK_AT = (0.0, 0.0, 0.2)  # point that orbit cameras face, about the middle of the face
FRONTAL_YAW = math.pi / 2  # EG3D's angles of a camera on the +z axis
FRONTAL_PITCH = math.pi / 2 - 0.05  # EG3D's frontal evaluation pose, slightly from above
MIRROR_NEGATES = (1, 2, 3, 4, 8)  # label entries that change sign when a frame is mirrored left-right
ROTATION_TOLERANCE = 1e-3  # of R^T R - 1
RADIUS_TOLERANCE = 0.02  # of the distance to the origin, world units


def intrinsics_matrix(focal: float = FOCAL) -> torch.Tensor:
    """Intrinsics [3, 3] with a centred principal point."""
    return torch.tensor([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]], dtype=torch.float32)


def make_label(cam2world: torch.Tensor, intrinsics: torch.Tensor | None = None) -> torch.Tensor:
    """cam2world [..., 4, 4] and intrinsics [(...,) 3, 3] (default: `intrinsics_matrix()`) -> label [..., 25]."""
    batch = cam2world.shape[:-2]
    if intrinsics is None:
        intrinsics = intrinsics_matrix()
    intrinsics = intrinsics.to(cam2world).expand(*batch, 3, 3)
    return torch.cat([cam2world.reshape(*batch, 16), intrinsics.reshape(*batch, 9)], dim=-1)


def split_label(label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """label [..., 25] -> cam2world [..., 4, 4], intrinsics [..., 3, 3]."""
    batch = label.shape[:-1]
    return label[..., :16].reshape(*batch, 4, 4), label[..., 16:25].reshape(*batch, 3, 3)


def canonical_label() -> torch.Tensor:
    """The camera [25] at (0, 0, 2.7) that looks along -z, upright."""
    cam2world = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    cam2world[2, 3] = RADIUS
    return make_label(cam2world)


def look_at_pose(yaw, pitch, pivot=LOOK_AT, radius: float = RADIUS) -> torch.Tensor:
    """Poses on a sphere around the world's origin, facing `pivot`.

    Args:
        yaw: horizontal angle in radians, number or [...]; pi / 2 is frontal.
        pitch: vertical angle in radians, clamped to [1e-5, pi - 1e-5]; pi / 2 is level. It acts through the polar angle
            arccos(1 - 2 pitch / pi), which spreads uniform draws evenly over the sphere: no angle of elevation.
        pivot: point [3] or [..., 3] that the camera looks at.
        radius: distance to the origin.

    Returns:
        cam2world [..., 4, 4].
    """
    yaw, pitch = torch.broadcast_tensors(*(torch.as_tensor(a, dtype=torch.float32) for a in (yaw, pitch)))
    pivot = torch.as_tensor(pivot, dtype=torch.float32).expand(*yaw.shape, 3)
    fraction = pitch.clamp(1e-5, math.pi - 1e-5) / math.pi
    polar = torch.arccos(1 - 2 * fraction)
    theta = math.pi - yaw
    position = radius * torch.stack(
        [torch.sin(polar) * torch.cos(theta), torch.cos(polar), torch.sin(polar) * torch.sin(theta)], dim=-1
    )
    forward = torch.nn.functional.normalize(pivot - position, dim=-1)
    up = torch.tensor([0.0, 1.0, 0.0]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    cam2world = torch.eye(4).repeat(*yaw.shape, 1, 1)
    cam2world[..., :3, :3] = torch.stack([right, down, forward], dim=-1)
    cam2world[..., :3, 3] = position
    return cam2world


def frontal_label(yaw_offset=0.0, pitch_offset=0.0) -> torch.Tensor:
    """The frontal evaluation camera [..., 25], turned by offsets in radians (positive yaw: see `look_at_pose`)."""
    yaw = torch.as_tensor(yaw_offset, dtype=torch.float32) + FRONTAL_YAW
    pitch = torch.as_tensor(pitch_offset, dtype=torch.float32) + FRONTAL_PITCH
    return make_label(look_at_pose(yaw, pitch))


def orbit_labels(frames: int, yaw_range: float = 0.35, pitch_range: float = 0.15, turns: float = 1.0) -> torch.Tensor:
    """A closed elliptical path [frames, 25] around the frontal camera; ranges in radians, `turns` rounds in all."""
    phase = torch.arange(frames, dtype=torch.float32) * (2 * math.pi * turns / max(frames, 1))
    return frontal_label(yaw_range * torch.sin(phase), pitch_range * torch.cos(phase))


def mirror_label(label: torch.Tensor) -> torch.Tensor:
    """The camera [..., 25] of the same frame mirrored left-right (world mirrored in x)."""
    sign = torch.ones(CAMERA_DIM, dtype=label.dtype, device=label.device)
    sign[list(MIRROR_NEGATES)] = -1
    return label * sign


def resample_labels(labels: torch.Tensor, frames: int) -> torch.Tensor:
    """A camera path [F, 25] at `frames` evenly spaced moments from its first to its last camera.

    Positions and intrinsics are interpolated linearly; rotations too, then made orthonormal again (for neighbouring
    frames of a clip that is within a fraction of a degree of the geodesic).
    """
    if len(labels) == frames:
        return labels
    place = torch.linspace(0, len(labels) - 1, frames)
    lower = place.floor().long().clamp(max=max(len(labels) - 2, 0))
    upper = (lower + 1).clamp(max=len(labels) - 1)
    mixed = torch.lerp(labels[lower], labels[upper], (place - lower).unsqueeze(-1).to(labels))
    cam2world, intrinsics = split_label(mixed)
    cam2world = cam2world.clone()
    u, _, vh = torch.linalg.svd(cam2world[:, :3, :3])
    cam2world[:, :3, :3] = u @ vh
    return make_label(cam2world, intrinsics)


def condition_cameras(cameras: torch.Tensor, mode: str, training: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Cameras of clips [B, T, 25] -> (for the mapping network, for rendering), both [B, T, 25].

    All: the clip's first camera for both. Non: each frame's own for both. Map: the first for mapping, each frame's own
    for rendering. MapT: like Non in training, like Map at inference (section 3.4).
    """
    first = cameras[:, :1].expand_as(cameras)
    share_mapping = mode in ("All", "Map") or (mode == "MapT" and not training)
    return first if share_mapping else cameras, first if mode == "All" else cameras


def swap_cameras(cameras: torch.Tensor, others: torch.Tensor, probability: float, random: Random) -> torch.Tensor:
    """Cameras [B, T, 25] with each clip's replaced by another clip's (`others`, alike) with a probability (A.1).

    Keeps the generator from reading the rendering camera's pose off its condition.
    """
    swap = uniform([len(cameras), 1, 1], random, cameras.device) < probability
    return torch.where(swap, others, cameras)


def as_camera(label) -> np.ndarray | None:
    """A label as float32 [25]; None if it is something else, or float32 cannot hold it."""
    try:
        with np.errstate(over="ignore"):  # becomes infinite
            camera = np.array(label, dtype=np.float64).astype(np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
    return camera if camera.shape == (CAMERA_DIM,) and np.isfinite(camera).all() else None


def camera_faults(label) -> list[str]:
    """What is wrong with a camera label, in words; nothing for a good one."""
    if label is None:
        return ["missing camera"]
    try:
        camera = np.array(label, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return ["camera is not a list of numbers"]
    if camera.shape != (CAMERA_DIM,):
        return [f"camera has shape {list(camera.shape)}, not {CAMERA_DIM} numbers"]
    if as_camera(label) is None:
        return ["camera has non-finite numbers"]
    pose, intrinsics = camera[:16].reshape(4, 4), camera[16:].reshape(3, 3)
    return [
        what
        for bad, what in (
            (not _is_rotation(pose[:3, :3]), "camera matrix is not a rotation"),
            (np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-4, "last row of the camera matrix is not 0 0 0 1"),
            (
                abs(np.linalg.norm(pose[:3, 3]) - RADIUS) > RADIUS_TOLERANCE,
                f"camera is {np.linalg.norm(pose[:3, 3]):.3f} from the origin, not {RADIUS}",
            ),
            (
                min(intrinsics[0, 0], intrinsics[1, 1]) <= 0 or np.abs(intrinsics[2] - (0, 0, 1)).max() > 1e-4,
                "intrinsics are not those of a camera",
            ),
        )
        if bad
    ]


def _is_rotation(matrix: np.ndarray) -> bool:
    return np.abs(matrix.T @ matrix - np.eye(3)).max() < ROTATION_TOLERANCE and np.linalg.det(matrix) > 0
