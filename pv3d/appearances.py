"""Appearances, as codes or as latents, and the clips that are made of them."""

from dataclasses import dataclass
from typing import Any

import torch

from applications.latents import driving_dim
from dnnlib.errors import UserError
from pv3d.arguments import as_cameras, as_floats, as_one, as_rows, rows_of
from torch_utils import runtime
from training.cameras import CAMERA_DIM
from training.networks.generator import Generator
from training.sampling.clips import ClipSpec, mapped_appearance
from training.sampling.latent_paths import require_motion_apart


@dataclass(frozen=True, kw_only=True, eq=False)
class W:
    """An appearance as intermediate latents `ws` [num_ws, w_dim], one row for each layer: what mapping makes of a code.

    They take a code's place wherever an appearance is asked for.
    """

    ws: torch.Tensor


def motion_dim(G: Generator, z: Any) -> int:
    """Return how many numbers the motion of an appearance has: beside latents it is what drives the motion."""
    return driving_dim(G) if isinstance(z, W) else G.z_motion_dim


def latents_of(G: Generator, name: str, value: Any, cameras: Any) -> W:
    """Return an appearance as latents on G's device; a code is mapped with a camera [25], or with a clip's [T, 25].

    Args:
        name: of the argument, for messages.

    Raises:
        ValueError: it has the shape of neither. UserError: appearances of this model have no latents of their own.
    """
    require_motion_apart(G)
    if isinstance(value, W):
        wanted = (G.num_ws, G.w_dim)
        if value.ws.shape != wanted:
            raise ValueError(f"{name} has ws of shape {list(value.ws.shape)}, but this model's are {list(wanted)}.")
        return W(ws=as_floats(name, value.ws).to(next(G.parameters()).device))
    code = as_one(name, value, G.z_dim, "an appearance code of this model")
    labels = as_cameras("camera", cameras)
    with runtime.full_float32():
        ws = mapped_appearance(G, code, labels.reshape(-1, CAMERA_DIM))
    if ws.ndim == 3:
        raise UserError(
            "This model maps the camera of each frame (--camera-mode=Non), so that a code has no one appearance: "
            "give latents of m.w, or cameras that do not move."
        )
    return W(ws=ws)


def clip_spec(G: Generator, z: Any, z_motion: Any, cameras: torch.Tensor, times: torch.Tensor) -> ClipSpec:
    """Return the clip of an appearance and a motion, seen by cameras [T, 25] at times [T].

    Beside latents the motion may be a code for each frame. Raises as `latents_of`.
    """
    what = "a motion code of this model"
    if isinstance(z, W):
        motions = as_rows("z_motion", z_motion, motion_dim(G, z), what)
        rows_of({"cameras": len(cameras), "z_motion": len(motions) if motions.ndim == 2 else None})
        return ClipSpec(ws=latents_of(G, "z", z, None).ws, z_motion=motions, cameras=cameras, times=times)
    motion = as_one("z_motion", z_motion, motion_dim(G, z), what)
    code = as_one("z", z, G.z_dim, "an appearance code of this model")
    return ClipSpec(z=code, z_motion=motion, cameras=cameras, times=times)
