"""training.chain_loss: losses by their closed forms, what gets gradients, and that a batch may be divided."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.helpers import tiny
from tests.helpers.tiny import CALM
from torch_utils.random_numbers import Streams
from training import chain_loss
from training.chain_loss import ChainLoss, gradient_penalty, relativistic
from training.checkpoints.snapshots import Networks
from training.config import Config
from training.data.streams import Draws
from training.judged import Frames
from training.phases import build_loss, build_phases

pytestmark = pytest.mark.usefixtures("one_thread")
PHASES = [phase.name for phase in build_phases(tiny.config(method="eg3d-mcghd"))]


def networks_of(config: Config, dtype: torch.dtype = torch.float32) -> Networks:
    """Return networks whose motion can be seen."""
    networks = tiny.networks(config, dtype)
    assert networks.G.chain is not None
    networks.G.chain.components.copy_(torch.eye(8))
    networks.G.chain.deviations.copy_(torch.linspace(3, 1, 8))
    networks.G.chain.step.weight.data *= 20
    return networks


def reals(config: Config, clips: int, dtype: torch.dtype = torch.float32) -> Frames:
    frames = config.training.frames
    image = tiny.normal(50, clips * frames, 3, 32, 32, dtype=dtype).clamp(-1, 1)
    times = torch.linspace(0, 1, frames, dtype=dtype).expand(clips, -1)
    return Frames(image=image, image_raw=image, times=times, cameras=tiny.labels(51, clips * frames, dtype=dtype))


def made_loss(networks: Networks, config: Config, **choices) -> ChainLoss:
    loss = build_loss(networks, config, **{"noise_mode": "const", "deterministic": True} | choices)
    assert isinstance(loss, ChainLoss)
    return loss


# --- Closed forms -----------------------------------------------------------------------------------------------------


def test_relativistic_averages():
    """By variances: half of Var(up) + Var(down) + (mean up - mean down - 1)^2, twice, for a single group."""
    up, down = (
        tiny.normal(0, 4, 1, 3, 3, dtype=torch.float64) + 0.3,
        2 * tiny.normal(1, 4, 1, 3, 3, dtype=torch.float64),
    )
    gap = up.mean() - down.mean() - 1
    expected = (up.var(unbiased=False) + down.var(unbiased=False)) / 2 + gap.square()
    torch.testing.assert_close(relativistic(up, down, 4), expected)
    torch.testing.assert_close(relativistic(up, down, 100), expected)
    same = torch.full([4, 1, 3, 3], 0.7)
    assert float(relativistic(same + 1, same, 4)) == pytest.approx(0), "one more is enough"
    assert float(relativistic(same, same, 4)) == pytest.approx(1)
    assert float(relativistic(same, same + 1, 4)) == pytest.approx(4)


def test_groups_of_clips_are_compared_among_themselves():
    up, down = (tiny.normal(seed, 8, 1, 5, dtype=torch.float64) for seed in (2, 3))
    whole = relativistic(up, down, 4)
    halves = [relativistic(up[rows::2], down[rows::2], 4) for rows in (0, 1)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2)
    assert abs(whole - relativistic(up, down, 8)) > 1e-3


def test_the_penalty_of_linear_scores():
    """Scores w x at each pixel have the gradient w there, whatever the clip."""
    w = tiny.normal(4, 6, dtype=torch.float64)

    def D(x):
        return [torch.einsum("c,nc...->n...", w, x), 3 * torch.einsum("c,nc...->n...", w, x)]

    found = gradient_penalty(D, tiny.normal(5, 2, 6, 15, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(found, (w.norm() - 1) ** 2 + (3 * w.norm() - 1) ** 2)


def test_the_penalty_is_that_of_finite_differences():
    config = tiny.config(method="eg3d-mcghd")
    D = networks_of(config, torch.float64).D_vid
    clips = tiny.normal(6, 1, 6, 15, 8, 8, dtype=torch.float64)
    step = 1e-5
    places = [(0, 0, 0), (7, 3, 4), (14, 7, 7)]
    lengths = []
    for t, y, x in places:
        slopes = []
        for channel in range(6):
            ends = []
            for sign in (1, -1):
                moved = clips.clone()
                moved[0, channel, t, y, x] += sign * step
                ends.append(D.fine(moved).sum())
            slopes.append((ends[0] - ends[1]) / (2 * step))
        lengths.append(torch.stack(slopes).norm())
    clips.requires_grad_()
    (gradient,) = torch.autograd.grad(D.fine(clips).sum(), clips)
    for (t, y, x), length in zip(places, lengths, strict=True):
        torch.testing.assert_close(gradient[0, :, t, y, x].norm(), length, rtol=1e-5, atol=1e-8)
    found = gradient_penalty(D, clips)
    expected = sum((torch.autograd.grad(scores.sum(), clips)[0].norm(dim=1) - 1).square().mean() for scores in D(clips))
    torch.testing.assert_close(found.detach(), expected)


def test_the_guess_is_of_the_very_noise():
    config = tiny.config(method="eg3d-mcghd")
    networks = networks_of(config)
    loss = made_loss(networks, config)
    networks.G.chain.requires_grad_(True)
    fakes = tiny.fakes(config)
    report = loss.g_main(reals(config, 2), fakes, CALM)
    w = networks.G.mapping(fakes.z, fakes.cameras[:, 0])[:, 0]
    _, guesses = networks.G.chain(w, fakes.z_motion)
    expected = [
        cosine_similarity(guesses[clip, step], fakes.z_motion[clip, 8 * step : 8 * step + 8], dim=0)
        for clip in range(2)
        for step in range(15)
    ]
    torch.testing.assert_close(report["loss/guess"], -torch.stack(expected).mean().detach())
    only = loss.chain.guess[2].bias.grad
    assert only is not None and only.norm() > 0


# --- What is made and judged ------------------------------------------------------------------------------------------


def test_clips_have_one_camera_and_the_frames_that_videos_have():
    """What training renders is what `Generator.synthesis` shows at the times of the frames."""
    config = tiny.config(method="eg3d-mcghd")
    networks = networks_of(config)
    loss = made_loss(networks, config)
    fakes = tiny.fakes(config)
    with torch.no_grad():
        clips = loss.synthesise(loss.latents(fakes)[0], fakes)
        assert clips.shape == (2, 16, 3, 32, 32)
        for frame in (0, 6, 15):
            camera = fakes.cameras[:, 0]
            ws = networks.G.mapping(fakes.z, camera)
            shown = networks.G.synthesis(ws, camera, fakes.z_motion, torch.full([2, 1], frame / 15))
            torch.testing.assert_close(clips[:, frame], shown["image"], rtol=1e-4, atol=1e-5)
        assert (clips[:, 15] - clips[:, 0]).abs().mean() > 1e-3


def test_time_runs_backwards_half_of_the_times_and_later_frames_are_as_likely():
    config = tiny.config(method="eg3d-mcghd", training__batch=64)
    loss = made_loss(networks_of(config), config)
    turned, frames = [], []
    for iteration in range(100):
        fakes = tiny.fakes(config, clips=64)
        fakes.random = Streams.seeded((0, iteration, 0, Draws.CLIPS), 64)
        chosen, is_reversed = loss._choices(fakes)
        part = tiny.fakes(config, clips=64).rows(slice(1, None, 2))
        part.random = Streams.seeded((0, iteration, 0, Draws.CLIPS), 64)[1::2]
        assert torch.equal(loss._choices(part)[0], chosen[1::2]) and loss._choices(part)[1] == is_reversed
        turned.append(is_reversed)
        frames.append(chosen)
    assert 35 < sum(turned) < 65
    counts = torch.cat(frames).bincount(minlength=16)
    assert counts[0] == 0 and len(counts) == 16 and counts[1:].min() > 340 and counts[1:].max() < 520


def test_reversed_clips_keep_their_first_frame_beside_the_others():
    config = tiny.config(method="eg3d-mcghd")
    loss = made_loss(networks_of(config), config)
    clips = tiny.normal(7, 2, 16, 3, 8, 8)
    forwards, backwards = (loss._judged_clips(clips, is_reversed) for is_reversed in (False, True))
    assert torch.equal(backwards[:, 3:, 0], clips[:, 15]) and torch.equal(backwards[:, 3:, 14], clips[:, 1])
    assert torch.equal(backwards[:, :3], forwards[:, :3])


# --- Gradients --------------------------------------------------------------------------------------------------------


def gradients(config: Config, name: str, passes: int = 1) -> dict[str, torch.Tensor | None]:
    """Return the gradients of a phase by parameter, in float64, of eight clips in so many passes."""
    networks = networks_of(config, torch.float64)
    loss = made_loss(networks, config, noise_mode="random", deterministic=False)
    (phase,) = (one for one in build_phases(config) if one.name == name)
    for module in networks.trained(phase.networks):
        module.requires_grad_(True)
    fakes = tiny.fakes(config, clips=8, dtype=torch.float64)
    fakes.random = Streams.seeded((1, 2, phase.index, Draws.CLIPS), 8)
    whole = reals(config, 8, torch.float64)
    for part in range(passes):
        rows = slice(part, None, passes)
        image, cameras = (part.unflatten(0, (8, 16))[rows].flatten(0, 1) for part in (whole.image, whole.cameras))
        own = Frames(image=image, image_raw=image, times=whole.times[rows], cameras=cameras)
        phase.accumulate(loss, reals=own, fakes=fakes.rows(rows), schedule=CALM, gain=1 / passes)
    return {
        f"{network}.{key}": value.grad
        for network, module in networks.items()
        for key, value in module.named_parameters()
    }


def test_gradients_reach_what_is_trained_and_nothing_else():
    config = tiny.config(method="eg3d-mcghd", training__batch=8)
    for name in ("g_main", "d_main"):
        wanted = ("G.chain.",) if name == "g_main" else ("D_img.", "D_vid.")
        for key, value in gradients(config, name).items():
            if key.endswith("chain.encoder.weight_hh"):  # the encoder starts from zero
                assert value is None or (value == 0).all()
            elif key.startswith(wanted):
                assert value is not None and value.norm() > 0, key
            else:
                assert value is None, key


@pytest.mark.parametrize("name", ["g_main", "d_main"])
def test_passes_add_up_to_one(name):
    """With noise and jitter: gradients of two passes of four clips are those of one of eight."""
    config = tiny.config(method="eg3d-mcghd", training__batch=8)
    one, two = gradients(config, name), gradients(config, name, passes=2)
    for key, value in one.items():
        if value is not None:
            torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-9, msg=key)


def test_frames_rendered_in_parts_have_the_same_gradients(monkeypatch):
    """Without random numbers, which each part draws for itself; with them, rendering anew draws them again."""
    config = tiny.config(method="eg3d-mcghd")
    found = []
    for pixels in (2**16, 5 * 32**2):
        monkeypatch.setattr(chain_loss, "PIXELS", pixels)
        networks = networks_of(config, torch.float64)
        loss = made_loss(networks, config)
        networks.G.chain.requires_grad_(True)
        loss.g_main(reals(config, 2, torch.float64), tiny.fakes(config, dtype=torch.float64), CALM)
        found.append([parameter.grad for parameter in networks.G.chain.parameters()])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole)


def test_rendering_anew_draws_the_same_numbers(monkeypatch):
    config = tiny.config(method="eg3d-mcghd")
    networks = networks_of(config, torch.float64)
    loss = made_loss(networks, config, noise_mode="random", deterministic=False)
    fakes = tiny.fakes(config, dtype=torch.float64)
    fakes.random = Streams.seeded((0, 1, 2, Draws.CLIPS), 2)
    monkeypatch.setattr(chain_loss, "PIXELS", 4 * 32**2)
    found = []
    for keep in (False, True):
        if keep:  # what the forward pass made
            monkeypatch.setattr(chain_loss, "checkpoint", lambda function, *inputs, use_reentrant: function(*inputs))
        latents = loss.latents(fakes)[0].detach().requires_grad_()
        weights = tiny.normal(9, 2, 16, 3, 32, 32, dtype=torch.float64)
        (loss.synthesise(latents, fakes) * weights).sum().backward()
        found.append(latents.grad)
    torch.testing.assert_close(*found)


def test_the_phases_are_those_of_the_paper():
    config = tiny.config(method="eg3d-mcghd")
    assert PHASES == ["g_main", "g_main2", "g_main3", "g_main4", "g_main5", "d_main"]
    phases = build_phases(config)
    assert len({phase.index for phase in phases}) == 6, "each has random numbers of its own"
    assert [phase.networks for phase in phases] == [("G",)] * 5 + [("D_img", "D_vid")]
    assert all(phase.takes_fakes and phase.takes_reals and phase.interval == 1 for phase in phases)
