"""Principal components of a generator's latents w, from covariances in float64: exact, whatever their number."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dnnlib.progress import Counter
from torch_utils import distributed
from torch_utils.random_numbers import Streams, normal
from training.cameras import CAMERA_DIM
from training.data.pairs import CameraSampler, mirrored
from training.data.streams import Draws, First
from training.networks.generator import Generator

BATCH = 4000  # latents that are mapped at a time


@dataclass(frozen=True, kw_only=True)
class Components:
    """Principal components of vectors of D numbers, float64 on the CPU.

    Args:
        rows: [D, D], unit vectors, the greatest deviation first; of each the number of the greatest size is positive.
        deviations: [D], standard deviations along them.
    """

    rows: torch.Tensor
    deviations: torch.Tensor


def principal_components(batches: Iterable[torch.Tensor]) -> Components:
    """Return the components of all vectors in batches [n, D], which are seen once. ValueError for fewer than two."""
    count = 0
    for batch in batches:
        own = batch.to(torch.float64)
        if count == 0:
            origin = own.mean(dim=0)  # near the mean: squares of what is left are no differences of large numbers
            total = torch.zeros_like(origin)
            squares = total.new_zeros(len(total), len(total))
        own = own - origin
        count += len(own)
        total += own.sum(dim=0)
        squares += own.mT @ own
    if count < 2:
        raise ValueError("Principal components need two vectors at least.")
    mean = total / count
    covariance = ((squares - count * torch.outer(mean, mean)) / (count - 1)).cpu()
    variances, columns = torch.linalg.eigh(covariance)
    rows = columns.mT.flip(0)
    greatest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))
    return Components(rows=rows * greatest.sign(), deviations=variances.flip(0).clamp(min=0).sqrt())


@torch.no_grad()
def set_components(networks: Iterable[Generator], cameras: CameraSampler, count: int, seed: int) -> None:
    """Let the chains of generators, of the same weights, move along the components of `count` of their latents.

    The main process finds them, so that all have the very same. Every process must call it.
    """
    first, *_ = networks = list(networks)

    def find() -> Components:
        with Counter(count, title="principal components of w", unit="latent") as counter:
            return principal_components(counted_latents(first, cameras, count, seed, counter))

    found = distributed.from_main(find)
    for G in networks:
        assert G.chain is not None
        G.chain.components.copy_(found.rows)
        G.chain.deviations.copy_(found.deviations)


def counted_latents(
    G: Generator, cameras: CameraSampler, count: int, seed: int, counter: Counter
) -> Iterator[torch.Tensor]:
    """Yield what `latent_batches` does, each latent counted."""
    for batch in latent_batches(G, cameras, count, seed):
        yield batch
        counter.update(len(batch))


def first_cameras(cameras: CameraSampler, key: tuple[int, ...], n: int) -> torch.Tensor:
    """Draw cameras float32 [n, 25] by which samples of frames that follow each other begin: a function of `key`."""
    rng = np.random.default_rng([First.CAMERAS, *key])
    drawn = np.empty([n, CAMERA_DIM], np.float32)
    for row in range(n):
        sequence = cameras.sequences[int(rng.integers(len(cameras.sequences)))]
        drawn[row] = sequence[int(rng.integers(len(sequence) - min(len(sequence), cameras.window) + 1))]
    is_mirrored = rng.random(n) < cameras.mirror
    drawn[is_mirrored] = mirrored(drawn[is_mirrored])
    return torch.from_numpy(drawn)


@torch.no_grad()
def latent_batches(G: Generator, cameras: CameraSampler, count: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield `count` latents w [n, w_dim] of normal codes, each mapped with the first camera of a clip of the dataset.

    So are those of fakes; the seed decides them.
    """
    device = next(G.parameters()).device
    for number, start in enumerate(range(0, count, BATCH)):
        size = min(BATCH, count - start)
        key = (First.COMPONENTS, seed, number)
        z = normal([size, G.z_dim], Streams.seeded((*key, Draws.CLIPS), size), device)
        yield G.mapping(z, first_cameras(cameras, key, size).to(device))[:, 0]
