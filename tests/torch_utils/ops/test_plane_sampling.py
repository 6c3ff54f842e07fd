"""Tri-plane lookup: golden vectors, equality with grid_sample, borders, derivatives, layouts, dtypes."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.helpers import golden
from tests.helpers.tiny import normal, seeded, uniform
from torch_utils.ops import plane_sampling
from torch_utils.ops.plane_sampling import sample_planes, sample_planes_mean

AXES = ((0, 1), (0, 2), (2, 0))  # the golden planes' (u, v)


def uv_of(xyz: torch.Tensor, box: float) -> torch.Tensor:
    return torch.stack([xyz[..., list(axes)] for axes in AXES], dim=1) * (2 / box)


def by_grid_sample(planes: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    out = F.grid_sample(planes.flatten(0, 1), uv.flatten(0, 1)[:, :, None], align_corners=False)[..., 0]
    return out.transpose(1, 2).unflatten(0, planes.shape[:2])


@pytest.mark.parametrize("file, dtype", [("rendering", torch.float32), ("rendering_f64", torch.float64)])
def test_matches_golden(file, dtype):
    planes = golden.tensor("rendering", "planes", dtype).requires_grad_()
    xyz = golden.tensor("rendering", "sample_xyz", dtype).requires_grad_()
    out = sample_planes(planes, uv_of(xyz, float(golden.load("rendering")["sample_box_warp"])))
    golden.check(file, "sample_out", out)
    golden.check(file, "sample_out_box_warp2", sample_planes(planes, uv_of(xyz[:, :40], 2)))
    dout = golden.seeded(golden.load("rendering")["sample_dout_seed"], out.shape).to(dtype)
    dplanes, dxyz = torch.autograd.grad(out, [planes, xyz], dout)
    golden.check(file, "sample_dxyz", dxyz)
    golden.check(file, "sample_dplanes_c0", dplanes[:, :, :2])
    golden.check(file, "sample_dplanes_stat", golden.stat(dplanes))


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (1, 6)])
def test_equals_grid_sample(size):
    """Inside, across the border, far outside; values and gradients, on asymmetric planes."""
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(2, 3, 4, *size, dtype=torch.float64, generator=generator, requires_grad=True)
    uv = (torch.randn(2, 3, 300, 2, dtype=torch.float64, generator=generator) * 1.5).requires_grad_()
    ours, theirs = sample_planes(planes, uv), by_grid_sample(planes, uv)
    torch.testing.assert_close(ours, theirs)
    dout = torch.randn(ours.shape, dtype=torch.float64, generator=generator)
    for a, b in zip(*(torch.autograd.grad(out, [planes, uv], dout) for out in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(sample_planes_mean(planes, uv), theirs.mean(1))


def test_edges_and_bad_coordinates():
    """The edge of the plane has half the border pixel's value; beyond one pixel, and at infinity, all is zero."""
    planes = torch.ones(1, 1, 1, 4, 4)
    u = torch.tensor([-1.0, 1.0, -0.75, -1.25, 1.26, 1e30, -math.inf, math.nan])
    out = sample_planes(planes, torch.stack([u, torch.zeros_like(u)], -1)[None, None])[0, 0, :, 0]
    torch.testing.assert_close(out[:7], torch.tensor([0.5, 0.5, 1, 0, 0, 0, 0]))
    assert out[7].isnan()


@pytest.mark.parametrize("function", [sample_planes, sample_planes_mean])
@seeded(0)
def test_derivatives(function):
    generator = torch.Generator().manual_seed(0)
    planes = torch.randn(2, 2, 2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    uv = (torch.rand(2, 2, 5, 2, dtype=torch.float64, generator=generator) * 2.4 - 1.2).requires_grad_()
    torch.autograd.gradcheck(function, (planes, uv))
    torch.autograd.gradgradcheck(function, (planes, uv))
    torch.autograd.gradgradcheck(lambda planes: function(planes, uv.detach()).square(), planes)


def test_channels_last_planes_are_not_copied():
    """Planes as a network makes them, [N, P C, H, W] channels-last, are read in place; so are their gradients."""
    image = normal(0, 2, 3 * 8, 6, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    uv = uniform(1, 2, 3, 50, 2) * 2 - 1
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        out = sample_planes_mean(image.view(2, 3, 8, 6, 5), uv)
    assert image.data_ptr() in kept
    (dimage,) = torch.autograd.grad(out.square().sum(), image)
    assert dimage.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(out, by_grid_sample(image.view(2, 3, 8, 6, 5), uv).mean(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_planes(dtype):
    """Coordinates and weights stay in float32 until the lookup."""
    planes = normal(0, 1, 3, 8, 16, 16).requires_grad_()
    uv = uniform(1, 1, 3, 40, 2) * 2 - 1
    expected = sample_planes_mean(planes, uv)
    half = planes.detach().to(dtype).requires_grad_()
    uv.requires_grad_()
    out = sample_planes_mean(half, uv)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.02)
    expected = sample_planes_mean(planes, uv)
    for a, b in zip(
        torch.autograd.grad(out.float().sum(), [half, uv]),
        torch.autograd.grad(expected.sum(), [planes, uv]),
        strict=True,
    ):
        assert (a - b).norm() <= 0.02 * b.norm()


def test_empty_set_of_points():
    planes = normal(0, 1, 3, 4, 5, 5).requires_grad_()
    out = sample_planes_mean(planes, torch.zeros(1, 3, 0, 2))
    assert out.shape == (1, 0, 4)
    assert torch.autograd.grad(out.sum(), planes)[0].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_both_ways_of_adding_to_the_table_agree(monkeypatch, dtype):
    """By columns on a CPU, by a sort elsewhere; rows that no point takes, and one that all take, among them."""
    planes = normal(0, 2, 3, 5, 8, 8).to(dtype).requires_grad_()
    uv = uniform(1, 2, 3, 400, 2) * 1.2 - 0.9
    uv[:, :, :100] = 0.3
    dout = normal(2, 2, 400, 5).to(dtype)

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(sample_planes_mean(planes, uv), planes, dout)[0].double()

    by_columns = gradient()
    monkeypatch.setattr(plane_sampling, "_spread_by_column", plane_sampling._spread_sorted)
    by_sort = gradient()
    rounding = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 1e-2}[dtype]
    assert (by_columns - by_sort).norm() <= rounding * by_sort.norm()
    assert by_sort.norm() > 0
