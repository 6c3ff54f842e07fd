"""Means and spreads of what training reports, over many steps and all processes."""

import math

import torch

from torch_utils import distributed

Statistics = dict[str, float]  # mean, std (of the population), num


class Collector:
    """Numbers by name, collected without waiting for the GPU until `collect` sums them up."""

    def __init__(self) -> None:
        # name -> float64 [3]: count, sum, sum of squares; on the device of the first report
        self._moments: dict[str, torch.Tensor] = {}

    def report(self, name: str, value: torch.Tensor | float) -> None:
        """Add every element of a tensor (any shape), or one number, to the statistics of `name`."""
        values = torch.as_tensor(value).detach().double()
        total = values.sum()
        count = torch.full_like(total, values.numel())
        squares = values.square().sum()
        moments = torch.stack([count, total, squares])
        earlier = self._moments.get(name)
        if earlier is not None:
            moments = earlier + moments.to(earlier.device)
        self._moments[name] = moments

    def collect(self) -> dict[str, Statistics]:
        """Return the statistics since the last call, over all processes, by name.

        Every process must call it, and gets the same answer; names that only some processes reported are included. NaN
        and infinities stay visible in the mean.
        """
        own = {name: moments.tolist() for name, moments in self._moments.items()}
        self._moments = {}
        totals: dict[str, list[float]] = {}
        for part in distributed.gather(own):
            for name, moments in part.items():
                earlier = totals.get(name, [0.0, 0.0, 0.0])
                totals[name] = [a + b for a, b in zip(earlier, moments, strict=True)]
        statistics = {}
        for name in sorted(totals):
            count, total, squares = totals[name]
            if count > 0:
                statistics[name] = _statistics(count, total, squares)
        return statistics


def _statistics(count: float, total: float, squares: float) -> Statistics:
    mean = total / count
    mean_square = squares / count
    variance = mean_square - mean * mean
    # max() would turn NaN into 0, hence the comparison: rounding may leave a tiny negative variance.
    if variance < 0:
        variance = 0.0
    std = math.sqrt(variance)
    return {"mean": mean, "std": std, "num": int(count)}
