"""New clips of latents: with other motions, and from pairs of appearances."""

from collections.abc import Sequence

import torch

from applications.jobs import Session, video
from applications.latents import Latents
from applications.sources import latents_of, path_for, require_one_appearance, with_motion_seed
from dnnlib.errors import UserError
from training.sampling.camera_paths import camera_path
from training.sampling.records import Product


def moving(
    session: Session,
    latents: Latents,
    name: str,
    motion_seeds: Sequence[int],
    kind: str | torch.Tensor,
    frames: int,
    columns: tuple[str, ...],
) -> list[Product]:
    """Return a video of an appearance for each motion seed."""
    path = path_for(latents, session.bank, kind, frames)
    products = []
    for seed in motion_seeds:
        moved = with_motion_seed(latents, seed, session.G, path)
        products.append(video(session, f"{name}{seed:04d}", moved, columns=columns, save=True))
    return products


def lasting(latents: Latents, frames: int | None, name: str) -> Latents:
    """Return latents with so many frames, which those of a picture can have; None: their own.

    Raises:
        UserError: they are of a clip with another number; it says so of `name`.
    """
    if frames is None or frames == len(latents):
        return latents
    if len(latents) > 1:
        raise UserError(
            f"--frames={frames} is not possible with the motion of {name}, which has {len(latents)} frames: leave it "
            "out."
        )
    return latents.with_code(latents.z_motion[0], latents.times.expand(frames), latents.cameras.expand(frames, -1))


def pair(session: Session, first: str, second: str, kind: str | torch.Tensor, frames: int) -> tuple[Latents, Latents]:
    """Return two appearances, each that of a seed or of a file; clips of seeds have so many frames."""
    path = camera_path(session.bank, 0, "frontal" if isinstance(kind, str) and kind == "own" else kind, frames)
    a, b = (latents_of(name, session.G, session.model, path) for name in (first, second))
    require_one_appearance(a)
    require_one_appearance(b)
    return a, b
