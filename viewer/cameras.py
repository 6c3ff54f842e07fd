"""Cameras of the page: angles and zoom to labels of 25 numbers, and back."""

import math
from dataclasses import dataclass

import torch

import pv3d
from training.cameras import FOCAL, FRONTAL_PITCH, split_label

FOCALS = (16, 20)  # entries of a label: both focal lengths


@dataclass(frozen=True, kw_only=True)
class Angles:
    """Where the page's camera stands.

    Args:
        yaw, pitch: true degrees, as of `pv3d.frontal`.
        zoom: focal length in that of the data; 2 shows half as much. The camera stays where the rays' ends are.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0

    def label(self) -> torch.Tensor:
        """Return the camera [25]."""
        label = pv3d.frontal(self.yaw, self.pitch)
        label[list(FOCALS)] *= self.zoom
        return label


def angles_of(label: torch.Tensor) -> Angles:
    """Return from which angles a camera [25] sees the origin: from there a drag goes on."""
    pose, intrinsics = split_label(label.double())
    x, y, z = pose[:3, 3].tolist()
    distance = math.hypot(x, y, z)
    frontal = math.asin(1 - 2 * FRONTAL_PITCH / math.pi)
    elevation = math.asin(y / distance) if distance else 0.0
    return Angles(
        yaw=math.degrees(math.atan2(x, z)),
        pitch=math.degrees(frontal - elevation),
        zoom=intrinsics[0, 0].item() / FOCAL,
    )
