"""Which camera the mapping network sees and which one renders: the camera modes of PV3D T. 3."""

import torch

from torch_utils.random_numbers import Random, uniform


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
