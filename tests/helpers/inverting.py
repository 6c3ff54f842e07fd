"""What tests of inversions begin with: targets of the tiny generator, comparisons, searches."""

from typing import Any

import torch

from applications.inversion import Search, Work
from applications.losses import Comparison, PixelDistance, Term
from applications.options import InversionOptions
from applications.targets import Target
from tests.helpers import tiny
from training.networks.generator import Generator

WORK = Work(frames_per_pass=2)


def own_target(G: Generator, frames: int = 1, seed: int = 0) -> Target:
    """Return frames that the generator itself makes of a random appearance, at time 0 if there is but one."""
    cameras = tiny.labels(seed, 1).expand(frames, -1).contiguous() if frames == 1 else tiny.labels(seed, frames)
    with torch.no_grad():
        z = tiny.normal(seed + 1, 1, G.config.z_dim)
        ws = G.mapping(z, cameras[:1])
        z_motion = tiny.normal(seed + 2, 1, G.config.z_motion_dim).expand(frames, -1)
        t = torch.linspace(0, 1, frames)[:, None]
        images = G.synthesis(ws, cameras, z_motion, t)["image"].clamp(-1, 1)
    return Target(name="own", images=images, cameras=cameras, fps=25.0)


def comparison(target: Target) -> Comparison:
    """Return the comparison by pixels alone."""
    return Comparison([Term(weight=1.0, distance=PixelDistance())], target.images)


def search(G: Generator, target: Target, *, with_motion: bool = False, work: Work = WORK, **options: Any) -> Search:
    """Return a search; `options` replace those of a short one."""
    chosen = InversionOptions(**{"steps": 12, "starts": 3, "lr": 0.05, **options})
    return Search(G, target, comparison(target), chosen, with_motion=with_motion, work=work)


def finish(search: Search) -> list[float]:
    """Do all steps; return the losses."""
    losses = []
    while search.steps_done < search.options.steps:
        losses.append(search.step())
    return losses
