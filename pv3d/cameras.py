"""Cameras in degrees: labels of 25 numbers (docs/conventions.md) for whoever does not want to think in them."""

import math
from pathlib import Path

import torch

from pv3d.arguments import require_count
from training import cameras
from training.cameras import Numbers
from training.sampling import camera_paths
from training.sampling.options import Orbit


def frontal(yaw: Numbers = 0.0, pitch: Numbers = 0.0) -> torch.Tensor:
    """Return the camera [25] in front of the head, turned by true degrees; of angles [...], cameras [..., 25].

    Args:
        yaw: positive towards the +x side, on the right of the frontal picture.
        pitch: positive downwards.
    """
    return camera_paths.turned(_radians(yaw), _radians(pitch))


def orbit(frames: int, yaw: float = Orbit.yaw, pitch: float = Orbit.pitch) -> torch.Tensor:
    """Return a closed path [frames, 25] around the front: the one of `gen_videos.py --cameras=orbit`.

    Args:
        yaw, pitch: how far it goes either side, true degrees.

    Raises:
        ValueError: `frames` is no number from 1 on.
    """
    around = Orbit(yaw=yaw, pitch=pitch)
    return camera_paths.camera_path(torch.empty(0), 0, "orbit", require_count("frames", frames), around)


def resample(path: torch.Tensor, frames: int) -> torch.Tensor:
    """Return a path [F, 25] at so many even moments from its first to its last camera, as of `resample_labels`."""
    return cameras.resample_labels(path, require_count("frames", frames))


def read_cameras(path: str | Path) -> torch.Tensor:
    """Return the cameras [F, 25] of a JSON list of labels, as `gen_videos.py --cameras=FILE`. UserError as there."""
    return camera_paths.read_cameras(Path(path))


def _radians(degrees: Numbers) -> Numbers:
    return torch.deg2rad(degrees) if isinstance(degrees, torch.Tensor) else math.radians(degrees)
