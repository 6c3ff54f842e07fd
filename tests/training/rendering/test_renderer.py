"""The volume renderer: golden vectors with gradients and everything in between, planes' axes, randomness, options."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from tests.helpers import golden
from tests.helpers.recording import spy
from tests.helpers.tiny import seeded
from tests.helpers.weights import fill
from training.config import RenderingConfig
from training.networks.decoder import Decoder
from training.rendering import marching, renderer
from training.rendering.rays import camera_rays
from training.rendering.renderer import PLANE_COORDINATES, decode, project_to_planes, render

CONFIG = RenderingConfig()
PARAMETERS = ("net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias")
BOTH = [("rendering", torch.float32), ("rendering_f64", torch.float64)]


@dataclass
class Scene:
    """The golden planes and decoder under two cameras with 16 x 16 rays, and what the renderer did on the way."""

    file: str
    planes: torch.Tensor
    decoder: Decoder
    rays: tuple[torch.Tensor, torch.Tensor]
    seen: renderer.Rendered
    weights_calls: list[Any]
    fine_calls: list[Any]


@pytest.fixture(scope="module", params=BOTH, ids=[file for file, _ in BOTH])
def scene(request):
    file, dtype = request.param
    planes = golden.tensor("rendering", "planes", dtype).requires_grad_()
    decoder = fill(Decoder(32, 64, 32), "decoder.").to(dtype)
    rays = camera_rays(golden.tensor("rendering", "ray_camera", dtype)[:2], 16)
    with pytest.MonkeyPatch.context() as patch:
        weights_calls = spy(patch, marching, "interval_weights")
        fine_calls = spy(patch, renderer, "importance_depths")
        seen = render(planes, decoder, *rays, config=CONFIG, with_points=True)
    return Scene(file, planes, decoder, rays, seen, weights_calls, fine_calls)


def test_image_depth_and_opacity_match_golden(scene):
    golden.check(scene.file, "render_rgb", scene.seen.features)
    golden.check(scene.file, "render_depth", scene.seen.depth.unsqueeze(-1))
    golden.check(scene.file, "render_weights_sum", scene.seen.opacity.unsqueeze(-1))


def test_surface_points_match_golden(scene):
    golden.check(scene.file, "render_rd_xyz", scene.seen.points.reshape(2, 16, 16, 3))
    golden.check(scene.file, "render_rd_weight_total", scene.seen.opacity.reshape(2, 16, 16, 1))
    opaque = marching.opaque_weights(scene.weights_calls[-1].output)
    golden.check(scene.file, "render_rd_weights_sum", opaque.sum(dim=-1, keepdim=True))


def test_both_passes_match_golden(scene):
    """The coarse pass's weights, the fine depths drawn from them, then all 96 samples in order (every 16th ray)."""
    coarse, final = scene.weights_calls
    density, depths = (x[:, ::16].unsqueeze(-1) for x in final.inputs)
    golden.check(scene.file, "render_coarse_weights", coarse.output[:, ::16].unsqueeze(-1))
    golden.check(scene.file, "render_fine_depths", scene.fine_calls[0].output[:, ::16].unsqueeze(-1))
    golden.check(scene.file, "render_sorted_depths", depths)
    golden.check(scene.file, "render_sorted_sigma", density)


def test_gradients_match_golden(scene):
    features = scene.seen.features
    parameters = dict(scene.decoder.named_parameters())
    drgb = golden.seeded(golden.load("rendering")["render_drgb_seed"], features.shape).to(features.dtype)
    dplanes, *ddecoder = torch.autograd.grad(features, [scene.planes, *(parameters[p] for p in PARAMETERS)], drgb)
    golden.check(scene.file, "render_dplanes_stat", golden.stat(dplanes))
    golden.check(scene.file, "render_dplanes_c0", dplanes[:, :, :1])
    for name, gradient in zip(PARAMETERS, ddecoder, strict=True):
        golden.check(scene.file, f"render_ddecoder.{name}", gradient)


@pytest.mark.parametrize("file, dtype", BOTH)
def test_projection_matches_golden(file, dtype):
    """An axis matrix's inverse has the two coordinates that its plane sees as its first two columns."""
    points = golden.tensor("rendering", "sample_xyz", dtype)[:, :5]
    golden.check(file, "projected_xyz", project_to_planes(points, "reference"))
    seen = project_to_planes(torch.eye(3, dtype=dtype)[None], "reference")[0]
    inverse = torch.cat([seen, 1 - seen.sum(dim=-1, keepdim=True)], dim=-1)
    golden.check(file, "plane_axes_inverse", inverse)
    golden.check(file, "plane_axes", torch.linalg.inv(inverse))


def test_only_orthogonal_axes_see_y_and_z_together():
    assert {frozenset(pair) for pair in PLANE_COORDINATES["reference"]} == {frozenset({0, 1}), frozenset({0, 2})}
    pairs = {frozenset(pair) for pair in PLANE_COORDINATES["orthogonal"]}
    assert pairs == {frozenset({0, 1}), frozenset({0, 2}), frozenset({1, 2})}


@pytest.fixture
def small():
    """Planes, decoder and rays of a little scene in float64, and its configuration."""
    random = torch.Generator().manual_seed(0)
    planes = torch.randn(3, 3, 4, 8, 8, generator=random, dtype=torch.float64) * 3
    decoder = fill(Decoder(4, 8, 4), "decoder.").double()
    rays = camera_rays(golden.tensor("rendering", "ray_camera", torch.float64), 5)
    return planes, decoder, rays, replace(CONFIG, depth_samples=8, importance_samples=8)


def run(small, random=None, with_points=False, rows=slice(None), **changes):
    planes, decoder, rays, config = small
    origins, directions = (x[rows] for x in rays)
    with torch.no_grad():
        return render(
            planes[rows],
            decoder,
            origins,
            directions,
            config=replace(config, **changes),
            random=random,
            with_points=with_points,
        )


def test_deterministic_rendering_does_not_depend_on_the_rest_of_the_batch(small):
    together = run(small, with_points=True)
    for i in range(3):
        alone = run(small, with_points=True, rows=slice(i, i + 1))
        for name, value in vars(alone).items():
            torch.testing.assert_close(value[0], getattr(together, name)[i])


def test_random_rendering_follows_its_generator(small):
    still = run(small).features
    first, again, other = (run(small, torch.Generator().manual_seed(seed)).features for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first, still)


def test_true_draws_from_torchs_own_generator(small):
    with seeded(0):
        first = run(small, True).features
        second = run(small, True).features
    with seeded(0):
        again = run(small, True).features
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_more_samples_bring_random_and_even_spacing_together(small):
    def distance(**samples: int) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        return (run(small, random, **samples).features - run(small, **samples).features).abs().mean()

    assert distance(depth_samples=200, importance_samples=200) < distance() / 4


def test_points_lie_on_their_rays(small):
    seen = run(small, with_points=True)
    origins, directions = small[2]
    along = ((seen.points - origins) * directions).sum(dim=-1)
    torch.testing.assert_close(seen.points, origins + along.unsqueeze(-1) * directions)
    assert along.min() > CONFIG.near and along.max() < CONFIG.far
    assert run(small).points is None


def test_no_gradient_through_the_fine_depths(small, monkeypatch):
    planes, decoder, rays, config = small
    calls = spy(monkeypatch, renderer, "importance_depths")
    render(planes.requires_grad_(), decoder, *rays, config=config)
    assert len(calls) == 1 and not calls[0].output.requires_grad


def test_without_importance_samples_one_pass_is_made(small, monkeypatch):
    calls = spy(monkeypatch, marching, "interval_weights")
    seen = run(small, importance_samples=0)
    assert len(calls) == 1 and seen.features.shape == (3, 25, 4)


def test_white_background_fills_what_is_empty(small):
    black, white = run(small), run(small, white_background=True)
    assert (black.opacity < 0.99).any()
    expected = black.features + 2 * (1 - black.opacity).unsqueeze(-1)
    torch.testing.assert_close(white.features, expected)


def test_the_box_bounds_the_planes(small):
    """Points outside the cube of side `box_side` see zeros; twice the side stretches the same picture."""
    planes, decoder, _, config = small
    inside = torch.rand(3, 40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.9 - 0.45
    density, colours = decode(planes, decoder, inside, config)
    wide = decode(planes, decoder, inside * 2, replace(config, box_side=2.0))
    torch.testing.assert_close((density, colours), wide)
    outside = torch.tensor([[[0.6, 0.7, -0.8]]], dtype=torch.float64).expand(3, 1, 3)
    empty = decoder(torch.zeros(3, 1, 4, dtype=torch.float64))
    torch.testing.assert_close(decode(planes, decoder, outside, config), empty)


@pytest.mark.parametrize("axes, depends", [("reference", False), ("orthogonal", True)])
def test_third_plane_sees_y_only_if_orthogonal(small, axes, depends):
    planes, decoder, _, config = small
    planes = planes.clone()
    planes[:, :2] = 0
    point = torch.tensor([[[0.1, 0.2, -0.2]]], dtype=torch.float64)
    moved = point + torch.tensor([0, 0.15, 0], dtype=torch.float64)
    values = [decode(planes[:1], decoder, p, replace(config, plane_axes=axes))[0] for p in (point, moved)]
    assert torch.equal(*values) != depends


@pytest.mark.parametrize("white", [False, True])
def test_planes_in_half_precision_give_the_same_picture_in_float32(small, white):
    """Depth, opacity and compositing stay float32; gradients for the planes are theirs, rounded."""
    planes, decoder, rays, config = small
    planes, rays = planes.float(), tuple(x.float() for x in rays)
    decoder = decoder.float()
    config = replace(config, white_background=white, importance_samples=0)  # which would fall elsewhere
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        own = planes.to(dtype).requires_grad_()
        seen = render(own, decoder, *rays, config=config, with_points=True)
        assert {value.dtype for value in vars(seen).values()} == {torch.float32}
        (gradient,) = torch.autograd.grad(seen.features.square().sum() + seen.opacity.sum(), own)
        found.append({**vars(seen), "gradient": gradient})
    exact, half = found
    assert half["gradient"].dtype == torch.bfloat16
    for name, value in exact.items():
        assert (half[name] - value).norm() <= 2e-2 * value.norm(), name
