"""Ray marching: golden vectors with gradients, empty and opaque rays, backgrounds, surface points."""

import pytest
import torch

from tests.helpers import golden
from tests.helpers.tiny import normal, uniform
from training.rendering import marching

BOTH = pytest.mark.parametrize("file, dtype", [("rendering", torch.float32), ("rendering_f64", torch.float64)])


def inputs(dtype):
    """Colours [2, 9, 14, 4], densities [2, 9, 14], depths [2, 9, 14]."""
    colours, densities, depths = (
        golden.tensor("rendering", f"march_{name}", dtype) for name in ("colors", "densities", "depths")
    )
    return colours, densities[..., 0], depths[..., 0]


def composite(weights, values, white=False):
    """Colours [N, R, C] of per-sample values [N, R, S, C]."""
    summed = (marching.sample_weights(weights).unsqueeze(-1) * values).sum(dim=-2)
    return marching.composite_rgb(summed, weights.sum(dim=-1), white)


@BOTH
def test_matches_golden_with_gradients(file, dtype):
    colours, densities, depths = inputs(dtype)
    colours.requires_grad_(), densities.requires_grad_()
    weights = marching.interval_weights(densities, depths)
    rgb = composite(weights, colours)
    golden.check(file, "march_rgb", rgb)
    golden.check(file, "march_weights", weights.unsqueeze(-1))
    golden.check(file, "march_depth", marching.expected_depth(weights, depths).unsqueeze(-1))
    golden.check(file, "march_white_back_rgb", composite(weights, colours, white=True))
    drgb, dweights = (golden.tensor("rendering", f"march_{name}", dtype) for name in ("drgb", "dweights"))
    dcolours, ddensities = torch.autograd.grad([rgb, weights], [colours, densities], [drgb, dweights[..., 0]])
    golden.check(file, "march_dcolors", dcolours)
    golden.check(file, "march_ddensities", ddensities.unsqueeze(-1))


@BOTH
def test_surface_points_match_golden(file, dtype):
    """With points requested the missing opacity is added to the last weight; the depth is unchanged."""
    _, densities, depths = inputs(dtype)
    weights = marching.interval_weights(densities, depths)
    opaque = marching.opaque_weights(weights)
    golden.check(file, "march_rd_weights", opaque.unsqueeze(-1))
    golden.check(file, "march_rd_depth", marching.expected_depth(weights, depths).unsqueeze(-1))
    golden.check(file, "march_rd_weight_total", weights.sum(dim=-1).reshape(2, 3, 3, 1))
    points = golden.tensor("rendering", "march_points", dtype)
    middles = (points[:, :, 1:] + points[:, :, :-1]) / 2
    golden.check(file, "march_rd_xyz", (opaque.unsqueeze(-1) * middles).sum(dim=-2).reshape(2, 3, 3, 3))


def test_empty_and_opaque_rays():
    depths = torch.linspace(1, 2, 8).expand(1, 2, 8)
    densities = torch.full([1, 2, 8], -1e4)
    densities[0, 1] = 1e4
    weights = marching.interval_weights(densities, depths)
    assert weights[0, 0].sum() == 0
    torch.testing.assert_close(weights[0, 1], torch.eye(7)[0])
    rgb = composite(weights, torch.full([1, 2, 8, 3], 0.75))
    torch.testing.assert_close(rgb[0, :, 0], torch.tensor([-1, 0.5]))
    white = composite(weights, torch.full([1, 2, 8, 3], 0.75), white=True)
    torch.testing.assert_close(white[0, :, 0], torch.tensor([1, 0.5]))
    depth = marching.expected_depth(weights, depths)
    torch.testing.assert_close(depth[0], torch.tensor([2, (depths[0, 0, 0] + depths[0, 0, 1]) / 2]))


def test_weights_sum_to_the_opacity_of_the_ray():
    """1 - exp(-integral of softplus(density - 1)) for a constant density, whatever the spacing."""
    depths = torch.tensor([1, 1.1, 1.5, 1.6, 2.0], dtype=torch.float64).reshape(1, 1, 5)
    densities = torch.full_like(depths, 0.7)
    opacity = 1 - torch.exp(-torch.nn.functional.softplus(torch.tensor(-0.3, dtype=torch.float64)))
    torch.testing.assert_close(marching.interval_weights(densities, depths).sum(), opacity)
    assert marching.opaque_weights(marching.interval_weights(densities, depths)).sum().item() == pytest.approx(1)


def test_values_in_half_precision_are_weighted_in_float32():
    """Results and gradients against float64 with the same values."""
    weights, values = normal(0, 2, 9, 14).requires_grad_(), normal(1, 2, 9, 14, 4).bfloat16().requires_grad_()
    dout = normal(2, 2, 9, 4)
    found = marching.weighted_sum(weights, values)
    assert found.dtype == torch.float32
    dweights, dvalues = torch.autograd.grad(found, [weights, values], dout)
    exact = [tensor.detach().double().requires_grad_() for tensor in (weights, values)]
    expected = marching.weighted_sum(*exact)
    assert dvalues.dtype == torch.bfloat16
    pairs = zip(
        (found, dweights, dvalues), (expected, *torch.autograd.grad(expected, exact, dout.double())), strict=True
    )
    for (half, full), rounding in zip(pairs, (1e-6, 1e-6, 2.0**-8), strict=True):
        assert (half - full).norm() <= rounding * full.norm()


def test_sums_of_colours_are_widened_as_colours_are():
    weights, colours = uniform(0, 2, 9, 14, dtype=torch.float64), uniform(1, 2, 9, 14, 4, dtype=torch.float64)
    before = marching.weighted_sum(weights, marching.widened(colours))
    total = weights.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(marching.widened(marching.weighted_sum(weights, colours), total), before)
    ends = marching.widened(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends, torch.tensor([-0.001, 1.001]))
