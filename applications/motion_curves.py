"""How much a model moves over time, and how much of that the motion code decides.

A change is a frame minus the frame at t = 0 of the same clip, seen by one camera that stands still, in levels from 0 to
255. Of the changes d[m, t] of one appearance under M motion codes, the mean square over pixels is the energy. The part
that all codes share is estimated by the mean product of the changes of two different codes, which expects nothing
from codes whose changes are unrelated, however few they are; the rest is the motion code's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from applications import charts
from dnnlib.errors import UserError
from dnnlib.progress import Counter
from training.cameras import frontal_label
from training.networks.generator import Generator
from training.sampling.clips import clip_spec, clip_times, generate
from training.sampling.options import SamplingOptions

LEVELS = 127.5  # between the images' 0 and 1


@dataclass(frozen=True, kw_only=True)
class MotionCurves:
    """Changes from t = 0 of S appearances under M motion codes at T times, in levels of 255; float64 on the CPU."""

    seeds: tuple[int, ...]  # S, of the appearances
    motion_seeds: tuple[int, ...]  # M
    times: torch.Tensor  # [T], from 0
    change: torch.Tensor  # [S, M, T], mean absolute change
    energy: torch.Tensor  # [S, T], mean squared change
    common: torch.Tensor  # [S, T], the part of it that all motion codes share; NaN for M = 1

    def motion_share(self) -> float | None:
        """Return the share of the energy, over all appearances and times, that the motion code decides.

        0: every code moves a head alike; 1: changes of different codes are unrelated (beyond it: opposite). None where
        nothing moves, and for a single motion code.
        """
        energy = self.energy.sum().item()
        if energy == 0 or len(self.motion_seeds) == 1:
            return None
        return 1 - self.common.sum().item() / energy

    def summary(self) -> dict[str, Any]:
        """Return plain values: changes in levels of 255, averaged over all clips, and the motion code's share."""
        over_clips = self.change.mean(dim=(0, 1))
        last = self.change[..., -1]
        return {
            "appearances": len(self.seeds),
            "motions": len(self.motion_seeds),
            "times": self.times.tolist(),
            "mean_change": over_clips.tolist(),
            "mean_last_change": last.mean().item(),
            "std_last_change": last.std(correction=0).item(),
            "motion_share": self.motion_share(),
        }

    def chart(self) -> str:
        """Draw the changes over time as SVG, a colour for each appearance."""
        groups = {f"appearance {seed}": curves.tolist() for seed, curves in zip(self.seeds, self.change, strict=True)}
        return charts.line_chart(
            f"Change from t = 0, {len(self.motion_seeds)} motions each",
            self.times.tolist(),
            groups,
            x_label="time t of the clip",
            y_label="mean absolute change, levels of 255",
        )


def motion_curves(
    G: Generator,
    seeds: Sequence[int],
    motion_seeds: Sequence[int],
    frames: int,
    counter: Counter,
    options: SamplingOptions,
) -> MotionCurves:
    """Measure the motion of clips of all these seeds, seen by the frontal camera.

    Args:
        frames: times of a clip, T, evenly spaced from 0 to the greatest trained one.
        counter: counts frames.

    Raises:
        UserError: fewer than two times, or no seeds.
    """
    if frames < 2:
        raise UserError(f"Motion is a change between frames, of which {frames} were asked for: ask for at least 2.")
    if not seeds or not motion_seeds:
        raise UserError("Motion is measured on clips, and none were asked for: give seeds of appearances and motions.")
    rows = [_appearance(G, seed, motion_seeds, frames, counter, options) for seed in seeds]
    change, energy, common = (torch.stack(values) for values in zip(*rows, strict=True))
    return MotionCurves(
        seeds=tuple(seeds),
        motion_seeds=tuple(motion_seeds),
        times=clip_times(G, frames),
        change=change,
        energy=energy,
        common=common,
    )


def _appearance(
    G: Generator,
    seed: int,
    motion_seeds: Sequence[int],
    frames: int,
    counter: Counter,
    options: SamplingOptions,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return change [M, T], energy [T] and common [T] of one appearance."""
    side = G.config.img_resolution
    change = torch.zeros(len(motion_seeds), frames, dtype=torch.float64)
    squares = torch.zeros(frames, dtype=torch.float64)  # sum over motions of the mean square
    total = torch.zeros(frames, 3, side, side, dtype=torch.float64)  # sum over motions
    for index, motion_seed in enumerate(motion_seeds):
        moved = _changes(G, seed, motion_seed, frames, counter, options)
        change[index] = moved.abs().mean(dim=(1, 2, 3))
        squares += moved.square().mean(dim=(1, 2, 3))
        total += moved
    count = len(motion_seeds)
    # |sum of d|^2 is the sum of all products: of codes with themselves, and of the count (count - 1) ordered pairs.
    products = total.square().mean(dim=(1, 2, 3)) - squares
    pairs = count * (count - 1)
    common = products / pairs if pairs else torch.full_like(products, torch.nan)
    return change, squares / count, common


def _changes(
    G: Generator, seed: int, motion_seed: int, frames: int, counter: Counter, options: SamplingOptions
) -> torch.Tensor:
    """Return what a clip's frames differ by from its first: float64 [T, 3, R, R] in levels of 255."""
    clip = clip_spec(G, seed, motion_seed, frontal_label().expand(frames, -1))
    images = []
    for out in generate(G, clip, options):
        images.append(out["image"].cpu().double().clamp(-1, 1))
        counter.update(len(images[-1]))
    shown = torch.cat(images)
    return (shown - shown[0]) * LEVELS
