"""Distances between two sets of features: Frechet (FVD) and kernel (KVD), with standard errors, all in float64."""

from dataclasses import dataclass

import torch

from dnnlib.errors import UserError

JACKKNIFE_GROUPS = 20  # a standard error from 20 groups is itself known to about 16 %
KERNEL_BLOCK = 1024  # rows of the kernel matrix in memory at a time, and columns


# --- Moments of features ----------------------------------------------------------------------------------------------


class FeatureMoments:
    """Number, sum and sum of outer products of features: all that a Frechet distance asks of any number of videos.

    `count` [], `total` [D] and `outer` [D, D] are float64 CPU tensors: each summed over ranks gives the moments of all.
    """

    def __init__(self, dimension: int):
        self.count = torch.zeros([], dtype=torch.float64)
        self.total = torch.zeros(dimension, dtype=torch.float64)
        self.outer = torch.zeros(dimension, dimension, dtype=torch.float64)

    @classmethod
    def of(cls, features: torch.Tensor) -> "FeatureMoments":
        """Return the moments of features [N, D]."""
        moments = cls(features.shape[1])
        moments.add(features)
        return moments

    @property
    def dimension(self) -> int:
        return len(self.total)

    @property
    def num(self) -> int:
        return int(self.count)

    def add(self, features: torch.Tensor) -> None:
        """Count features [B, D] in. Raises UserError where one of them is not finite."""
        if features.ndim != 2 or features.shape[1] != self.dimension:
            raise ValueError(f"Features of shape {list(features.shape)} where [B, {self.dimension}] is needed.")
        features = features.detach().to("cpu", torch.float64)
        if not torch.isfinite(features).all():
            raise UserError("A feature vector is not finite: check the detector's weights, and the videos for damage.")
        self.count += len(features)
        self.total += features.sum(dim=0)
        self.outer += features.T @ features

    def merge(self, other: "FeatureMoments") -> None:
        """Count in everything that `other` has counted."""
        _check_dimensions(self.dimension, other.dimension)
        self.count += other.count
        self.total += other.total
        self.outer += other.outer

    def without(self, part: "FeatureMoments") -> "FeatureMoments":
        """Return new moments of what is left when a part that was counted in is taken out."""
        _check_dimensions(self.dimension, part.dimension)
        left = FeatureMoments(self.dimension)
        left.count = self.count - part.count
        left.total = self.total - part.total
        left.outer = self.outer - part.outer
        return left

    @property
    def mean(self) -> torch.Tensor:
        """Mean [D]. Raises UserError for no item."""
        self._require(1, "mean")
        return self.total / self.count

    @property
    def cov(self) -> torch.Tensor:
        """Covariance [D, D], divided by N as in the reference, not N - 1. Raises UserError for fewer than 2 items."""
        self._require(2, "covariance")
        mean = self.mean
        return self.outer / self.count - torch.outer(mean, mean)

    @property
    def shortage(self) -> str | None:
        """A warning where there are too few items for a covariance of full rank, else None."""
        if self.num > self.dimension:
            return None
        return (
            f"{self.num} videos are too few for a covariance of {self.dimension} features (more than "
            f"{self.dimension} are needed), so the Frechet distance is biased upwards: compare it only with "
            "distances of equally many videos, or use the kernel distance."
        )

    def _require(self, items: int, what: str) -> None:
        """Raise UserError where there are fewer items than `what` needs."""
        if self.num < items:
            videos = "1 video" if items == 1 else f"{items} videos"
            verb = "is" if self.num == 1 else "are"
            raise UserError(
                f"A {what} of features needs at least {videos}, but there {verb} {self.num}: give more videos."
            )


def _check_dimensions(a: int, b: int) -> None:
    if a != b:
        raise UserError(f"Features of {a} and of {b} numbers cannot be compared: use statistics of the same detector.")


# --- Frechet distance -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FrechetDistance:
    """A Frechet distance and its parts: value = mean_term + trace_a + trace_b - 2 trace_root."""

    value: float
    mean_term: float  # |m_a - m_b|^2
    trace_a: float
    trace_b: float
    trace_root: float  # tr sqrt(C_a C_b)


@dataclass(frozen=True)
class _Gaussian:
    mean: torch.Tensor  # [D]
    trace: torch.Tensor  # of the covariance
    factor: torch.Tensor  # F [D, rank] with F F^T = covariance


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> FrechetDistance:
    """Compute the squared 2-Wasserstein distance of the Gaussians with these moments.

    It is the distance of FID (Heusel 2017) and FVD (Unterthiner 2018). tr sqrt(C_a C_b) is the sum of the singular
    values of F_a^T F_b with C = F F^T, which are the square roots of the eigenvalues of C_b^(1/2) C_a C_b^(1/2) without
    squaring first. Nothing turns complex, and singular covariances cost no accuracy, where a matrix root of the product
    is wrong by 1e-5 to 1e-4.

    Raises:
        UserError: fewer than two items, or features of different lengths.
    """
    _check_dimensions(a.dimension, b.dimension)
    return _distance_between(_gaussian(a), _gaussian(b))


def _gaussian(moments: FeatureMoments) -> _Gaussian:
    mean = moments.mean
    cov = moments.cov
    values, vectors = torch.linalg.eigh(cov)
    # What rounding leaves of zero eigenvalues, in the sums and their decomposition: the root of it is not small.
    largest = values[-1] + mean.square().sum()
    noise = len(values) * torch.finfo(values.dtype).eps * largest
    kept = values > noise
    return _Gaussian(mean, cov.trace(), vectors[:, kept] * values[kept].sqrt())


def _distance_between(a: _Gaussian, b: _Gaussian) -> FrechetDistance:
    mean_term = (a.mean - b.mean).square().sum()
    trace_root = torch.linalg.svdvals(a.factor.T @ b.factor).sum()
    value = mean_term + a.trace + b.trace - 2 * trace_root
    return FrechetDistance(
        value=float(value),
        mean_term=float(mean_term),
        trace_a=float(a.trace),
        trace_b=float(b.trace),
        trace_root=float(trace_root),
    )


def frechet_standard_error(a: torch.Tensor, b: torch.Tensor | FeatureMoments) -> float:
    """Estimate the standard error of the Frechet distance of features, by the delete-a-group jackknife.

    Each set is cut into JACKKNIFE_GROUPS runs of neighbours, or as many as there are items; the distance is taken again
    without each of them; the variances of both sets add up. It says how much the value would vary over other draws of
    as many videos, and errs on the large side (by 15 to 45 % in simulations; every jackknife does: Efron and Stein
    1981). It does not cover the bias of small samples (see `FeatureMoments.shortage`), which is common to all draws.

    Args:
        a: [N, D], N >= 3, in an order that does not depend on the number of ranks.
        b: [M, D], M >= 3, or moments, which then count as known exactly.
    """
    if isinstance(b, FeatureMoments):
        variance = _jackknife_variance(a, _gaussian(b))
    else:
        variance = _jackknife_variance(a, _gaussian(FeatureMoments.of(b)))
        variance += _jackknife_variance(b, _gaussian(FeatureMoments.of(a)))
    return variance**0.5


def _jackknife_variance(features: torch.Tensor, other: _Gaussian) -> float:
    """Estimate the variance of the distance to `other` over draws of features [N, D]."""
    items = len(features)
    if items < 3:
        raise UserError(
            f"A standard error of the Frechet distance needs at least 3 videos, but there are {items}"
            ": give more videos."
        )
    parts = [FeatureMoments.of(group) for group in features.tensor_split(min(JACKKNIFE_GROUPS, items))]
    whole = FeatureMoments(features.shape[1])
    for part in parts:
        whole.merge(part)
    distances = [_distance_between(_gaussian(whole.without(part)), other) for part in parts]
    values = torch.tensor([distance.value for distance in distances], dtype=torch.float64)
    return float((len(parts) - 1) * values.var(correction=0))


# --- Kernel distance --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelDistance:
    """An unbiased squared maximum mean discrepancy: near zero, also below it, for two samples of one distribution."""

    value: float
    standard_error: float  # NaN where a set has fewer than 3 items


def kernel_distance(a: torch.Tensor, b: torch.Tensor, block: int = KERNEL_BLOCK) -> KernelDistance:
    """Compute the unbiased MMD^2 with the kernel (x . y / D + 1)^3 of all pairs (KID: Binkowski et al. 2018, sec. 4).

    Usable with hundreds of videos, since its expectation does not depend on their number. The standard error is the
    leave-one-out jackknife of a two-sample U-statistic (Arvesen 1969), from sums of the kernel's rows and columns; it
    errs on the large side, by up to 40 % where both sets come from one distribution.

    Args:
        a: [N, D], N >= 2.
        b: [M, D], M >= 2.
        block: the kernel matrix is computed in blocks of this many rows and columns.

    Raises:
        UserError: fewer than two items, or features of different lengths.
    """
    _check_dimensions(a.shape[1], b.shape[1])
    n = len(a)
    m = len(b)
    if min(n, m) < 2:
        raise UserError(
            f"A kernel distance needs at least 2 videos on both sides, but there are {n} and {m}: give more videos."
        )
    a = a.detach().double()
    b = b.detach().double()
    within_a = _sums_within(a, block)
    within_b = _sums_within(b, block)
    rows, columns = _kernel_sums(a, b, block)
    mean_a = within_a.sum() / (n * (n - 1))
    mean_b = within_b.sum() / (m * (m - 1))
    value = mean_a + mean_b - 2 * rows.sum() / (n * m)
    variance = _leave_one_out_variance(within_a, rows, m)
    variance += _leave_one_out_variance(within_b, columns, n)
    return KernelDistance(float(value), float(variance) ** 0.5)


def _kernel_sums(a: torch.Tensor, b: torch.Tensor, block: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the kernel matrix of [N, D] and [M, D] along its rows [N] and its columns [M]."""
    rows = a.new_zeros(len(a))
    columns = b.new_zeros(len(b))
    for i in range(0, len(a), block):
        some_a = a[i : i + block]
        for j in range(0, len(b), block):
            some_b = b[j : j + block]
            kernel = _kernel(some_a @ some_b.T, a.shape[1])
            rows[i : i + block] += kernel.sum(dim=1)
            columns[j : j + block] += kernel.sum(dim=0)
    return rows, columns


def _sums_within(x: torch.Tensor, block: int) -> torch.Tensor:
    """Sum each item's kernel with all the others, [N]."""
    rows, _ = _kernel_sums(x, x, block)
    return rows - _kernel(x.square().sum(dim=1), x.shape[1])


def _kernel(products: torch.Tensor, dimension: int) -> torch.Tensor:
    return (products / dimension + 1) ** 3


def _leave_one_out_variance(within: torch.Tensor, between: torch.Tensor, others: int) -> torch.Tensor:
    """Estimate the variance over one set by the jackknife.

    Args:
        within: [n] sums of the items' kernels with their own set.
        between: [n] sums with the other set.
        others: number of items in the other set.
    """
    n = len(within)
    if n < 3:
        return within.new_tensor(float("nan"))
    left_within = (within.sum() - 2 * within) / ((n - 1) * (n - 2))
    left_between = (between.sum() - between) / ((n - 1) * others)
    left = left_within - 2 * left_between
    return (n - 1) * left.var(correction=0)
