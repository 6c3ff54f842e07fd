"""Whether a run is well: what goes wrong in GAN training, seen in its statistics, and said once, with its beginning."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from training.cameras import frontal_label
from training.networks.generator import Generator
from training.sampling.clips import clip_spec, generate

COLLAPSED = 0.05  # of the greatest so far: what is left of diversity or motion in a collapse
LEAST_LEVELS = 0.5  # grey levels that diversity or motion must have had before their loss means anything
EXPLODED = 100.0  # losses and mean logits beyond this do not come back
WAITING = 0.2  # part of the time spent waiting for data


@torch.inference_mode()
def probe(G: Generator) -> dict[str, float]:
    """How much two appearances, and the first and last moment of one clip, differ under the frontal camera: mean
    absolute differences in grey levels (of 255)."""
    front = frontal_label().expand(2, -1)
    first, second = (
        torch.cat([out["image"] for out in generate(G, clip_spec(G, seed, seed, front))]).clamp(-1, 1)
        for seed in (0, 1)
    )
    levels = 255 / 2
    return {
        "health/diversity": float((first[0] - second[0]).abs().mean()) * levels,
        "health/motion": float((first[0] - first[1]).abs().mean()) * levels,
    }


@dataclass
class Health:
    """Looks at the statistics of every tick; a trouble is told when it begins, and again after it was over."""

    best: dict[str, float] = field(default_factory=dict)  # greatest diversity and motion so far
    troubles: dict[str, float] = field(default_factory=dict)  # those that last -> kimg at which they began

    def look(self, stats: dict[str, float], kimg: float) -> list[str]:
        """New warnings, one sentence each."""
        warnings = []
        for name, check in CHECKS.items():
            problem = check(self, stats)
            if problem is None:
                self.troubles.pop(name, None)
            elif name not in self.troubles:
                self.troubles[name] = kimg
                warnings.append(f"Since {kimg:.3f} kimg {problem}")
        return warnings

    def lost(self, stats: dict[str, float], name: str) -> bool:
        """Whether diversity or motion is gone."""
        value = stats.get(name)
        if value is None:
            return False
        self.best[name] = max(value, self.best.get(name, 0.0))
        return self.best[name] > LEAST_LEVELS and value < COLLAPSED * self.best[name]


def _gradients(health: Health, stats: dict[str, float]) -> str | None:
    if not stats.get("health/nonfinite_gradients", 0) > 0:
        return None
    return (
        "gradients have entries that are not finite (they are replaced): now and then in half precision that is "
        "normal; if it stays, try --precision=fp32 or lower learning rates."
    )


def _explosion(health: Health, stats: dict[str, float]) -> str | None:
    wild = [
        name
        for name, value in stats.items()
        if name.startswith(("loss/g", "loss/d", "scores/")) and not abs(value) < EXPLODED
    ]
    if not wild:
        return None
    return f"{', '.join(wild)} exploded: go back to an earlier snapshot with --init-from, with a higher --gamma."


def _collapse(health: Health, stats: dict[str, float]) -> str | None:
    if not health.lost(stats, "health/diversity"):
        return None
    return "different codes give nearly the same picture: the generator has collapsed; try a higher --gamma."


def _frozen(health: Health, stats: dict[str, float]) -> str | None:
    if not health.lost(stats, "health/motion"):
        return None
    return "clips stand still: the motion code has lost its effect; try a higher --gamma or --lambda-vid."


def _waiting(health: Health, stats: dict[str, float]) -> str | None:
    share = stats.get("time/data_share", 0)
    if not share > WAITING:
        return None
    return f"{share:.0%} of the time is spent waiting for data: give more --workers, or use a faster disk."


CHECKS: dict[str, Callable[[Health, dict[str, float]], str | None]] = {
    "gradients": _gradients,
    "explosion": _explosion,
    "collapse": _collapse,
    "frozen": _frozen,
    "waiting": _waiting,
}
