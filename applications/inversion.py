"""Inversion: from a picture or a clip to the latents that a generator renders it from (PV3D section 4.4).

An appearance is searched for in W or W+ by Adam. For a picture time stands at 0, where no code moves anything; for a
clip every frame has a motion code of its own (Z_m+), at time 1. K restarts are searched from in one batch; the best of
them goes on alone after a while.

Shapes: K restarts, T frames of the target, n of them in a step.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from applications.camera_offsets import NUMBERS, beside, moved
from applications.latents import MOTION_TIME, Latents, driving_dim
from applications.losses import Comparison, PixelDistance
from applications.options import InversionOptions
from applications.targets import Target
from dnnlib.errors import UserError
from training.cameras import condition_cameras, mirror_label
from training.networks.generator import Generator
from training.sampling.latent_paths import require_motion_apart

RAMP_UP = 0.05  # share of the steps in which learning rates rise
RAMP_DOWN = 0.3  # share of the steps in which they fall
BETAS = (0.9, 0.99)  # of Adam; squares are forgotten sooner than usual, as searches are short
ALONE_AFTER = 0.25  # share of the steps after which the best restart goes on alone
START_PSI = 0.7  # truncation of random starts
MEAN_SAMPLES = 512  # that the spread of latents is measured on
SYMMETRY_YAW = 0.5  # greatest turn of the views that should be mirror images, radians

Plain = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """How a pass is computed: its frames at most, and whether activations are computed again in place of kept."""

    frames_per_pass: int
    recompute: bool = False


# --- What is known of the model's latents -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LatentSpace:
    """The distribution of a generator's latents w: mean and standard deviation, [w_dim]."""

    mean: torch.Tensor
    spread: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, G: Generator, camera: torch.Tensor, seed: int) -> "LatentSpace":
        """Measure it at a camera [25] that the mapping network sees."""
        ws = _mapped(G, camera, MEAN_SAMPLES, seed, psi=1.0)[:, 0]
        return cls(mean=G.backbone.mapping.w_avg.clone(), spread=ws.std(dim=0))

    def strangeness(self, ws: torch.Tensor) -> torch.Tensor:
        """Return mean squared deviations [K] of latents [K, rows, w_dim], in spreads: 1 for ordinary ones."""
        return ((ws - self.mean) / self.spread).square().mean(dim=(1, 2))

    def disunity(self, ws: torch.Tensor) -> torch.Tensor:
        """Return mean squared deviations [K] of rows of latents [K, rows, w_dim] from their mean, in spreads."""
        return ((ws - ws.mean(dim=1, keepdim=True)) / self.spread).square().mean(dim=(1, 2))


def _mapped(G: Generator, camera: torch.Tensor, count: int, seed: int, psi: float) -> torch.Tensor:
    """Return latents [count, num_ws, w_dim] of random codes."""
    device = next(G.parameters()).device
    codes = np.random.default_rng(seed).standard_normal((count, G.config.z_dim), dtype=np.float32)
    z = torch.from_numpy(codes).to(device)
    return G.mapping(z, camera.to(device).expand(count, -1), truncation_psi=psi)


def require_invertible(G: Generator, target: Target) -> None:
    """Raise a UserError unless latents of this generator can be found for these frames."""
    require_motion_apart(G)
    resolution = G.config.img_resolution
    if target.images.shape[-1] != resolution:
        raise UserError(
            f"{target.name} has frames of {target.images.shape[-1]} pixels, the model of {resolution}: give frames of "
            "that size."
        )


# --- The search -------------------------------------------------------------------------------------------------------


class Search:
    """The latents that are searched for, and a step of the search.

    Args:
        comparison: what frames are compared by.
        with_motion: whether each frame has a motion code of its own; else time stands at 0.
    """

    def __init__(
        self,
        G: Generator,
        target: Target,
        comparison: Comparison,
        options: InversionOptions,
        *,
        with_motion: bool,
        work: Work,
    ):
        require_invertible(G, target)
        self.G = G
        self.target = target
        self.comparison = comparison
        self.options = options
        self.with_motion = with_motion
        self.work = work
        self.device = next(G.parameters()).device
        # Those that frames are rendered from: an ablation sees a whole clip by its first one.
        _, for_rendering = condition_cameras(target.cameras[None], G.config.camera_mode, training=False)
        self.cameras = for_rendering[0].to(self.device)
        self.space = LatentSpace.of(G, target.cameras[0], options.seed)
        self.steps_done = 0
        self._begin(self._starts())

    def _begin(self, ws: torch.Tensor) -> None:
        """Begin with these appearances [K, rows, w_dim]."""
        frames = len(self.target)
        motion = [ws.new_zeros(len(ws), driving_dim(self.G)) for _ in range(frames)] if self.with_motion else []
        offsets = [ws.new_zeros(len(ws), NUMBERS) for _ in range(frames)] if self.options.fit_cameras else []
        self._take(ws, motion, offsets)

    def _take(self, ws: torch.Tensor, motion: list[torch.Tensor], offsets: list[torch.Tensor]) -> None:
        """Search for these: appearances [K, rows, w_dim]; of each frame codes [K, D] and camera offsets [K, 6].

        Those of frames are parameters of their own: Adam leaves the ones that a step does not see as they are.
        """
        options = self.options
        self.ws = ws.clone().requires_grad_(True)
        self.motion = [code.clone().requires_grad_(True) for code in motion]
        self.offsets = [offset.clone().requires_grad_(True) for offset in offsets]
        groups = [
            {"params": [self.ws], "base": options.lr},
            {"params": self.motion, "base": options.motion_lr},
            {"params": self.offsets, "base": options.camera_lr},
        ]
        self.optimizer = torch.optim.Adam([group for group in groups if group["params"]], lr=0.0, betas=BETAS)

    @torch.no_grad()
    def _starts(self) -> torch.Tensor:
        """Return the best starting points [K, rows, w_dim], of the mean latent and random ones."""
        mean = self.space.mean.expand(1, self.G.num_ws, -1)
        random = _mapped(self.G, self.target.cameras[0], self.options.starts, self.options.seed + 1, START_PSI)
        candidates = torch.cat([mean, random])
        middle = torch.tensor([len(self.target) // 2], device=self.device)
        errors = []
        for ws in candidates.split(self.work.frames_per_pass):
            t, z_motion = self._time_and_motion(None, ws)
            images = self.G.synthesis(ws, self.cameras[middle].expand(len(ws), -1), z_motion, t)["image"]
            errors.append(self.comparison(images, middle.expand(len(ws))))
        best = torch.cat(errors).argsort()[: self.options.restarts]
        return candidates[best][:, : self._rows]

    @property
    def _rows(self) -> int:
        """How many latents an appearance has."""
        return 1 if self.options.space == "w" else self.G.num_ws

    # --- A step ---

    def step(self) -> float:
        """Do a step; return the loss of the best restart."""
        options = self.options
        if len(self.ws) > 1 and self.steps_done >= ALONE_AFTER * options.steps:
            self._go_on_alone()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * learning_rate_ramp(self.steps_done / options.steps)
        rows = self._frames_of_step()
        losses = torch.zeros(len(self.ws), device=self.device)
        for part in rows.split(max(1, self.work.frames_per_pass // len(self.ws))):
            with torch.enable_grad():
                share = self._loss(part) * (len(part) / len(rows))
            share.sum().backward()
            losses += share.detach()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        self.losses = losses
        return losses.min().item()

    def _frames_of_step(self) -> torch.Tensor:
        """Return the numbers [n] of the frames that this step sees."""
        rng = np.random.default_rng([self.options.seed, self.steps_done])
        return draw_frames(rng, len(self.target), self.options.frames_per_step).to(self.device)

    def _loss(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the losses [K] of all restarts on frames of these numbers [n]."""
        options = self.options
        restarts = len(self.ws)
        motion = self._of_frames(self.motion, rows)
        offsets = self._of_frames(self.offsets, rows)
        cameras = self.cameras[rows].repeat(restarts, 1)
        if offsets is not None:
            cameras = moved(cameras, offsets.flatten(0, 1))
        ws = self.ws.expand(-1, self.G.num_ws, -1)
        if restarts > 1:
            ws = ws.repeat_interleave(len(rows), dim=0)
        t, z_motion = self._time_and_motion(None if motion is None else motion.flatten(0, 1), cameras)
        ws = self.G.moved(ws, z_motion, t)
        planes = self._planes(ws, z_motion, t)
        shift = self.G.shift(z_motion, t)
        images = self._seen(planes, ws, cameras, shift)["image"]
        loss = self.comparison(images, rows.repeat(restarts)).unflatten(0, (restarts, -1)).mean(dim=1)
        if options.symmetry:
            loss = loss + options.symmetry * self._asymmetry(planes, ws, cameras, shift).unflatten(
                0, (restarts, -1)
            ).mean(1)
        loss = loss + options.mean_pull * self.space.strangeness(self.ws)
        loss = loss + options.unity_pull * self.space.disunity(self.ws)
        if motion is not None:
            loss = loss + options.motion_pull * motion.square().mean(dim=(1, 2))
            loss = loss + options.motion_smooth * self._roughness(motion, rows)
        if offsets is not None:
            loss = loss + options.camera_pull * offsets.square().mean(dim=(1, 2))
        return loss

    def _of_frames(self, parameters: list[torch.Tensor], rows: torch.Tensor) -> torch.Tensor | None:
        """Return those of frames of these numbers, [K, n, ...]; None if there are none."""
        if not parameters:
            return None
        return torch.stack([parameters[row] for row in rows.tolist()], dim=1)

    def _roughness(self, motion: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean squared step [K] from the codes [K, n, D] of frames to those of the frames before."""
        before = [self.motion[max(row - 1, 0)].detach() for row in rows.tolist()]
        return (motion - torch.stack(before, dim=1)).square().mean(dim=(1, 2))

    def _asymmetry(
        self, planes: torch.Tensor, ws: torch.Tensor, cameras: torch.Tensor, shift: torch.Tensor | None
    ) -> torch.Tensor:
        """Return how far views from a random side and its mirror image are from mirror images of each other, [N]."""
        rng = np.random.default_rng([self.options.seed, self.steps_done, 1])
        view = beside(cameras, float(rng.uniform(-SYMMETRY_YAW, SYMMETRY_YAW)))
        distance = PixelDistance()
        side = self.G.config.rendering.resolution // 2
        left, right = (
            self.G.render_planes(planes, ws, camera, neural_rendering_resolution=side, shift=shift)["image_raw"]
            for camera in (view, mirror_label(view))
        )
        return distance.between(distance.describe(left), distance.describe(right.flip(3)))

    # --- Rendering ---

    def _time_and_motion(self, motion: torch.Tensor | None, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return times [N, 1] and the codes [N, D] that drive the motion; none stand still. N is that of `like`."""
        count = len(like)
        if motion is None:
            return like.new_zeros(count, 1), like.new_zeros(count, driving_dim(self.G))
        return like.new_full((count, 1), MOTION_TIME), motion

    def _planes(self, ws: torch.Tensor, z_motion: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if not self.work.recompute:
            return self.G.planes(ws, z_motion, t)
        return checkpoint(self.G.planes, ws, z_motion, t, use_reentrant=False)

    def _seen(
        self, planes: torch.Tensor, ws: torch.Tensor, cameras: torch.Tensor, shift: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        if not self.work.recompute:
            return self.G.render_planes(planes, ws, cameras, shift=shift)
        return checkpoint(self.G.render_planes, planes, ws, cameras, shift=shift, use_reentrant=False)

    # --- Restarts, states, results ---

    def _go_on_alone(self) -> None:
        """Go on with the restart of the least loss; Adam keeps what it knows of it."""
        best = int(self.losses.argmin())
        before = self.optimizer.state_dict()["state"]
        self._take(
            self.ws.detach()[best : best + 1],
            [code.detach()[best : best + 1] for code in self.motion],
            [offset.detach()[best : best + 1] for offset in self.offsets],
        )
        alone = self.optimizer.state_dict()
        for number, values in before.items():
            alone["state"][number] = {
                name: value if name == "step" else value[best : best + 1] for name, value in values.items()
            }
        self.optimizer.load_state_dict(alone)

    def state(self) -> Plain:
        """Return everything that a later process needs to go on."""
        return {
            "steps": self.steps_done,
            "ws": self.ws.detach(),
            "motion": [code.detach() for code in self.motion],
            "offsets": [offset.detach() for offset in self.offsets],
            "losses": self.losses if self.steps_done else torch.zeros(len(self.ws)),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: Plain) -> None:
        """Go on from what `state` returned."""
        self._take(
            state["ws"].to(self.device),
            [code.to(self.device) for code in state["motion"]],
            [offset.to(self.device) for offset in state["offsets"]],
        )
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses = state["losses"].to(self.device)
        self.steps_done = state["steps"]

    @torch.no_grad()
    def latents(self, model: str) -> Latents:
        """Return the latents of the best restart so far, for a generator of this digest."""
        best = int(self.losses.argmin()) if self.steps_done else 0
        frames = len(self.target)
        ws = self.ws[best].expand(self.G.num_ws, -1)
        z_motion = ws.new_zeros(frames, driving_dim(self.G))
        if self.motion:
            z_motion = torch.stack([code[best] for code in self.motion])
        cameras = self.cameras
        if self.offsets:
            cameras = moved(cameras, torch.stack([offset[best] for offset in self.offsets]))
        return Latents(
            ws=ws.detach().cpu().clone(),
            z_motion=z_motion.cpu(),
            times=torch.full([frames], MOTION_TIME if self.motion else 0.0),
            cameras=cameras.cpu(),
            fps=self.target.fps,
            model=model,
            tuned={},
        )


def draw_frames(rng: np.random.Generator, frames: int, most: int) -> torch.Tensor:
    """Draw the numbers of at most so many of the frames, in order."""
    chosen = rng.permutation(frames)[:most]
    return torch.from_numpy(np.sort(chosen))


def learning_rate_ramp(progress: float) -> float:
    """Return the factor of learning rates after a share of the steps: up linearly, on, then down by half a cosine."""
    down = min(1.0, (1 - progress) / RAMP_DOWN)
    up = min(1.0, progress / RAMP_UP + 1e-3)
    return up * (0.5 - 0.5 * math.cos(math.pi * down))
