"""Ways between latents: a few of them, and as many frames between as are wanted."""

import torch


def between(keys: torch.Tensor, frames: int) -> torch.Tensor:
    """Return latents [frames, ...] that go straight from each of keys [K, ...] to the next, at an even pace."""
    if len(keys) == 1:
        return keys.expand(frames, *keys.shape[1:])
    moment = torch.linspace(0, len(keys) - 1, frames, device=keys.device)
    before = moment.floor().long().clamp(max=len(keys) - 2)
    share = (moment - before).to(keys.dtype)
    return torch.lerp(keys[before], keys[before + 1], share.view(-1, *[1] * (keys.ndim - 1)))
