"""training.networks.motion_chain: offsets of latents, by what MoCoGAN-HD says of them."""

import pytest
import torch
from torch.nn.functional import linear

from tests.helpers import tiny
from training.networks.motion_chain import STEP, MotionChain

W, HIDDEN, STEPS = 8, 6, 15


def chain(deviations: torch.Tensor | None = None) -> MotionChain:
    """Return a chain in float64 along orthonormal components, of large steps."""
    with tiny.seeded(0):
        made = MotionChain(W, HIDDEN, STEPS).double()
    made.components.copy_(torch.linalg.qr(tiny.normal(1, W, W, dtype=torch.float64))[0])
    made.deviations.copy_(torch.linspace(3, 1, W) if deviations is None else deviations)
    made.step.weight.data *= 500
    return made.requires_grad_(False)


def codes(seed: int, clips: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return first latents and motion codes of clips."""
    return tiny.normal(seed, clips, W, dtype=torch.float64), tiny.normal(
        seed + 1, clips, W * STEPS, dtype=torch.float64
    )


def test_sizes_of_the_paper():
    published = MotionChain(512, 384, 15)
    lstm = 4 * 384 * (512 + 384 + 2)
    heads = 384 * 384 + 384 + (768 + 1) * 512 + (512 + 1) * 512
    assert sum(parameter.numel() for parameter in published.parameters()) == 2 * lstm + heads


def test_it_begins_as_published():
    with tiny.seeded(0):
        made = MotionChain(32, 24, STEPS).requires_grad_(False)
    for name, value in made.named_parameters():
        if "bias" in name:
            assert (value == 0).all(), name
        elif name == "step.weight":
            assert float(value.std()) == pytest.approx(0.02, rel=0.1)
        else:
            short = value if value.shape[0] <= value.shape[1] else value.mT
            torch.testing.assert_close(short @ short.mT, torch.eye(len(short)), atol=1e-5, rtol=0)


def test_without_weights_all_frames_are_the_first():
    """tanh(0) = 0: a clip stands still, whatever its noise."""
    made = chain()
    made.step.weight.zero_()
    offsets, _ = made(*codes(0))
    assert offsets.shape == (3, STEPS + 1, W) and (offsets == 0).all()
    w, z = codes(0)
    assert (made.at(w, z, torch.full([3, 1], 2.5)) == 0).all()


def test_no_step_is_longer_than_a_fifth_of_a_deviation():
    made = chain()
    offsets, _ = made(*codes(2, clips=40))
    along = offsets.diff(dim=1) @ made.components.mT
    bound = STEP * made.deviations[:HIDDEN]
    greatest = along.abs().amax(dim=(0, 1))
    assert (greatest[:HIDDEN] <= bound).all()
    assert (greatest[:HIDDEN] > 0.8 * bound).all(), "large weights come near"
    assert (greatest[HIDDEN:] < 1e-12).all(), "nothing moves along the others"


def test_the_equations_of_a_step():
    """An LSTM cell by hand: gates i, f, g, o of noise and hidden state, and the recurrence of w."""
    made = chain()
    w, z = codes(4)

    def cell(part, x, h, c):
        gates = linear(x, part.weight_ih, part.bias_ih) + linear(h, part.weight_hh, part.bias_hh)
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    zero = w.new_zeros(3, HIDDEN)
    h, c = cell(made.encoder, w, zero, zero)
    moved = w
    offsets, guesses = made(w, z)
    for step in range(STEPS):
        h, c = cell(made.cell, z[:, step * W : (step + 1) * W], h, c)
        a = torch.tanh(h @ made.step.weight.mT + made.step.bias)
        for k in range(HIDDEN):
            moved = moved + 0.2 * a[:, k : k + 1] * made.deviations[k] * made.components[k]
        torch.testing.assert_close(w + offsets[:, step + 1], moved)
        first, _, second = made.guess
        hidden = (torch.cat([h, c], dim=1) @ first.weight.mT + first.bias).clamp(min=0)
        torch.testing.assert_close(guesses[:, step], hidden @ second.weight.mT + second.bias)


def test_times_are_steps_and_between_them_it_goes_evenly():
    made = chain()
    w, z = codes(6)
    offsets, _ = made(w, z)
    for frame in range(STEPS + 1):
        time = torch.tensor([[frame / STEPS]]).expand(3, 1)  # in float32, and so not a step exactly
        torch.testing.assert_close(made.at(w, z, time), offsets[:, frame], rtol=1e-12, atol=1e-12)
    middle = made.at(w, z, torch.full([3, 1], 4.25 / STEPS, dtype=torch.float64))
    torch.testing.assert_close(middle, 0.75 * offsets[:, 4] + 0.25 * offsets[:, 5])
    each = torch.tensor([[0.0], [7 / STEPS], [1.0]])
    torch.testing.assert_close(made.at(w, z, each), torch.stack([offsets[0, 0], offsets[1, 7], offsets[2, 15]]))


def test_it_runs_on_with_its_noise_shifted():
    made = chain()
    w, z = codes(8)
    noise = [made.noise(z, step) for step in range(3 * STEPS)]
    assert torch.equal(torch.cat(noise[:STEPS], dim=1), z)
    for step in range(STEPS):
        assert torch.equal(noise[STEPS + step], noise[step].roll(1, dims=1))
        assert torch.equal(noise[2 * STEPS + step], noise[step].roll(2, dims=1))
    late = [made.at(w, z, torch.full([3, 1], frame / STEPS)) for frame in (STEPS, 2 * STEPS, 2 * STEPS + 1)]
    assert (late[0] - late[1]).norm() > 0.1 and (late[2] - late[1]).norm() > 0.01


def test_motion_depends_on_its_code_and_on_the_appearance():
    made = chain()
    w, z = codes(10)
    here, _ = made(w, z)
    assert (made(w.roll(1, dims=0), z)[0] - here).norm() > 0.01
    assert (made(w, z.roll(1, dims=0))[0] - here).norm() > 0.1
