"""Rays through the pixels of a camera."""

import torch
from torch.nn.functional import normalize

from training.cameras import split_label


def camera_rays(camera: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return origins and unit directions [N, resolution ** 2, 3] in world units of cameras [N, 25].

    Pixel centres lie at (i + 0.5) / resolution; rays run in row-major pixel order.
    """
    cam2world, intrinsics = split_label(camera)
    pixels = torch.arange(resolution, dtype=camera.dtype, device=camera.device)
    centres = (pixels + 0.5) / resolution
    u = centres.repeat(resolution)
    v = centres.repeat_interleave(resolution)
    fx, skew, cx = intrinsics[:, 0, :, None].unbind(dim=1)
    _, fy, cy = intrinsics[:, 1, :, None].unbind(dim=1)

    # In camera axes, at depth 1.
    x = u - cx + cy * skew / fy - skew * v / fy
    x = x / fx
    y = (v - cy) / fy
    y = y.expand_as(x)
    directions = torch.stack([x, y, torch.ones_like(x)], dim=-1)

    rotation = cam2world[:, :3, :3]
    directions = directions @ rotation.transpose(1, 2)
    origins = cam2world[:, None, :3, 3].expand_as(directions)
    return origins, normalize(directions, dim=-1)
