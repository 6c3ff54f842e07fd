"""Which clips are asked for: appearances by motions, ways between appearances, or given latents."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """A clip that was asked for.

    Args:
        seed: of its appearance; None: that of given latents.
        motion_seed: of its motion; None: alike.
        way: seeds of appearances that it goes through, `seed` first; none: it stays with that one.
    """

    seed: int | None
    motion_seed: int | None
    way: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The name of its files."""
        name = "latents" if self.seed is None else "interpolation" if self.way else f"seed{self.seed:04d}"
        if self.has_own_motion:
            return name
        return f"{name}-motion{self.motion_seed:04d}"

    @property
    def has_own_motion(self) -> bool:
        """Whether its motion is that of its appearance."""
        return self.motion_seed == self.seed

    def words(self, with_motion: bool) -> list[str]:
        """Return what a label says of it."""
        name = "latents" if self.seed is None else "interpolation" if self.way else f"seed {self.seed}"
        motion = "own motion" if self.motion_seed is None else f"motion {self.motion_seed}"
        return [name, motion] if with_motion else [name]


@dataclass(frozen=True)
class Clips:
    """All clips that were asked for: appearances outermost; each with its own motion, or with every one of a list.

    Args:
        seeds: of appearances; None: that of given latents.
        motion_seeds: None: each appearance has its own.
        interpolate: whether one clip goes through all appearances, with each motion, or else with that of the first.
    """

    seeds: Sequence[int | None]
    motion_seeds: list[int] | None
    interpolate: bool = False

    def __len__(self) -> int:
        appearances = 1 if self.interpolate else len(self.seeds)
        return appearances * (1 if self.motion_seeds is None else len(self.motion_seeds))

    def __iter__(self) -> Iterator[Clip]:
        if self.interpolate:
            way = tuple(seed for seed in self.seeds if seed is not None)
            return (Clip(way[0], motion, way) for motion in self.motion_seeds or way[:1])
        if self.motion_seeds is None:
            return (Clip(seed, seed) for seed in self.seeds)
        return itertools.starmap(Clip, itertools.product(self.seeds, self.motion_seeds))
