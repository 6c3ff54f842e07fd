"""A camera, and what its pixels see, for tests."""

import torch

from training.cameras import frontal_label
from training.rendering.rays import camera_rays


def turned() -> torch.Tensor:
    """Return a camera [25] off every axis."""
    return frontal_label(0.3, 0.2)


def ray(label: torch.Tensor, u: int, v: int, side: int = 9) -> torch.Tensor:
    """Return the unit direction [3] in the world through pixel (u, v) of side x side."""
    return camera_rays(label[None], side)[1].reshape(side, side, 3)[v, u]
