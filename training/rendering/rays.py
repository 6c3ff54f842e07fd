"""Rays through the pixels of a camera."""

import torch
from torch.nn.functional import normalize

from training.cameras import split_label


def camera_rays(camera: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origins and unit directions [N, resolution ** 2, 3] in world units of cameras [N, 25].

    Pixel centres lie at (i + 0.5) / resolution; rays run in row-major pixel order.
    """
    cam2world, intrinsics = split_label(camera)
    row_x, row_y, _ = intrinsics.unsqueeze(-1).unbind(dim=1)
    fx, skew, cx = row_x.unbind(dim=1)
    _, fy, cy = row_y.unbind(dim=1)
    pixels = torch.arange(resolution, dtype=camera.dtype, device=camera.device)
    centres = (pixels + 0.5) / resolution
    u = centres.repeat(resolution)
    v = centres.repeat_interleave(resolution)

    # In camera axes, at depth 1.
    x = u - cx + cy * skew / fy - skew * v / fy
    x = x / fx
    y = (v - cy) / fy
    y = y.expand_as(x)
    z = torch.ones_like(x)
    directions = torch.stack([x, y, z], dim=-1)

    # In the world.
    rotation = cam2world[:, :3, :3]
    position = cam2world[:, :3, 3]
    directions = directions @ rotation.mT
    origins = position.unsqueeze(1).expand_as(directions)
    return origins, normalize(directions, dim=-1)
