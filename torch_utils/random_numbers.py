"""Random numbers that do not depend on how a batch is divided among processes and passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """One generator for each item of a batch. A slice draws for its items what the whole draws for them."""

    generators: tuple[torch.Generator, ...]

    @classmethod
    def seeded(cls, key: tuple[int, ...], items: Sequence[int], device: torch.device) -> "Streams":
        """Make the streams of some items of a batch.

        Args:
            key: non-negative integers.
            items: their numbers in the whole batch.
        """
        generators = []
        for item in items:
            sequence = np.random.SeedSequence((*key, item))
            seed = int(sequence.generate_state(1, np.uint64)[0]) >> 1  # torch takes 63 bits
            generators.append(torch.Generator(device).manual_seed(seed))
        return cls(tuple(generators))

    def __len__(self) -> int:
        return len(self.generators)

    def __getitem__(self, rows: slice | list[int]) -> "Streams":
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows
        return Streams(tuple(self.generators[row] for row in chosen))


Random = torch.Generator | Streams


def uniform(
    shape: Sequence[int], random: Random | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Draw numbers in [0, 1).

    Args:
        random: a generator, None for torch's own, or streams: each draws shape[0] / len(random) neighbouring rows.
    """
    return _draw(torch.rand, shape, random, device=device, dtype=dtype)


def normal(
    shape: Sequence[int], random: Random | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Draw standard normal numbers; arguments as of `uniform`."""
    return _draw(torch.randn, shape, random, device=device, dtype=dtype)


def _draw(
    function: Callable[..., torch.Tensor],
    shape: Sequence[int],
    random: Random | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    if not isinstance(random, Streams):
        return function(shape, device=device, dtype=dtype, generator=random)
    rows, rest = divmod(shape[0], len(random))
    if rest:
        raise ValueError(f"{len(random)} streams cannot share {shape[0]} rows equally.")
    part = [rows, *shape[1:]]
    parts = [function(part, device=device, dtype=dtype, generator=generator) for generator in random.generators]
    return torch.cat(parts)
