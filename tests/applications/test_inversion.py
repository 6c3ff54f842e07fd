"""The search for latents: what falls, what is tied, what stays, and going on as if nothing had been."""

import math

import pytest
import torch

from applications.inversion import LatentSpace, Search, Work, learning_rate_ramp
from applications.targets import Target
from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.inverting import finish, own_target, search
from torch_utils import checkpoint
from training.networks.generator import Generator

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def G() -> Generator:
    return tiny.generator()


def assert_same(a: Search, b: Search) -> None:
    """The two searches hold the same numbers, to the bit."""
    for one, other in zip([a.ws, *a.motion, *a.offsets], [b.ws, *b.motion, *b.offsets], strict=True):
        assert torch.equal(one, other)


def test_a_picture_of_the_generator_is_found_again(G):
    target = own_target(G)
    losses = finish(search(G, target, steps=150))
    assert losses[-1] < 0.03 * losses[0]


def test_weights_and_their_gradients_stay(G):
    before = {name: value.clone() for name, value in G.state_dict().items()}
    finish(search(G, own_target(G), steps=3))
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in G.parameters())


def test_w_has_one_latent_for_all_layers_and_w_plus_one_each(G):
    for space, is_tied in (("w", True), ("w+", False)):
        done = search(G, own_target(G), space=space)
        finish(done)
        ws = done.latents("").ws
        assert ws.shape == (G.num_ws, G.config.w_dim)
        assert torch.equal(ws, ws[:1].expand_as(ws)) == is_tied


def test_the_mean_is_a_start_of_its_own_and_the_best_start_is_taken(G):
    target = own_target(G)
    alone = search(G, target, starts=0)
    assert torch.equal(alone.ws[0], alone.space.mean.expand(G.num_ws, -1))
    errors = [search(G, target, starts=starts).step() for starts in (0, 3, 20)]
    assert errors[0] >= errors[1] >= errors[2] and errors[0] > errors[2]


def test_gradients_of_restarts_are_those_of_searches_alone(G):
    target = own_target(G, frames=2)
    both = search(G, target, with_motion=True, restarts=2, work=Work(frames_per_pass=8))
    both.step()
    for index in range(2):
        one = search(G, target, with_motion=True, restarts=2)
        one._take(one.ws.detach()[index : index + 1], [m.detach()[:1] for m in one.motion], [])
        one.step()
        torch.testing.assert_close(both.ws[index], one.ws[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(both.losses[index], one.losses[0], rtol=1e-5, atol=1e-7)


def test_the_better_restart_goes_on_and_adam_remembers(G):
    target = own_target(G)
    both = search(G, target, restarts=2, steps=20)
    for _ in range(5):
        both.step()
    best = int(both.losses.argmin())
    ws = both.ws.detach()[best].clone()
    moments = both.optimizer.state[both.ws]["exp_avg"][best].clone()
    both._go_on_alone()
    assert torch.equal(both.ws.detach()[0], ws)
    kept = both.optimizer.state[both.ws]
    assert torch.equal(kept["exp_avg"][0], moments) and kept["step"] == 5


def test_a_step_leaves_frames_that_it_does_not_see(G):
    one = search(G, own_target(G, frames=5), with_motion=True, frames_per_step=2)
    for _ in range(3):
        before = [code.detach().clone() for code in one.motion]
        seen = set(one._frames_of_step().tolist())
        one.step()
        moved = {number for number, code in enumerate(one.motion) if not torch.equal(code, before[number])}
        assert moved == seen and len(seen) == 2


def test_passes_and_recomputing_change_nothing(G):
    target = own_target(G, frames=3)
    ways = [Work(frames_per_pass=1), Work(frames_per_pass=3), Work(frames_per_pass=3, recompute=True)]
    found = []
    for work in ways:
        one = search(G, target, with_motion=True, work=work, fit_cameras=True, symmetry=0.1, frames_per_step=3, steps=3)
        finish(one)
        found.append(one)
    assert_same(found[1], found[2])
    torch.testing.assert_close(found[0].ws, found[1].ws, rtol=1e-4, atol=1e-5)


def test_without_motion_time_stands_at_zero(G):
    one = search(G, own_target(G))
    finish(one)
    latents = one.latents("")
    assert latents.times.tolist() == [0.0] and not latents.z_motion.any()


def test_cameras_are_found_again(G):
    """A head seen from a little beside: the cameras that are searched for come nearer to the true one."""
    target = own_target(G)
    wrong = Target(name="", images=target.images, cameras=tiny.labels(7, 1), fps=25.0)
    fixed = search(G, wrong, steps=60)
    free = search(G, wrong, steps=60, fit_cameras=True, camera_pull=0.0, camera_lr=0.02)
    assert finish(free)[-1] < finish(fixed)[-1]
    assert torch.equal(fixed.latents("").cameras, wrong.cameras)
    assert not torch.equal(free.latents("").cameras, wrong.cameras)


def test_pulls_pull(G):
    target = own_target(G, frames=3)
    loose = search(G, target, with_motion=True, steps=30, motion_pull=0.0, motion_smooth=0.0)
    tight = search(G, target, with_motion=True, steps=30, motion_pull=0.1, motion_smooth=0.0, mean_pull=0.3)
    for one in (loose, tight):
        finish(one)
    size = [one.latents("").z_motion.norm() for one in (loose, tight)]
    strange = [one.space.strangeness(one.ws).item() for one in (loose, tight)]
    assert size[1] < size[0] and strange[1] < strange[0]


def test_motion_becomes_smooth(G):
    one = search(G, own_target(G, frames=4), with_motion=True, steps=40, motion_smooth=1e3)
    one._take(one.ws.detach(), [tiny.normal(frame, 1, 8) for frame in range(4)], [])
    before = one.latents("").z_motion.diff(dim=0).norm()
    finish(one)
    assert one.latents("").z_motion.diff(dim=0).norm() < 0.6 * before


def test_strangeness_of_ordinary_latents_is_one(G):
    space = LatentSpace.of(G, tiny.labels(0, 1)[0], seed=3)
    ws = space.mean + space.spread * tiny.normal(5, 400, 2, G.config.w_dim)
    assert space.strangeness(ws).mean().item() == pytest.approx(1, abs=0.05)
    assert space.strangeness(space.mean.expand(1, 2, -1)).item() == 0


@pytest.mark.parametrize("with_motion", [False, True])
@pytest.mark.parametrize("stop", [1, 2, 3, 7])  # before, at and after the restart that goes on alone (12 / 4 steps)
def test_an_interrupted_search_goes_on_to_the_bit(G, tmp_path, with_motion, stop):
    target = own_target(G, frames=3 if with_motion else 1)
    choices = {"with_motion": with_motion, "restarts": 2, "fit_cameras": True, "frames_per_step": 2}
    whole = search(G, target, **choices)
    finish(whole)
    first = search(G, target, **choices)
    for _ in range(stop):
        first.step()
    checkpoint.save(tmp_path / "state.pt", {"search": first.state()}, "inversion")
    second = search(G, target, **choices)
    second.restore(checkpoint.load(tmp_path / "state.pt", "inversion")["search"])
    finish(second)
    assert_same(whole, second)


def test_the_ramp_rises_stays_and_falls_to_nothing():
    assert learning_rate_ramp(0) == pytest.approx(1e-3, abs=1e-6)
    assert learning_rate_ramp(0.05) == pytest.approx(1)
    assert learning_rate_ramp(0.7) == 1
    assert learning_rate_ramp(0.85) == pytest.approx(0.5 - 0.5 * math.cos(math.pi / 2))
    assert learning_rate_ramp(1.0) == 0


def test_what_cannot_be_inverted_is_refused(G):
    large = Target(name="big", images=torch.zeros(1, 3, 64, 64), cameras=tiny.labels(0, 1), fps=25.0)
    with pytest.raises(UserError, match="big has frames of 64 pixels, the model of 32"):
        search(G, large)
    naive = tiny.generator(generator__motion_generator="naive")
    with pytest.raises(UserError, match="motion layers"):
        search(naive, own_target(G))


def test_frames_are_searched_from_the_cameras_that_show_them():
    """An ablation sees a whole clip by its first camera."""
    G = tiny.generator(generator__camera_mode="All")
    target = own_target(G, frames=3)
    found = search(G, target, with_motion=True).latents("")
    assert torch.equal(found.cameras, target.cameras[:1].expand(3, -1))
