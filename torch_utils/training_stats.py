"""Means and spreads of what training reports, over many steps and all processes."""

import math

import torch

from torch_utils import distributed


class Collector:
    """Collects numbers by name without waiting for the GPU, until `collect` sums them up."""

    def __init__(self) -> None:
        # name -> float64 [3]: count, sum, sum of squares; on the device of the first report
        self._moments: dict[str, torch.Tensor] = {}

    def report(self, name: str, value: torch.Tensor | float) -> None:
        """Add every element of a tensor (any shape), or one number, to the statistics of `name`."""
        values = torch.as_tensor(value).detach().to(torch.float64)
        moments = torch.stack([torch.full_like(values.sum(), values.numel()), values.sum(), values.square().sum()])
        held = self._moments.get(name)
        self._moments[name] = moments if held is None else held + moments.to(held.device)

    def collect(self) -> dict[str, dict[str, float]]:
        """Statistics since the last call, over all processes: {name: {mean, std (of the population), num}}.

        Every process must call it, and gets the same answer; names that only some processes reported are included. NaN
        and infinities stay visible in the mean.
        """
        mine = {name: moments.tolist() for name, moments in self._moments.items()}
        self._moments = {}
        totals: dict[str, list[float]] = {}
        for part in distributed.gather(mine):
            for name, moments in part.items():
                held = totals.get(name, [0.0, 0.0, 0.0])
                totals[name] = [a + b for a, b in zip(held, moments, strict=True)]
        return {name: _statistics(*moments) for name, moments in sorted(totals.items()) if moments[0]}


def _statistics(num: float, total: float, squares: float) -> dict[str, float]:
    mean = total / num
    variance = squares / num - mean * mean
    # max() would turn NaN into 0, hence the comparison: rounding may leave a tiny negative variance.
    return {"mean": mean, "std": 0.0 if variance < 0 else math.sqrt(variance), "num": int(num)}
