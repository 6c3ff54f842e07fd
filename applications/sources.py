"""Appearances and motions by what a user calls them: a seed, or a file of latents."""

from dataclasses import replace
from pathlib import Path

import torch

from applications.latents import MOTION_TIME, Latents, load_latents, same_weights
from dnnlib.errors import UserError
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling.camera_paths import camera_path
from training.sampling.clips import clip_times, latent_code, mapped_appearance
from training.sampling.latent_paths import between, require_motion_apart
from training.sampling.options import DEFAULT_FPS, PAPER_FRAMES, SamplingOptions

MAX_SEED = 2**63 - 1


def latents_of(name: str, G: Generator, model: str, cameras: torch.Tensor, psi: float = 1.0) -> Latents:
    """Return the latents of a seed, such as `3`, or of a file.

    Args:
        cameras: labels [T, 25] of a seed's clip; a file has its own.
        psi: truncation of a seed's appearance.

    Raises:
        UserError: it is neither, or the latents are those of another model.
    """
    if not name.isdecimal():
        if not Path(name).exists():
            raise UserError(f"{name} is neither a seed, a whole number from 0 on, nor a file of latents.")
        return load_latents(Path(name), G, model)
    seed = int(name)
    if seed > MAX_SEED:
        raise UserError(f"{name} is too large for a seed: give one up to {MAX_SEED}.")
    return seeded_latents(seed, G, model, cameras, psi)


@torch.no_grad()
def seeded_latents(seed: int, G: Generator, model: str, cameras: torch.Tensor, psi: float = 1.0) -> Latents:
    """Return the latents of the clip that `gen_videos.py --seeds=<seed>` makes, seen by cameras [T, 25].

    Raises:
        UserError: the model has no motion layers.
    """
    require_motion_apart(G)
    z = latent_code(seed, G.config.z_dim, Stream.APPEARANCE)
    motion = latent_code(seed, G.config.z_motion_dim, Stream.MOTION)
    driving = G.motion_code(z[None], motion[None])
    return Latents(
        ws=mapped_appearance(G, z, cameras, SamplingOptions(psi=psi)).cpu(),
        z_motion=driving.expand(len(cameras), -1).clone(),
        times=clip_times(G, len(cameras)),
        cameras=cameras,
        fps=DEFAULT_FPS,
        model=model,
        tuned={},
    )


def with_motion_seed(latents: Latents, seed: int, G: Generator, cameras: torch.Tensor) -> Latents:
    """Return an appearance with the motion of a seed, seen by cameras [T, 25]."""
    code = latent_code(seed, latents.z_motion.shape[1], Stream.MOTION)
    return latents.with_code(code, clip_times(G, len(cameras)), cameras)


def path_for(
    latents: Latents, bank: torch.Tensor, kind: str | torch.Tensor, frames: int = PAPER_FRAMES
) -> torch.Tensor:
    """Return cameras [frames, 25]: the clip's own ("own"; a picture's stays), or a path as of `camera_path`."""
    if isinstance(kind, str) and kind == "own":
        kind = latents.cameras
        if len(kind) == 1:
            return kind.expand(frames, -1)
    return camera_path(bank, 0, kind, frames)


def interpolated(a: Latents, b: Latents, cameras: torch.Tensor, what: str) -> Latents:
    """Return a clip that goes from one to the other, seen by cameras [T, 25].

    Args:
        a, b: an appearance that does not change, each.
        what: "appearance", "motion" or "both"; what does not change is that of `a`. Motions are those of the codes at
            the middles of both clips.

    Raises:
        UserError: an appearance changes over its frames, or each has weights of its own, between which there is no way.
    """
    for latents in (a, b):
        require_one_appearance(latents)
    if what != "motion" and not same_weights(a, b):
        raise UserError(
            "The generator was tuned for one of the two alone, or for each on its own, so that no weights show both: "
            "give latents that were found without --tune-steps."
        )
    ws = a.ws
    if what != "motion":
        ws = between(torch.stack([a.ws, b.ws]), len(cameras))
    # What drives is z_m t, which has a way from one to the other where z_m and t apart may have none.
    starts = _middle_drive(a)
    ends = _middle_drive(b) if what != "appearance" else starts
    return replace(
        a,
        ws=ws,
        z_motion=between(torch.stack([starts, ends]), len(cameras)),
        times=torch.full([len(cameras)], MOTION_TIME),
        cameras=cameras,
    )


def require_motion_of_times(G: Generator) -> None:
    """Raise a UserError unless what drives a motion is its code times the moment, as `interpolated` takes it."""
    if G.chain is not None:
        raise UserError(
            "This model moves its latents step by step, and has no way from a moment of one motion to that of another: "
            "gen_videos.py --interpolate goes from seed to seed."
        )


def _middle_drive(latents: Latents) -> torch.Tensor:
    """Return z_m t [D] at the middle of a clip (Eq. 1)."""
    middle = len(latents) // 2
    return latents.z_motion[middle] * latents.times[middle]


def require_one_appearance(latents: Latents) -> None:
    """Raise a UserError if the appearance of latents changes from frame to frame."""
    if latents.ws.ndim == 3:
        raise UserError(
            "The appearance changes from frame to frame, as in an interpolation, or as that of a seed where cameras "
            "move and the model maps each (--camera-mode=Non): give one appearance, or a seed with --cameras=frontal."
        )
