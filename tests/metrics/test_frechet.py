"""metrics.frechet: the reference's numbers, closed forms, invariances, plain loops, and honest standard errors."""

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from dnnlib.errors import UserError
from metrics.frechet import (
    FeatureMoments,
    FrechetDistance,
    KernelDistance,
    frechet_distance,
    frechet_standard_error,
    kernel_distance,
)
from tests.helpers.golden_metrics import array, hold
from tests.helpers.tiny import normal

FULL_RANK = {"rtol": 1e-8}
SINGULAR = {"atol": 5e-4}
CASES = [
    ("a", SINGULAR),
    ("b", FULL_RANK),
    ("c", FULL_RANK),
]
pytestmark = pytest.mark.usefixtures("one_thread")


def moments_of(seed: int, *shape: int) -> FeatureMoments:
    """Moments of normal numbers."""
    return FeatureMoments.of(normal(seed, *shape))


# --- The reference's numbers ------------------------------------------------------------------------------------------


def golden_moments(case: str, side: str) -> FeatureMoments:
    features = array("fvd", f"{case}_{side}")
    return FeatureMoments.of(torch.from_numpy(features))


def parts(distance: FrechetDistance) -> list[float]:
    return [
        distance.mean_term,
        distance.trace_a,
        distance.trace_b,
        distance.trace_root,
    ]


@pytest.mark.parametrize("case, tolerance", CASES)
def test_reference(case, tolerance):
    gen = golden_moments(case, "gen")
    real = golden_moments(case, "real")
    found = frechet_distance(gen, real)
    hold("fvd", f"{case}_fvd", found.value, **tolerance)
    hold("fvd", f"{case}_parts", parts(found), **tolerance)
    hold("fvd", f"{case}_fvd_exact", found.value, rtol=1e-12)


@pytest.mark.parametrize("case, tolerance", CASES)
def test_division_by_n_minus_1_is_something_else(case, tolerance):
    """Scaling both covariances gives the value that the reference does not have: we know what we do not do."""
    gen = golden_moments(case, "gen")
    real = golden_moments(case, "real")
    found = frechet_distance(gen, real)
    gen_scale = gen.num / (gen.num - 1)
    real_scale = real.num / (real.num - 1)
    root_scale = (gen_scale * real_scale) ** 0.5
    traces = gen_scale * found.trace_a + real_scale * found.trace_b
    other = found.mean_term + traces - 2 * root_scale * found.trace_root
    hold("fvd", f"{case}_fvd_unbiased_cov", other, **tolerance)
    assert other - found.value > 0.04


@pytest.mark.parametrize("case, tolerance", [CASES[0], CASES[2]])
def test_distance_to_the_official_statistics(case, tolerance):
    """Without their file: our traces, and what any set of that mean and trace must satisfy."""
    name = f"{case}_gen_vs_voxceleb512"
    gen = golden_moments(case, "gen")
    gen_trace = float(gen.cov.trace())
    mean_term, _, trace, root = array("fvd", f"{name}_parts")
    _, _, mean_norm, summary_trace = array("fvd", "voxceleb512_summary")
    hold("fvd", f"{name}_parts", [mean_term, gen_trace, summary_trace, root], rtol=1e-8)
    composed = mean_term + gen_trace + summary_trace - 2 * root
    hold("fvd", f"{name}_fvd", composed, rtol=1e-8)
    hold("fvd", f"{name}_fvd_exact", composed, **tolerance)
    gen_norm = gen.mean.norm()
    assert abs(mean_norm - gen_norm) < mean_term**0.5 < mean_norm + gen_norm
    assert 0 < root < (trace * gen_trace) ** 0.5


# --- Frechet distance -------------------------------------------------------------------------------------------------


def moments_with(mean: np.ndarray, scale: np.ndarray) -> FeatureMoments:
    """Moments of 1000 items with a mean [D] and independent standard deviations [D]."""
    made = FeatureMoments(len(mean))
    covariance = np.diag(scale**2)
    second_moment = covariance + np.outer(mean, mean)
    made.count += 1000
    made.total += 1000 * torch.from_numpy(mean)
    made.outer += 1000 * torch.from_numpy(second_moment)
    return made


def test_diagonal_gaussians_in_closed_form():
    scale_a = np.linspace(0.1, 2, 9)
    scale_b = np.linspace(3, 0.5, 9)
    shift = np.linspace(-1, 4, 9)
    a = moments_with(shift, scale_a)
    b = moments_with(np.zeros(9), scale_b)
    found = frechet_distance(a, b)
    expected = [
        shift @ shift,
        scale_a @ scale_a,
        scale_b @ scale_b,
        scale_a @ scale_b,
    ]
    assert parts(found) == pytest.approx(expected)
    difference = scale_a - scale_b
    distance = shift @ shift + difference @ difference
    assert found.value == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("items", [2, 30, 300])
def test_equal_sets_are_at_zero_and_order_does_not_matter(items):
    a = moments_of(0, items, 40)
    b = moments_of(1, items, 40)
    there = frechet_distance(a, b).value
    back = frechet_distance(b, a).value
    assert there == pytest.approx(back, rel=1e-10)
    assert there > 1
    assert frechet_distance(a, a).value == pytest.approx(0, abs=1e-9)


def test_moments_are_those_of_numpy():
    features = normal(0, 50, 7) * 3 + 1
    whole = FeatureMoments.of(features)
    assert whole.num == 50
    assert whole.dimension == 7
    expected = np.cov(features.double().numpy().T, bias=True)
    assert_allclose(whole.cov, expected, rtol=1e-12)


def test_moments_add_up():
    features = normal(0, 50, 7) * 3 + 1
    whole = FeatureMoments.of(features)
    first = FeatureMoments.of(features[:20])
    rest = FeatureMoments(7)
    for batch in features[20:].split(4):
        rest.add(batch)
    merged = FeatureMoments.of(features[:20])
    merged.merge(rest)
    for name in ("count", "total", "outer", "mean", "cov"):
        assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-13, atol=1e-13)
    left = merged.without(rest)
    assert_allclose(left.cov, first.cov, rtol=1e-10, atol=1e-12)


# --- What is refused --------------------------------------------------------------------------------------------------


def test_too_few_items():
    moments = FeatureMoments(3)
    with pytest.raises(UserError, match="at least 1 video, but there are 0: give more"):
        moments.mean  # noqa: B018
    moments.add(normal(0, 1, 3))
    with pytest.raises(UserError, match="at least 2 videos, but there is 1: give more"):
        frechet_distance(moments, moments_of(0, 9, 3))


def test_a_shortage_of_items_is_named():
    moments = moments_of(0, 3, 3)
    assert "3 videos are too few for a covariance of 3 features" in moments.shortage
    moments.add(normal(0, 1, 3))
    assert moments.shortage is None


def test_features_that_are_no_numbers():
    with pytest.raises(UserError, match="not finite"):
        FeatureMoments.of(torch.tensor([[1.0, float("nan")]]))


def test_features_of_other_lengths():
    with pytest.raises(ValueError, match="is needed"):
        FeatureMoments(3).add(normal(0, 4, 2))
    with pytest.raises(UserError, match="of 2 and of 3 numbers"):
        frechet_distance(moments_of(0, 4, 2), moments_of(0, 4, 3))
    with pytest.raises(UserError, match="of 2 and of 3 numbers"):
        kernel_distance(normal(0, 4, 2), normal(0, 4, 3))


def test_too_few_items_for_a_kernel_distance_or_an_error():
    with pytest.raises(UserError, match="at least 2 videos on both sides"):
        kernel_distance(normal(0, 4, 2), normal(0, 1, 2))
    with pytest.raises(UserError, match="at least 3 videos"):
        frechet_standard_error(normal(0, 2, 2), moments_of(0, 9, 2))


# --- Kernel distance --------------------------------------------------------------------------------------------------


def kernel(a: np.ndarray, b: np.ndarray) -> float:
    return (float(a @ b) / len(a) + 1) ** 3


def mean_within(items: np.ndarray) -> float:
    """Mean of the kernel of all pairs of different items."""
    values = [kernel(a, b) for a, b in itertools.permutations(items, 2)]
    return np.mean(values)


def kernel_distance_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    values = [kernel(a, b) for a, b in itertools.product(x, y)]
    between = np.mean(values)
    return mean_within(x) + mean_within(y) - 2 * between


def without_each(items: torch.Tensor) -> list[torch.Tensor]:
    """The set without its first item, without its second, ..."""
    return [items[torch.arange(len(items)) != index] for index in range(len(items))]


def two_sets() -> tuple[torch.Tensor, torch.Tensor]:
    x = normal(0, 13, 5).double()
    y = normal(1, 9, 5).double()
    return x, y * 1.5 + 0.2


@pytest.mark.parametrize("block", [1, 4, 100])
def test_kernel_distance_is_the_plain_sum(block):
    x, y = two_sets()
    found = kernel_distance(x, y, block)
    expected = kernel_distance_by_loops(x.numpy(), y.numpy())
    assert found.value == pytest.approx(expected, rel=1e-12)


def test_standard_error_of_a_kernel_distance_is_the_jackknife_s():
    x, y = two_sets()
    without_x = [kernel_distance(rest, y).value for rest in without_each(x)]
    without_y = [kernel_distance(x, rest).value for rest in without_each(y)]
    variance_of_x = 12 * np.var(without_x)
    variance_of_y = 8 * np.var(without_y)
    found = kernel_distance(x, y)
    variance = found.standard_error**2
    assert variance == pytest.approx(variance_of_x + variance_of_y, rel=1e-10)


def test_two_items_have_no_standard_error():
    x, y = two_sets()
    found = kernel_distance(x[:2], y)
    assert np.isnan(found.standard_error)


@pytest.mark.parametrize("size", [5, 50])
def test_kernel_distance_has_no_bias(size):
    """Over splits of one set its mean is near zero, however small the parts."""
    features = normal(0, 2000, 30)
    values = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(2000, generator=generator)
        first = features[order[:size]]
        second = features[order[size : 2 * size]]
        values.append(kernel_distance(first, second).value)
    error_of_mean = np.std(values) / 200**0.5
    assert abs(np.mean(values)) < 4 * error_of_mean
    assert min(values) < 0


def test_kernel_distance_tells_two_distributions_apart():
    other = kernel_distance(normal(0, 300, 30), normal(1, 300, 30) + 0.3)
    assert other.value > 5 * other.standard_error > 0


# --- Standard errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dimension, items, known",
    [
        (5, 200, False),
        (20, 12, False),
        (5, 200, True),
    ],
)
def test_standard_errors_say_how_much_draws_vary(dimension, items, known):
    """`known`: the second set is the same in all draws, and its moments count as exact."""
    values = []
    errors = []
    kernels: list[KernelDistance] = []
    for draw in range(60):
        spread = torch.linspace(0.3, 2, dimension)
        a = normal(2 * draw, items, dimension) * spread + 0.4
        b = normal(1 if known else 2 * draw + 1, items, dimension)
        moments_b = FeatureMoments.of(b)
        distance = frechet_distance(FeatureMoments.of(a), moments_b)
        values.append(distance.value)
        errors.append(frechet_standard_error(a, moments_b if known else b))
        kernels.append(kernel_distance(a, b))
    assert 0.75 < np.mean(errors) / np.std(values) < 1.8
    if not known:
        spread_of_kernels = np.std([found.value for found in kernels])
        mean_error = np.mean([found.standard_error for found in kernels])
        assert 0.75 < mean_error / spread_of_kernels < 1.6
