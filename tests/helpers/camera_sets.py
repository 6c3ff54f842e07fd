"""Sets of cameras that are right, and the same in conventions that are not ours."""

import numpy as np
import torch

from training.cameras import frontal_label, look_at_pose, make_label
from training.synthetic.motion import random_motion

OPENGL = np.diag([1.0, -1, -1, 1])  # y up, z backward
LEFT_UP = np.diag([-1.0, -1, 1, 1])
BACKWARD = np.diag([-1.0, 1, -1, 1])
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # its y is our -z, its z our y
OURS = np.eye(4)


def procedural(clips: int = 6, frames: int = 16) -> np.ndarray:
    """Return the cameras float32 [N, 25] of procedural clips."""
    return np.concatenate([random_motion(seed, frames).cameras for seed in range(clips)])


def orbit(yaw: float, frames: int, pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Return cameras [frames, 25] that face a point and turn from -yaw to yaw, nodding half as much."""
    phase = torch.linspace(-1, 1, frames)
    pose = look_at_pose(np.pi / 2 + yaw * phase, np.pi / 2 + yaw / 2 * torch.sin(5 * phase), pivot)
    return make_label(pose).numpy()


def fitted(clips: int = 8, frames: int = 48, amplitude: float = 1.0) -> np.ndarray:
    """Return cameras [N, 25] as a fit of faces finds them: clips of large turns about the origin, up to a radian."""
    random = np.random.default_rng(0)
    centres = torch.from_numpy(random.uniform(-0.7, 0.7, [clips, 1])).float()
    turns = torch.from_numpy(random.uniform(0.05, 0.3, [clips, 1])).float()
    phase = torch.linspace(0, 6, frames)
    yaw = amplitude * (centres + turns * torch.sin(phase + centres))
    pitch = amplitude * (0.1 * centres + 0.1 * torch.cos(phase))
    return make_label(look_at_pose(np.pi / 2 + yaw, np.pi / 2 + pitch, (0, 0, 0))).flatten(0, 1).numpy()


def halved() -> np.ndarray:
    """Return cameras [N, 25] that turn half as much as those of procedural clips."""
    random = np.random.default_rng(1)
    yaw, pitch = torch.from_numpy(random.uniform(-1, 1, [2, 60])).float()
    return frontal_label(0.225 * yaw, 0.1 * pitch).numpy()


def written(
    labels: np.ndarray,
    world: np.ndarray = OURS,
    axes: np.ndarray = OURS,
    inverted: bool = False,
    side: float = 1,
) -> np.ndarray:
    """Return labels [N, 25] as another convention writes them: other axes, world2cam, intrinsics in pixels."""
    pose = world @ labels[:, :16].reshape(-1, 4, 4).astype(np.float64) @ axes
    if inverted:
        pose = np.linalg.inv(pose)
    other = labels.copy()
    other[:, :16] = pose.reshape(-1, 16)
    other[:, 16:22] *= side
    return other
