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
        """Streams of the `items` (numbers in the whole batch) on `device`; `key`: non-negative integers."""
        seeds = [int(np.random.SeedSequence((*key, item)).generate_state(1, np.uint64)[0] >> 1) for item in items]
        return cls(tuple(torch.Generator(device).manual_seed(seed) for seed in seeds))

    def __len__(self) -> int:
        return len(self.generators)

    def __getitem__(self, rows: slice) -> "Streams":
        return Streams(self.generators[rows])


Random = torch.Generator | Streams


def uniform(
    shape: Sequence[int], random: Random | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Numbers in [0, 1) of the given shape.

    Args:
        random: a generator, None for torch's own, or streams: each draws shape[0] / len(random) neighbouring rows.
    """
    return _draw(torch.rand, shape, random, device, dtype)


def normal(
    shape: Sequence[int], random: Random | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Standard normal numbers of the given shape; arguments as of `uniform`."""
    return _draw(torch.randn, shape, random, device, dtype)


def _draw(
    function: Callable[..., torch.Tensor],
    shape: Sequence[int],
    random: Random | None,
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    if not isinstance(random, Streams):
        return function(shape, device=device, dtype=dtype, generator=random)
    rows, rest = divmod(shape[0], len(random))
    if rest:
        raise ValueError(f"{len(random)} streams cannot share {shape[0]} rows equally.")
    part = [rows, *shape[1:]]
    return torch.cat([function(part, device=device, dtype=dtype, generator=one) for one in random.generators])
