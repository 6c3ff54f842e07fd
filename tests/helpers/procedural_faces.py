"""Procedural clips as videos to preprocess, with the truth about their heads: where landmarks are, how heads stand."""

from dataclasses import dataclass

import numpy as np
import torch

from preprocessing.records import LANDMARKS
from training.cameras import split_label
from training.synthetic import Expression, Identity, random_identity, random_motion
from training.synthetic.anatomy import head_pose
from training.synthetic.landmarks import head_landmarks
from training.synthetic.render import clip_seeds


@dataclass(frozen=True, kw_only=True)
class TrueHead:
    """A head: landmarks [F, 68, 2] in parts of the side from the middle, rotations [F, 3, 3] to the camera."""

    landmarks: np.ndarray
    rotations: np.ndarray


def true_head(seed: int, frames: int, yaw_degrees: float) -> TrueHead:
    """Return where the landmarks of procedural clip `seed` are seen, and how its head stands."""
    identity_seed, motion_seed = clip_seeds(seed)
    motion = random_motion(motion_seed, frames, yaw_range=np.radians(yaw_degrees))
    return see(random_identity(identity_seed), motion.expressions, motion.cameras)


def see(identity: Identity, expressions: tuple[Expression, ...], cameras: np.ndarray) -> TrueHead:
    """Return the truth about a clip."""
    landmarks = np.empty([len(cameras), LANDMARKS, 2])
    rotations = np.empty([len(cameras), 3, 3])
    for frame, (expression, camera) in enumerate(zip(expressions, cameras, strict=True)):
        cam2world, intrinsics = (part.double().numpy() for part in split_label(torch.from_numpy(camera)))
        world2cam = np.linalg.inv(cam2world)
        seen = head_landmarks(identity, expression) @ world2cam[:3, :3].T + world2cam[:3, 3]
        landmarks[frame] = intrinsics[0, 0] * seen[:, :2] / seen[:, 2:]
        rotations[frame] = world2cam[:3, :3] @ head_pose(expression)[0]
    return TrueHead(landmarks=landmarks, rotations=rotations)
