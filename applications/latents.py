"""Latents: an appearance and a motion in a file, which every command that makes pictures takes and gives."""

import copy
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.video import is_frame_rate
from torch_utils import checkpoint
from torch_utils.pickles.reader import is_finite
from training.camera_checks.views import has_rays
from training.cameras import CAMERA_DIM
from training.networks.generator import Generator
from training.sampling.clips import ClipSpec

LONGEST = 1000  # greatest time where motion moves latents, on and on: 15,000 frames
KIND = "latents"
MOTION_TIME = 1.0  # at which codes of single frames drive the motion: Eq. 1 sees z_m t alone, so any but 0 would do

Plain = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Latents:
    """What a generator renders a clip of T frames from.

    Args:
        ws: the appearance, [num_ws, w_dim]; where it changes, one a frame, [T, num_ws, w_dim].
        z_motion: the codes that drive the motion, one a frame, [T, D].
        times: the times that belong to them, [T] in [0, 1]; at 0 no code moves anything.
        cameras: labels [T, 25] of the clip.
        fps: frames a second of the clip.
        model: the digest of the generator (`digest_of`).
        tuned: weights of the generator that were changed for this clip (pivotal tuning), by name; mostly none.
    """

    ws: torch.Tensor
    z_motion: torch.Tensor
    times: torch.Tensor
    cameras: torch.Tensor
    fps: float
    model: str
    tuned: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.times)

    def spec(self) -> ClipSpec:
        """Return the clip to sample."""
        return ClipSpec(ws=self.ws, z_motion=self.z_motion, times=self.times, cameras=self.cameras)

    def first(self, frames: int) -> "Latents":
        """Return the first frames of the clip."""
        rows = slice(frames)
        return replace(
            self,
            ws=self.ws[rows] if self.ws.ndim == 3 else self.ws,
            z_motion=self.z_motion[rows],
            times=self.times[rows],
            cameras=self.cameras[rows],
        )

    def with_motion_of(self, other: "Latents") -> "Latents":
        """Return this appearance with the motion, the cameras and the speed of another clip."""
        return replace(
            self,
            z_motion=other.z_motion,
            times=other.times,
            cameras=other.cameras,
            fps=other.fps,
        )

    def with_code(self, z_motion: torch.Tensor, times: torch.Tensor, cameras: torch.Tensor) -> "Latents":
        """Return this appearance with the motion of one code [D] over times [T], seen by cameras [T, 25]."""
        return replace(self, z_motion=z_motion.expand(len(times), -1), times=times, cameras=cameras)


def digest_of(G: Generator) -> str:
    """Return 64 hexadecimal digits of a generator's weights: the same in any file and on any device."""
    digest = hashlib.sha256()
    for name, value in sorted(G.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of_latents(latents: Latents) -> str:
    """Return hexadecimal digits that change with everything that frames follow from."""
    digest = hashlib.sha256()
    for tensor in (latents.ws, latents.z_motion, latents.times, latents.cameras, *latents.tuned.values()):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def tuned_generator(G: Generator, latents: Latents) -> Generator:
    """Return the generator that renders latents: G itself, or a copy with the weights that were tuned for them."""
    if not latents.tuned:
        return G
    tuned = copy.deepcopy(G)
    tuned.load_state_dict(latents.tuned, strict=False)
    return tuned


# --- Files ------------------------------------------------------------------------------------------------------------


def save_latents(path: Path, latents: Latents) -> None:
    """Write latents atomically."""
    checkpoint.save(path, dict(vars(latents)), KIND)


def load_latents(path: Path, G: Generator, model: str) -> Latents:
    """Read latents for a generator whose digest is `model`. Nothing in the file is run.

    Raises:
        UserError: there is no such file, it is damaged, or its latents are those of another model.
    """
    payload = checkpoint.load(path, KIND)
    flaw = _flaw(payload, 1 if G.chain is None else LONGEST)
    if flaw:
        raise UserError(f"The latents {path} are damaged: {flaw}; make them again.")
    latents = Latents(**payload)
    misfit = _misfit(latents, G)
    if misfit is None and latents.model != model:
        misfit = "they were found with other weights"
    if misfit:
        raise UserError(f"The latents {path} belong to another model: {misfit}; give the --network that they are of.")
    return latents


def _flaw(payload: Plain, latest: int) -> str | None:
    """Return what is wrong with the content of a file, of a model whose times go up to `latest`."""
    names = set(Latents.__dataclass_fields__)
    if payload.keys() != names:
        return f"they lack {', '.join(sorted(names - payload.keys())) or 'nothing, and hold more'}"
    tensors = [payload[name] for name in ("ws", "z_motion", "times", "cameras")]
    if not all(isinstance(value, torch.Tensor) and value.dtype == torch.float32 for value in tensors):
        return "a part is no tensor of float32"
    ws, z_motion, times, cameras = tensors
    frames = len(times) if times.ndim == 1 else 0
    one_a_frame = ws.ndim == 2 or (ws.ndim == 3 and len(ws) == frames)
    shapes = z_motion.ndim == 2 and len(z_motion) == frames and cameras.shape == (frames, CAMERA_DIM)
    if frames == 0 or not (one_a_frame and shapes):
        return "parts have shapes that do not belong together"
    if not all(map(is_finite, tensors)) or times.min() < 0 or times.max() > latest:
        return f"they hold numbers that are not finite, or times outside of 0 to {latest}"
    if not has_rays(cameras.numpy()).all():
        return "a camera sees nothing"
    if not is_frame_rate(payload["fps"]) or not isinstance(payload["model"], str):
        return "their rate or the model's digest is none"
    tuned = payload["tuned"]
    weights = tuned.values() if isinstance(tuned, dict) else [None]
    if not all(isinstance(value, torch.Tensor) and value.dtype == torch.float32 for value in weights):
        return "the tuned weights are no table of tensors of float32"
    return None


def _misfit(latents: Latents, G: Generator) -> str | None:
    """Return how the latents' shapes differ from those of a model."""
    wanted = (G.num_ws, G.config.w_dim)
    if latents.ws.shape[-2:] != wanted:
        return f"ws is {list(latents.ws.shape[-2:])}, the model's {list(wanted)}"
    if latents.z_motion.shape[1] != driving_dim(G):
        return f"motion codes have {latents.z_motion.shape[1]} numbers, the model's {driving_dim(G)}"
    own = G.state_dict()
    for name, value in latents.tuned.items():
        if name not in own or own[name].shape != value.shape or not is_finite(value):
            return f"the tuned {name} is not one of its weights"
    return None


def same_weights(a: Latents, b: Latents) -> bool:
    """Return whether both are rendered by a generator of the same weights."""
    return a.tuned.keys() == b.tuned.keys() and all(torch.equal(a.tuned[name], b.tuned[name]) for name in a.tuned)


def driving_dim(G: Generator) -> int:
    """Return how many numbers the code has that drives the motion: z_motion, or z in an ablation (T. 2)."""
    return G.config.z_dim if G.config.motion_code == "z_a" else G.config.z_motion_dim
