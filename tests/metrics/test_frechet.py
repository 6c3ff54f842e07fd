"""metrics.frechet: the reference's numbers, closed forms, invariances, plain loops, and honest standard errors."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from metrics.frechet import FeatureMoments, FrechetDistance, frechet_distance, frechet_standard_error, kernel_distance
from tests.helpers.golden_metrics import array, hold

FULL_RANK, SINGULAR = {"rtol": 1e-8}, {"atol": 5e-4}
TOLERANCE = {"a": SINGULAR, "b": FULL_RANK, "c": FULL_RANK}
pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def golden_moments(case: str, side: str) -> FeatureMoments:
    return FeatureMoments.of(torch.from_numpy(array("fvd", f"{case}_{side}")))


def parts(distance: FrechetDistance) -> list[float]:
    return [distance.mean_term, distance.trace_a, distance.trace_b, distance.trace_root]


@pytest.mark.parametrize("case", "abc")
def test_reference(case):
    found = frechet_distance(golden_moments(case, "gen"), golden_moments(case, "real"))
    hold("fvd", f"{case}_fvd", found.value, **TOLERANCE[case])
    hold("fvd", f"{case}_parts", parts(found), **TOLERANCE[case])
    hold("fvd", f"{case}_fvd_exact", found.value, rtol=1e-12)


@pytest.mark.parametrize("case", "abc")
def test_division_by_n_minus_1_is_something_else(case):
    """Scaling both covariances gives the value that the reference does not have: we know what we do not do."""
    gen, real = (golden_moments(case, side) for side in ("gen", "real"))
    found = frechet_distance(gen, real)
    g, r = (m.num / (m.num - 1) for m in (gen, real))
    other = found.mean_term + g * found.trace_a + r * found.trace_b - 2 * (g * r) ** 0.5 * found.trace_root
    hold("fvd", f"{case}_fvd_unbiased_cov", other, **TOLERANCE[case])
    assert other - found.value > 0.04


@pytest.mark.parametrize("case", "ac")
def test_distance_to_the_official_statistics(case):
    """Without their file: our traces, and what any set of that mean and trace must satisfy."""
    gen, name = golden_moments(case, "gen"), f"{case}_gen_vs_voxceleb512"
    mean_term, _, trace, root = array("fvd", f"{name}_parts")
    _, _, mean_norm, summary_trace = array("fvd", "voxceleb512_summary")
    hold("fvd", f"{name}_parts", [mean_term, float(gen.cov.trace()), summary_trace, root], rtol=1e-8)
    composed = mean_term + float(gen.cov.trace()) + summary_trace - 2 * root
    hold("fvd", f"{name}_fvd", composed, rtol=1e-8)
    hold("fvd", f"{name}_fvd_exact", composed, **TOLERANCE[case])
    assert abs(mean_norm - gen.mean.norm()) < mean_term**0.5 < mean_norm + gen.mean.norm()
    assert 0 < root < (trace * float(gen.cov.trace())) ** 0.5


def test_diagonal_gaussians_in_closed_form():
    scale_a, scale_b, shift = np.linspace(0.1, 2, 9), np.linspace(3, 0.5, 9), np.linspace(-1, 4, 9)

    def moments(mean, scale):
        made = FeatureMoments(9)
        made.count.fill_(1000)
        made.total.copy_(torch.from_numpy(1000 * mean))
        made.outer.copy_(torch.from_numpy(1000 * (np.diag(scale**2) + np.outer(mean, mean))))
        return made

    found = frechet_distance(moments(shift, scale_a), moments(0 * shift, scale_b))
    assert found.value == pytest.approx((shift**2).sum() + ((scale_a - scale_b) ** 2).sum(), rel=1e-12)
    assert parts(found)[1:] == pytest.approx([(scale_a**2).sum(), (scale_b**2).sum(), (scale_a * scale_b).sum()])


@pytest.mark.parametrize("items", [2, 30, 300])
def test_equal_sets_are_at_zero_and_order_does_not_matter(items):
    a, b = (FeatureMoments.of(normal(items, 40, seed=seed) + 5) for seed in (0, 1))
    assert frechet_distance(a, a).value == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b).value == pytest.approx(frechet_distance(b, a).value, rel=1e-10)
    assert frechet_distance(a, b).value > 1


def test_moments_add_up():
    features = normal(50, 7) * 3 + 1
    whole, left, right = FeatureMoments.of(features), FeatureMoments.of(features[:20]), FeatureMoments(7)
    for batch in features[20:].split(4):
        right.add(batch)
    left.merge(right)
    for name in ("count", "total", "outer", "mean", "cov"):
        torch.testing.assert_close(getattr(left, name), getattr(whole, name), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(left.without(right).cov, FeatureMoments.of(features[:20]).cov, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(whole.cov, np.cov(features.double().numpy().T, bias=True), rtol=1e-12)
    assert whole.num == 50 and whole.dimension == 7


def test_too_few_items():
    moments = FeatureMoments(3)
    with pytest.raises(UserError, match="at least 1 video, but there are 0: give more"):
        moments.mean  # noqa: B018
    moments.add(normal(1, 3))
    with pytest.raises(UserError, match="at least 2 videos, but there is 1: give more"):
        frechet_distance(moments, FeatureMoments.of(normal(9, 3)))
    moments.add(normal(2, 3))
    assert "3 videos are too few for a covariance of 3 features" in moments.shortage
    moments.add(normal(1, 3))
    assert moments.shortage is None


def test_features_that_do_not_fit():
    with pytest.raises(UserError, match="not finite"):
        FeatureMoments.of(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(ValueError, match="is needed"):
        FeatureMoments(3).add(normal(4, 2))
    with pytest.raises(UserError, match="of 2 and of 3 numbers"):
        frechet_distance(FeatureMoments.of(normal(4, 2)), FeatureMoments.of(normal(4, 3)))
    with pytest.raises(UserError, match="of 2 and of 3 numbers"):
        kernel_distance(normal(4, 2), normal(4, 3))
    with pytest.raises(UserError, match="at least 2 videos on both sides"):
        kernel_distance(normal(4, 2), normal(1, 2))
    with pytest.raises(UserError, match="at least 3 videos"):
        frechet_standard_error(normal(2, 2), FeatureMoments.of(normal(9, 2)))


def kernel_distance_by_loops(x: np.ndarray, y: np.ndarray) -> float:
    kernel = lambda a, b: (float(a @ b) / len(a) + 1) ** 3  # noqa: E731
    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (x, y)]
    return sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.mark.parametrize("block", [1, 4, 100])
def test_kernel_distance_is_the_plain_sum(block):
    x, y = normal(13, 5).double(), normal(9, 5, seed=1).double() * 1.5 + 0.2
    found = kernel_distance(x, y, block)
    assert found.value == pytest.approx(kernel_distance_by_loops(x.numpy(), y.numpy()), rel=1e-12)
    left_out = [
        [kernel_distance(torch.cat([x[:i], x[i + 1 :]]), y).value for i in range(13)],
        [kernel_distance(x, torch.cat([y[:i], y[i + 1 :]])).value for i in range(9)],
    ]
    jackknife = sum((len(values) - 1) * np.var(values) for values in left_out) ** 0.5
    assert found.standard_error == pytest.approx(jackknife, rel=1e-10)
    assert np.isnan(kernel_distance(x[:2], y).standard_error)


def test_kernel_distance_has_no_bias():
    """Over splits of one set its mean is near zero, however small the parts; two distributions are told apart."""
    features = normal(2000, 30)
    for size in (5, 50):
        values = [
            kernel_distance(
                *features[torch.randperm(2000, generator=torch.Generator().manual_seed(k))][: 2 * size].split(size)
            ).value
            for k in range(200)
        ]
        assert abs(np.mean(values)) < 4 * np.std(values) / 200**0.5
        assert min(values) < 0
    other = kernel_distance(features[:300], normal(300, 30, seed=1) + 0.3)
    assert other.value > 5 * other.standard_error > 0


@pytest.mark.parametrize("dimension, items, known", [(5, 200, False), (20, 12, False), (5, 200, True)])
def test_standard_errors_say_how_much_draws_vary(dimension, items, known):
    values, errors, kernels, kernel_errors = [], [], [], []
    for seed in range(60):
        a, b = normal(items, dimension, seed=2 * seed), normal(items, dimension, seed=2 * seed + 1 if not known else 1)
        a = a * torch.linspace(0.3, 2, dimension) + 0.4
        second = FeatureMoments.of(b)
        values.append(frechet_distance(FeatureMoments.of(a), second).value)
        errors.append(frechet_standard_error(a, second if known else b))
        found = kernel_distance(a, b)
        kernels.append(found.value)
        kernel_errors.append(found.standard_error)
    assert 0.75 < np.mean(errors) / np.std(values) < 1.8
    if not known:
        assert 0.75 < np.mean(kernel_errors) / np.std(kernels) < 1.6
