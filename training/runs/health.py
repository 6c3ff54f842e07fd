"""What goes wrong in GAN training, noticed in its statistics: one warning for each trouble, when it begins."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from training.cameras import frontal_label
from training.networks.generator import Generator
from training.sampling.clips import clip_spec, frame_times, generate

COLLAPSED = 0.05  # of the greatest so far: what is left of diversity or motion in a collapse
LEAST_LEVELS = 0.5  # grey levels that diversity or motion must have had before their loss means anything
EXPLODED = 100.0  # losses and mean logits beyond this do not come back
WAITING = 0.2  # part of the time spent waiting for data

Stats = dict[str, float]  # means by name


@torch.inference_mode()
def probe(G: Generator) -> Stats:
    """Measure how much two appearances, and the first and last moment of one clip, differ under the frontal camera.

    Both are mean absolute differences in grey levels (of 255).
    """
    cameras = frontal_label().expand(2, -1)
    clips = []
    for seed in (0, 1):
        clip = replace(clip_spec(G, seed, seed, cameras), times=frame_times(2, G.max_time))
        frames = torch.cat([out["image"] for out in generate(G, clip)])
        clips.append(frames.clamp(-1, 1))
    first, second = clips
    levels = 255 / 2
    return {
        "health/diversity": float((first[0] - second[0]).abs().mean()) * levels,
        "health/motion": float((first[0] - first[1]).abs().mean()) * levels,
    }


@dataclass(kw_only=True)
class Health:
    """The troubles of a run. A training state keeps both fields."""

    best: dict[str, float] = field(default_factory=dict)  # greatest diversity and motion so far
    troubles: dict[str, float] = field(default_factory=dict)  # those that last -> kimg at which they began

    def update(self, stats: Stats, kimg: float) -> list[str]:
        """Check a tick's statistics; return a sentence for each trouble that begins, or comes back."""
        for name in ("health/diversity", "health/motion"):
            if name in stats:
                self.best[name] = max(stats[name], self.best.get(name, 0.0))
        warnings = []
        for name, check in CHECKS.items():
            problem = check(self, stats)
            if problem is None:
                self.troubles.pop(name, None)
            elif name not in self.troubles:
                self.troubles[name] = kimg
                warnings.append(f"Since {kimg:.3f} kimg {problem}")
        return warnings

    def is_gone(self, name: str, stats: Stats) -> bool:
        """Tell whether diversity or motion (its `name` in the statistics) has been there and is gone."""
        if name not in stats:
            return False
        best = self.best[name]
        return best > LEAST_LEVELS and stats[name] < COLLAPSED * best


# Each check returns the end of a sentence that begins with the kimg, None if all is well.


def _gradients(health: Health, stats: Stats) -> str | None:
    if not stats.get("health/nonfinite_gradients", 0) > 0:
        return None
    return (
        "gradients have entries that are not finite (they are replaced): now and then in half precision that is "
        "normal; if it stays, try --precision=fp32 or lower learning rates."
    )


def _explosion(health: Health, stats: Stats) -> str | None:
    wild = []
    for name, value in stats.items():
        if name.startswith(("loss/g", "loss/d", "scores/")) and not abs(value) < EXPLODED:  # also NaN
            wild.append(name)
    if not wild:
        return None
    return f"{', '.join(wild)} exploded: go back to an earlier snapshot with --init-from, with a higher --gamma."


def _collapse(health: Health, stats: Stats) -> str | None:
    if not health.is_gone("health/diversity", stats):
        return None
    return "different codes give nearly the same picture: the generator has collapsed; try a higher --gamma."


def _frozen(health: Health, stats: Stats) -> str | None:
    if not health.is_gone("health/motion", stats):
        return None
    return "clips stand still: the motion code has lost its effect; try a higher --gamma or --lambda-vid."


def _waiting(health: Health, stats: Stats) -> str | None:
    share = stats.get("time/data_share", 0)
    if not share > WAITING:
        return None
    return f"{share:.0%} of the time is spent waiting for data: give more --workers, or use a faster disk."


CHECKS: dict[str, Callable[[Health, Stats], str | None]] = {
    "gradients": _gradients,
    "explosion": _explosion,
    "collapse": _collapse,
    "frozen": _frozen,
    "waiting": _waiting,
}
