"""Depths along rays: golden vectors, ranges, what the importance samples follow."""

import pytest
import torch

from tests.helpers import golden
from training.rendering.sampling import importance_depths, sample_pdf, smooth_weights, stratified_depths

BOTH = pytest.mark.parametrize("file, dtype", [("rendering", torch.float32), ("rendering_f64", torch.float64)])
NEAR, FAR = 2.25, 3.3


@BOTH
def test_stratified_depths_match_golden(file, dtype):
    jitter = golden.tensor("rendering", "strat_jitter", dtype)[..., 0]
    for name, disparity in (("strat_depths", False), ("strat_depths_disparity", True)):
        golden.check(file, name, stratified_depths(NEAR, FAR, 48, jitter, disparity).unsqueeze(-1))
    golden.check(file, "strat_depths_nojitter", stratified_depths(NEAR, FAR, 48))


@BOTH
def test_inverse_cdf_matches_golden(file, dtype):
    bins, weights, u = (golden.tensor("rendering", f"pdf_{name}", dtype) for name in ("bins", "weights", "u"))
    golden.check(file, "pdf_random", sample_pdf(bins, weights, u))
    golden.check(file, "pdf_det", sample_pdf(bins, weights, torch.linspace(0, 1, 16, dtype=dtype).expand(6, -1)))


@BOTH
def test_importance_depths_match_golden(file, dtype):
    depths, weights = (golden.tensor("rendering", f"imp_{name}", dtype)[..., 0] for name in ("depths", "weights"))
    u = golden.tensor("rendering", "imp_u", dtype).reshape(2, 9, 10)
    golden.check(file, "imp_random", importance_depths(depths, weights, u).unsqueeze(-1))
    even = torch.linspace(0, 1, 10, dtype=dtype).expand(2, 9, -1)
    golden.check(file, "imp_det", importance_depths(depths, weights, even).unsqueeze(-1))


@pytest.mark.parametrize("disparity", [False, True])
def test_depths_without_jitter_include_both_ends(disparity):
    depths = stratified_depths(NEAR, FAR, 12, disparity=disparity)
    assert depths[0].item() == pytest.approx(NEAR) and depths[-1].item() == pytest.approx(FAR)
    step = (1 / depths if disparity else depths).diff()
    torch.testing.assert_close(step, step.mean().expand(11))


def test_jitter_moves_forward_by_up_to_one_step():
    step = (FAR - NEAR) / 11
    still, moved = (stratified_depths(NEAR, FAR, 12, torch.full([12], j)) for j in (0.0, 1.0))
    torch.testing.assert_close(moved, still + step)


def test_smoothing_takes_the_larger_neighbour_then_the_mean():
    """e = [w0, max(w0, w1), ..., w_last]; neighbours of e averaged, plus a floor of 0.01."""
    w = torch.tensor([[[0.5, 0.1, 0.0, 0.3]]])
    e = torch.tensor([0.5, 0.5, 0.1, 0.3, 0.3])
    torch.testing.assert_close(smooth_weights(w), ((e[1:] + e[:-1]) / 2 + 0.01).reshape(1, 1, 4))


def test_importance_samples_gather_where_the_weight_is():
    depths = torch.linspace(NEAR, FAR, 48).reshape(1, 1, 48)
    weights = torch.zeros(1, 1, 47)
    weights[..., 20] = 1
    fine = importance_depths(depths, weights, torch.linspace(0, 1, 200).reshape(1, 1, 200))
    near_peak = (fine > depths[..., 18]) & (fine < depths[..., 23])
    assert near_peak.float().mean() > 0.6
    assert fine.min() >= NEAR and fine.max() <= FAR and (fine.diff() >= 0).all()


def test_empty_rays_are_sampled_evenly():
    depths = torch.linspace(NEAR, FAR, 48).reshape(1, 1, 48)
    fine = importance_depths(depths, torch.zeros(1, 1, 47), torch.linspace(0, 1, 46).reshape(1, 1, 46))
    torch.testing.assert_close(fine.diff(), torch.full_like(fine[..., 1:], (FAR - NEAR) / 47), atol=2e-4, rtol=0)
