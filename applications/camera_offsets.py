"""Small changes of cameras: turned about the head and moved along their axes, six numbers each."""

import torch

from training.cameras import LOOK_AT, make_label, rotations, split_label

NUMBERS = 6  # turn about the world's x, y and z axes through the face, radians; shift right, down, ahead, world units


def moved(cameras: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Return labels [N, 25] changed by offsets [N, 6], differentiably; zeros leave them as they are."""
    cam2world, intrinsics = split_label(cameras)
    turn, shift = offsets.split(3, dim=1)
    pivot = torch.tensor(LOOK_AT).to(cameras)
    turned = rotations(turn)
    axes, position = cam2world[:, :3].split([3, 1], dim=2)
    position = turned @ (position - pivot[:, None]) + pivot[:, None]
    axes = turned @ axes
    position = position + axes @ shift[..., None]
    top = torch.cat([axes, position], dim=2)
    return make_label(torch.cat([top, cam2world[:, 3:]], dim=1), intrinsics)


def beside(cameras: torch.Tensor, yaw: torch.Tensor | float) -> torch.Tensor:
    """Return labels [N, 25] turned about the head by a yaw in radians, [N] or a number; positive: to the +x side."""
    offsets = cameras.new_zeros(len(cameras), NUMBERS)
    offsets[:, 1] = torch.as_tensor(yaw)
    return moved(cameras, offsets)
