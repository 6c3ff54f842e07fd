"""Pivotal tuning (Roich et al., 2021): the generator itself learns the frames, around latents that stay as they are.

What it does elsewhere is held by a locality term: appearances half-way between the pivot and random ones should look
as the untouched generator shows them.
"""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from applications.inversion import Work, draw_frames
from applications.latents import Latents
from applications.losses import Comparison, PixelDistance
from applications.options import InversionOptions
from training.cameras import condition_cameras
from training.networks.generator import Generator

HALF_WAY = 0.5  # from the pivot to a random appearance
TUNED_PARTS = ("backbone.synthesis.", "decoder.", "to_img_raw.", "superresolution.")  # all but the mapping network

Plain = dict[str, Any]


class Tuning:
    """A copy of the generator that learns the frames of a target.

    Args:
        latents: the pivot.
    """

    def __init__(self, G: Generator, latents: Latents, comparison: Comparison, options: InversionOptions, work: Work):
        self.original = G
        self.G = copy.deepcopy(G)
        self.options = options
        self.comparison = comparison
        self.work = work
        self.pivot = latents
        self.device = next(G.parameters()).device
        self.parameters = {
            name: parameter.requires_grad_(True)
            for name, parameter in self.G.named_parameters()
            if name.startswith(TUNED_PARTS)
        }
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=options.tune_lr)
        self.steps_done = 0

    @torch.enable_grad()
    def step(self) -> float:
        """Do a step; return the loss."""
        rng = np.random.default_rng([self.options.seed, self.steps_done, 2])
        rows = draw_frames(rng, len(self.pivot), self.options.frames_per_step).to(self.device)
        total = 0.0
        for part in rows.split(self.work.frames_per_pass):
            images = self._show(self.G, self.pivot.ws, part)
            loss = self.comparison(images, part).mean() * (len(part) / len(rows))
            loss.backward()
            total += loss.item()
        if self.options.locality:
            (self.options.locality * self._change_elsewhere(rng, rows[:1])).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        return total

    def _show(self, G: Generator, ws: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the frames [n, 3, R, R] of these numbers [n] with an appearance [num_ws, w_dim]."""
        pivot = self.pivot
        index = rows.cpu()
        frames = G.synthesis(
            ws.to(self.device).unsqueeze(0),
            pivot.cameras[index].to(self.device),
            pivot.z_motion[index].to(self.device),
            pivot.times[index].to(self.device).unsqueeze(1),
        )
        return frames["image"]

    def _change_elsewhere(self, rng: np.random.Generator, rows: torch.Tensor) -> torch.Tensor:
        """Return by how much another appearance has changed at a frame's camera and motion."""
        codes = rng.standard_normal((1, self.G.config.z_dim), dtype=np.float32)
        cameras, _ = condition_cameras(self.pivot.cameras[None], self.G.config.camera_mode, training=False)
        with torch.no_grad():
            z = torch.from_numpy(codes).to(self.device)
            random = self.original.mapping(z, cameras[0, :1].to(self.device))[0]
            ws = self.pivot.ws.to(self.device).lerp(random, HALF_WAY)
            wanted = self._show(self.original, ws, rows)
        distance = PixelDistance()
        seen = self._show(self.G, ws, rows)
        return distance.between(distance.describe(seen), distance.describe(wanted)).mean()

    def state(self) -> Plain:
        """Return everything that a later process needs to go on."""
        return {
            "steps": self.steps_done,
            "weights": {name: value.detach() for name, value in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
        }

    @torch.no_grad()
    def restore(self, state: Plain) -> None:
        """Go on from what `state` returned."""
        for name, parameter in self.parameters.items():
            parameter.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps"]

    def latents(self) -> Latents:
        """Return the pivot with the weights that have been tuned for it."""
        tuned = {name: value.detach().cpu().clone() for name, value in self.parameters.items()}
        return replace(self.pivot, tuned=tuned)
