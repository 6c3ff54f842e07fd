"""Random numbers that do not depend on how a batch is divided among processes and passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass
class Streams:
    """A stream of random numbers for each of some items of a batch. A slice draws what the whole draws for its items.

    Every draw is one of the whole batch, from a generator of its own, of which the items' rows are taken: on a GPU one
    launch, however many items there are. The batch is small beside what is computed from it.
    """

    key: tuple[int, ...]
    batch: int
    items: Sequence[int]  # numbers in the whole batch
    drawn: int = 0  # how often; names the next draw

    @classmethod
    def seeded(cls, key: tuple[int, ...], batch: int) -> "Streams":
        """Make the streams of all items of a batch.

        Args:
            key: non-negative integers.
        """
        return cls(key, batch, range(batch))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: slice | list[int]) -> "Streams":
        chosen = self.items[rows] if isinstance(rows, slice) else [self.items[row] for row in rows]
        return replace(self, items=chosen)

    def apart(self, *numbers: int) -> "Streams":
        """Return streams of the same items that further numbers name, in place of the last one of the key."""
        return replace(self, key=(*self.key[:-1], *numbers), drawn=0)

    def next_generator(self, device: torch.device) -> torch.Generator:
        """Return the generator of the next draw, the same for all items."""
        sequence = np.random.SeedSequence((*self.key, self.drawn))
        self.drawn += 1
        seed = int(sequence.generate_state(1, np.uint64)[0]) >> 1  # torch takes 63 bits
        return torch.Generator(device).manual_seed(seed)


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
    generator = random.next_generator(device)
    whole = function([random.batch * rows, *shape[1:]], device=device, dtype=dtype, generator=generator)
    if random.items == range(random.batch):
        return whole
    by_item = whole.split(rows)
    return torch.cat([by_item[item] for item in random.items])
