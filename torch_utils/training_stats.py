"""Means and spreads of what training reports, over many steps and all processes."""

import itertools
import math
from collections.abc import Iterator, Mapping

import torch

from torch_utils import distributed

Statistics = dict[str, float]  # mean, std (of the population), num


class Collector:
    """Numbers by name, kept on their device until `collect` sums them up: a report is one copy of a few numbers."""

    def __init__(self) -> None:
        self._numbers: list[tuple[str, float]] = []
        # Of one device and type: names with how many numbers each has, and these, report by report.
        self._tensors: dict[tuple[torch.device, torch.dtype], tuple[list[tuple[str, int]], list[torch.Tensor]]] = {}

    def report(self, values: Mapping[str, torch.Tensor | float]) -> None:
        """Add numbers to the statistics of their names; of tensors (any shapes, of one device) every element."""
        tensors = {}
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[name] = value.detach().flatten()
            else:
                self._numbers.append((name, float(value)))
        if tensors:
            joined = torch.cat(list(tensors.values()))  # a copy, so that what is reported may change
            names, reports = self._tensors.setdefault((joined.device, joined.dtype), ([], []))
            names += [(name, len(elements)) for name, elements in tensors.items()]
            reports.append(joined)

    def collect(self) -> dict[str, Statistics]:
        """Return the statistics since the last call, over all processes, by name.

        Every process must call it, and gets the same answer; names that only some processes reported are included. NaN
        and infinities stay visible in the mean.
        """
        own: dict[str, list[float]] = {}  # count, sum, sum of squares
        for name, number in self._taken():
            moments = own.setdefault(name, [0.0, 0.0, 0.0])
            for place, moment in enumerate((1.0, number, number * number)):
                moments[place] += moment
        totals: dict[str, list[float]] = {}
        for part in distributed.gather(own):
            for name, moments in part.items():
                earlier = totals.get(name, [0.0, 0.0, 0.0])
                totals[name] = [a + b for a, b in zip(earlier, moments, strict=True)]
        return {name: _statistics(*totals[name]) for name in sorted(totals)}

    def _taken(self) -> Iterator[tuple[str, float]]:
        """Yield all numbers with their names, and forget them; the host waits once for each device and type."""
        yield from self._numbers
        for names, reports in self._tensors.values():
            numbers = iter(torch.cat(reports).tolist())
            for name, count in names:
                yield from ((name, float(number)) for number in itertools.islice(numbers, count))
        self._numbers = []
        self._tensors = {}


def _statistics(count: float, total: float, squares: float) -> Statistics:
    mean = total / count
    mean_square = squares / count
    variance = mean_square - mean * mean
    # max() would turn NaN into 0, hence the comparison: rounding may leave a tiny negative variance.
    if variance < 0:
        variance = 0.0
    std = math.sqrt(variance)
    return {"mean": mean, "std": std, "num": int(count)}
