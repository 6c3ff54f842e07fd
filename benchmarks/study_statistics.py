"""What scores of several seeds bear: means and spreads, which row is best, which are worse, which order holds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from metrics.protocols import parse_request
from metrics.results import HIGHER_IS_BETTER, NO_BEST

BEST, WORSE = "best", "worse"
Losses = Mapping[str, Sequence[float]]  # of each row, one a seed, in which less is better


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and standard deviation (of a sample: n - 1) of the values that are finite; NaN where too few are."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        known = [value for value in values if math.isfinite(value)]
        mean = statistics.fmean(known) if known else math.nan
        deviation = statistics.stdev(known) if len(known) > 1 else math.nan
        return cls(mean=mean, deviation=deviation, count=len(known))

    def __str__(self) -> str:
        if not self.count:
            return "unknown"
        return _digits(self.mean, 4) + (f" ± {_digits(self.deviation, 2)}" if self.count > 1 else "")


def losses(metric: str, values: Sequence[float], target: float | None) -> list[float] | None:
    """Return values of a metric so that less is better; None if nothing says which is.

    Args:
        target: what real videos have, where that is best.
    """
    kind = parse_request(metric).kind
    if kind in NO_BEST:
        return None if target is None else [abs(value - target) for value in values]
    return [-value for value in values] if kind in HIGHER_IS_BETTER else list(values)


def marks(rows: Losses) -> dict[str, list[str]]:
    """Return what can be said of each row: that it is the best, or worse than the first one."""
    found: dict[str, list[str]] = {name: [] for name in rows}
    best = best_row(rows)
    if best is not None:
        found[best].append(BEST)
    first, *others = rows
    for name in others:
        if is_worse(rows[first], rows[name]):
            found[name].append(WORSE)
    return found


def best_row(rows: Losses) -> str | None:
    """Return the row with the least mean, if it is below the next by more than the larger deviation of the two.

    None also if one of these two has a single seed, whose spread nobody knows.
    """
    spreads = {name: Spread.of(values) for name, values in rows.items()}
    known = sorted((spread.mean, name) for name, spread in spreads.items() if spread.count)
    if len(known) < 2:
        return None
    (_, best), (_, second) = known[:2]
    return best if _gap(spreads[best], spreads[second]) > 0 else None


def is_worse(first: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether a mean is worse than the first by more than the standard deviation of the first one's seeds.

    No if the first has a single seed: nobody knows then.
    """
    old = Spread.of(first)
    return Spread.of(other).mean - old.mean > old.deviation


def agreement(paper: Mapping[str, float], rows: Losses) -> tuple[int, int]:
    """Return how many pairs of rows are in the paper's order, and how many are in any: further apart than they spread.

    Args:
        paper: of the rows that are in it, a number in which less is better.
    """
    spreads = {name: Spread.of(values) for name, values in rows.items()}
    same = borne = 0
    for one, two in combinations([name for name in paper if name in spreads], 2):
        low, high = sorted((one, two), key=lambda name: spreads[name].mean)
        if paper[one] != paper[two] and _gap(spreads[low], spreads[high]) > 0:
            borne += 1
            same += paper[low] < paper[high]
    return same, borne


def _gap(low: Spread, high: Spread) -> float:
    """Return by how much the distance of two means is more than the larger deviation; NaN where one is unknown."""
    if not (math.isfinite(low.deviation) and math.isfinite(high.deviation)):
        return math.nan
    return high.mean - low.mean - max(low.deviation, high.deviation)


def _digits(value: float, count: int) -> str:
    """Return a number rounded to so many digits, as people write it: 130, not 1.3e+02."""
    return f"{float(f'{value:.{count}g}'):.12g}"
