"""training.motion_likeness: alike, independent and opposite motions; its gradient; its part in the G reg phase."""

import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.options import override
from tests.helpers import ablations, tiny
from training import motion_likeness as module
from training.config import preset, validate
from training.loss import Schedule
from training.motion_likeness import motion_likeness

B = 3


def inputs(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    G = ablations.generator("default", dtype)
    cameras = tiny.labels(2, B, dtype=dtype)
    ws = G.mapping(tiny.normal(0, B, 8, dtype=dtype), cameras)
    t = torch.full([B, 1], 0.8, dtype=dtype)
    return {"ws": ws, "camera": cameras, "t": t}


def test_one_code_is_like_itself_and_codes_that_nobody_hears_are_too():
    G = ablations.generator("default", torch.float64)
    code = 20 * tiny.normal(1, B, 8, dtype=torch.float64)  # a tiny model hardly moves
    likeness = motion_likeness(G, **inputs(), z_motion=code, others=code)
    assert likeness.shape == (B,)
    torch.testing.assert_close(likeness, torch.ones(B, dtype=torch.float64), atol=0.05, rtol=0)
    others = motion_likeness(G, **inputs(), z_motion=code, others=20 * tiny.normal(5, B, 8, dtype=torch.float64))
    assert (others < likeness - 0.01).all()


@pytest.mark.parametrize("second, expected", [(1.0, 1.0), (-1.0, -1.0), (0.0, 0.0), (2.0, 0.8)])
def test_it_is_the_product_over_the_mean_square_whatever_the_size(monkeypatch, second, expected):
    """Changes of 1 and of `second` times the same picture: 2 s / (1 + s^2)."""
    picture = tiny.normal(3, B, 3, 8, 8, dtype=torch.float64)
    start = tiny.normal(4, B, 3, 8, 8, dtype=torch.float64)
    for size in (0.1, 5.0):
        codes = {"first": size, "other": size * second}

        def raw(G, ws, camera, t, name, codes=codes):
            return start + picture * codes[name] * t.view(-1, 1, 1, 1)

        monkeypatch.setattr(module, "_raw_images", raw)
        t = torch.ones(B, 1, dtype=torch.float64)
        found = motion_likeness(None, None, None, t, "first", "other")
        torch.testing.assert_close(found, torch.full([B], expected, dtype=torch.float64), atol=1e-3, rtol=0)


def test_its_gradient_is_that_of_finite_differences():
    G = ablations.generator("default", torch.float64)
    given = inputs()
    code, others = (tiny.normal(seed, B, 8, dtype=torch.float64) for seed in (1, 2))
    weight = next(value for name, value in G.named_parameters() if name.endswith("motion_mlp.1.weight"))
    weight.requires_grad_()
    gradient = torch.autograd.grad(motion_likeness(G, **given, z_motion=code, others=others).sum(), weight)[0]
    way = tiny.normal(7, *weight.shape, dtype=torch.float64)
    found = []
    with torch.no_grad():
        for step in (1e-6, -1e-6):
            weight.add_(way, alpha=step)
            found.append(motion_likeness(G, **given, z_motion=code, others=others).sum())
            weight.sub_(way, alpha=step)
    slope = (found[0] - found[1]) / 2e-6
    assert float((gradient * way).sum()) == pytest.approx(float(slope), rel=2e-3)  # some activation is near its kink
    assert abs(float(slope)) > 1e-6


def test_bfloat16_rounds_nothing_of_it():
    """It would round the start, which both changes share: as much as moves in a short time."""
    found = {}
    for precision in (None, torch.bfloat16):
        G = ablations.generator("default", torch.float32)
        G.precision = precision
        weight = next(value for name, value in G.named_parameters() if name.endswith("motion_mlp.1.weight"))
        weight.requires_grad_()
        code, others = (tiny.normal(seed, B, 8) for seed in (1, 2))
        given = inputs(torch.float32)
        likeness = motion_likeness(G, **given, z_motion=code, others=others)
        found[precision] = likeness.detach(), *torch.autograd.grad(likeness.sum(), weight)
        planes = G.planes(given["ws"], code, given["t"])
        assert planes.dtype == (precision or torch.float32), "all else is as precise as before"
    for exact, rounded in zip(*found.values(), strict=True):
        assert exact.abs().max() > 0 and torch.equal(exact, rounded)


@pytest.mark.parametrize("change", [{"generator.motion_generator": "naive"}, {"generator.motion_code": "z_a"}])
def test_models_without_a_motion_of_their_own_are_refused(change):
    config = override(preset("demo"), {"loss.lambda_motion": 1.0, **change})
    with pytest.raises(UserError, match="--lambda-motion compares motions of one appearance"):
        validate(config)


def test_the_phase_weighs_both_terms():
    """Gradients of G reg are those of density and likeness, each times its weight; without one it is not made."""

    def gradients(density: float, motion: float) -> tuple[torch.Tensor, dict]:
        config = tiny.config(loss__lambda_reg=density, loss__lambda_motion=motion)
        networks = tiny.networks(config)
        networks.G.requires_grad_()
        report = tiny.loss(networks, config).g_reg(tiny.fakes(config), Schedule(blur_sigma=0.0, swap_probability=0.0))
        parameters = list(networks.G.parameters())
        found = [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]
        return torch.cat(found), report

    only_density, first = gradients(0.5, 0.0)
    only_motion, second = gradients(0.0, 2.0)
    both, third = gradients(0.5, 2.0)
    assert set(first) == {"loss/g_reg"} and set(second) == {"loss/motion_likeness"} and set(third) == {*first, *second}
    # Without the density's points the streams give the likeness other codes, so its size alone is compared.
    assert only_motion.norm() > 0 and (both - only_density).norm() > 0
    doubled, _ = gradients(0.5, 4.0)
    torch.testing.assert_close(doubled - only_density, 2 * (both - only_density), rtol=1e-3, atol=1e-6)


def test_gradients_do_not_depend_on_how_clips_are_divided():
    config = tiny.config(loss__lambda_reg=0.5, loss__lambda_motion=2.0)
    fakes = tiny.fakes(config, clips=4)
    schedule = Schedule(blur_sigma=0.0, swap_probability=0.5)
    count = len(fakes.z)

    def gradients(passes: int) -> torch.Tensor:
        networks = tiny.networks(config)
        networks.G.requires_grad_()
        loss = tiny.loss(networks, config)
        size = count // passes
        for start in range(0, count, size):
            part = fakes.rows(slice(start, start + size))
            loss.g_reg(part, schedule, gain=1 / passes)
        found = [torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in networks.G.parameters()]
        return torch.cat(found)

    whole = gradients(1)
    assert whole.norm() > 0 and count > 1
    torch.testing.assert_close(gradients(count), whole, rtol=1e-3, atol=1e-5)
