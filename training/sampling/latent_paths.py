"""Ways between latents: a few of them, and as many frames between as are wanted."""

from collections.abc import Sequence

import torch

from dnnlib.errors import UserError
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling.clips import ClipSpec, clip_times, latent_code, mapped_appearance


def between(keys: torch.Tensor, frames: int) -> torch.Tensor:
    """Return latents [frames, ...] that go straight from each of keys [K, ...] to the next, at an even pace."""
    if len(keys) == 1:
        return keys.expand(frames, *keys.shape[1:])
    moment = torch.linspace(0, len(keys) - 1, frames, device=keys.device)
    before = moment.floor().long().clamp(max=len(keys) - 2)
    share = (moment - before).to(keys.dtype)
    return torch.lerp(keys[before], keys[before + 1], share.view(-1, *[1] * (keys.ndim - 1)))


def around(keys: torch.Tensor, frames: int) -> torch.Tensor:
    """Return latents [frames, ...] that go on from the last of keys [K, ...] to the first: one more frame is the first.

    So a video of them repeats without a jump, nor a frame that is shown twice.
    """
    return between(torch.cat([keys, keys[:1]]), frames + 1)[:-1]


def require_motion_apart(G: Generator) -> None:
    """Raise a UserError unless appearance and motion of a generator are latents apart."""
    if G.config.maps_motion:
        raise UserError(
            "This model moves by its mapping network (--motion-generator=naive), so that an appearance has no latent "
            "of its own: give a model with motion layers."
        )


@torch.no_grad()
def interpolated_spec(
    G: Generator, seeds: Sequence[int], motion_seed: int, cameras: torch.Tensor, mapped_with: torch.Tensor | None = None
) -> ClipSpec:
    """Return a clip that goes `around` the appearances of seeds, seen by cameras [T, 25].

    The motion of a seed plays meanwhile, as in a clip of one appearance. Codes are mapped with the first camera, or
    with `mapped_with` [25].

    Raises:
        UserError: the model has no motion layers, or it maps the camera of each frame, and these move.
    """
    require_motion_apart(G)
    motion = latent_code(motion_seed, G.config.z_motion_dim, Stream.MOTION)
    appearances = []
    drives = []
    for seed in seeds:
        z = latent_code(seed, G.config.z_dim, Stream.APPEARANCE)
        ws = mapped_appearance(G, z, cameras if mapped_with is None else mapped_with[None])
        if ws.ndim == 3:
            raise UserError(
                "This model maps the camera of each frame (--camera-mode=Non), so that a seed has no one appearance to "
                "go through: give --mapping-camera=frontal."
            )
        appearances.append(ws)
        drives.append(G.motion_code(z[None], motion[None])[0])
    return ClipSpec(
        ws=around(torch.stack(appearances), len(cameras)),
        z_motion=around(torch.stack(drives), len(cameras)),
        cameras=cameras,
        times=clip_times(G, len(cameras)),
    )
