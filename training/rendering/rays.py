"""Rays through the pixels of a camera."""

import torch
from torch.nn.functional import normalize

from training.cameras import split_label


def camera_rays(camera: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins and unit directions [N, resolution ** 2, 3] in world units of cameras [N, 25].

    Pixel centres lie at (i + 0.5) / resolution; rays run in row-major pixel order.
    """
    cam2world, intrinsics = split_label(camera)
    centres = (torch.arange(resolution, dtype=camera.dtype, device=camera.device) + 0.5) / resolution
    v, u = (a.reshape(1, -1) for a in torch.meshgrid(centres, centres, indexing="ij"))
    fx, skew, cx = (intrinsics[:, 0, i, None] for i in range(3))
    fy, cy = (intrinsics[:, 1, i, None] for i in (1, 2))
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = ((v - cy) / fy).expand_as(x)
    directions = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ cam2world[:, :3, :3].transpose(1, 2)
    origins = cam2world[:, None, :3, 3].expand_as(directions)
    return origins, normalize(directions, dim=-1)
