"""One iteration of the training loop: which phase runs when, on which clips; averages, accumulation, safety."""

import pytest
import torch

from tests.helpers import tiny
from tests.helpers.recording import Call, spy
from tests.helpers.trainers import iterate, make_trainer, moments, weights
from torch_utils import distributed
from torch_utils.gradients import GradientAverage
from training.phases import Phase
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def make(heads, tmp_path):
    """Trainers on `heads`; options as for `tiny.config`."""

    def trainer(**changes) -> Trainer:
        return make_trainer(heads, tmp_path / "run", **changes)

    return trainer


@pytest.fixture
def passes(monkeypatch) -> list[Call]:
    """All passes of phases from now on, in order."""
    return spy(monkeypatch, Phase, "accumulate")


def phase_names(passes: list[Call]) -> list[str]:
    return [call.inputs[0].name for call in passes]


# --- Phases -----------------------------------------------------------------------------------------------------------


def test_phases_run_at_their_intervals(make, passes):
    trainer = make(training__g_reg_interval=2, training__d_reg_interval=3)
    seen = []
    for _ in range(4):
        passes.clear()
        iterate(trainer)
        seen.append(phase_names(passes))
    assert seen == [
        ["g_main", "g_reg", "d_main", "d_reg"],
        ["g_main", "d_main"],
        ["g_main", "g_reg", "d_main"],
        ["g_main", "d_main", "d_reg"],
    ]
    progress = trainer.progress
    assert (progress.iteration, progress.clips, progress.kimg) == (4, 8, 0.008)


def test_lazy_phases_weigh_their_interval_and_passes_share_it(make, passes):
    trainer = make(training__batch=4, training__batch_gpu=2, training__g_reg_interval=4, training__d_reg_interval=16)
    iterate(trainer)
    gains = [call.keywords["gain"] for call in passes]
    assert list(zip(phase_names(passes), gains, strict=True)) == [
        *[("g_main", 0.5)] * 2,
        *[("g_reg", 2.0)] * 2,
        *[("d_main", 0.5)] * 2,
        *[("d_reg", 8.0)] * 2,
    ]
    first, second = (call.keywords["fakes"] for call in passes[:2])
    assert len(first.z) == 2
    assert len(second.z) == 2
    assert not torch.equal(first.z, second.z), "each pass has its own clips"


def test_phases_without_weight_are_left_out(make, passes):
    trainer = make(loss__lambda_reg=0.0, loss__gamma=0.0)
    iterate(trainer)
    assert phase_names(passes) == ["g_main", "d_main"]
    assert "loss/g" in trainer.stats.collect()


@pytest.mark.parametrize("absent, left", [("image", "D_vid"), ("video", "D_img")])
def test_one_discriminator_suffices(make, absent, left):
    trainer = make(**{f"discriminator__{absent}": False})
    assert trainer.optimizers.keys() == {"G", left}
    before = weights(trainer)
    iterate(trainer)
    moved = set()
    for name, value in weights(trainer).items():
        network = name.split(".")[0]
        if not torch.equal(value, before[name]):
            moved.add(network)
    assert moved == {"G", "G_ema", left}


# --- Fakes ------------------------------------------------------------------------------------------------------------


def test_every_iteration_has_its_own_random_numbers(make, passes):
    trainer = make()
    iterate(trainer, 2)
    first, second = (call.keywords["fakes"] for call in passes if call.inputs[0].name == "g_main")
    for name in ("z", "z_motion", "times", "cameras"):
        assert not torch.equal(getattr(first, name), getattr(second, name)), name


def test_cameras_are_swapped_with_other_clips_even_when_a_pass_has_but_one(make, passes):
    trainer = make(training__batch_gpu=1)
    iterate(trainer)
    for call in passes:
        fakes = call.keywords["fakes"]
        if fakes is None:
            continue
        assert len(fakes.others) == 1
        assert not torch.equal(fakes.others, fakes.cameras)


# --- Gradients and averages -------------------------------------------------------------------------------------------


def gradients(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, phase_name: str) -> list[torch.Tensor]:
    """Return the gradients that the optimisers get in one phase of the first iteration."""
    seen: list[torch.Tensor] = []
    trainer.loss.noise_mode = "const"
    trainer.loss.deterministic = True
    trainer.phases = [phase for phase in trainer.phases if phase.name == phase_name]

    def keep(average):
        seen.extend(parameter.grad.clone() for parameter in average.parameters if parameter.grad is not None)
        return torch.zeros([])

    with monkeypatch.context() as patch:
        patch.setattr(GradientAverage, "finish", keep)
        iterate(trainer)
    return seen


@pytest.mark.parametrize("phase", ["g_main", "d_main", "d_reg"])
def test_accumulated_gradients_are_those_of_one_pass(make, monkeypatch, phase):
    """Without what depends on the pass: random numbers, camera swaps, statistics over the minibatch."""
    calm = {"loss__swap_start": 0.0, "loss__swap_end": 0.0, "discriminator__mbstd_group": 1, "training__batch": 4}
    whole = gradients(make(**calm), monkeypatch, phase)
    parts = gradients(make(**calm, training__batch_gpu=1), monkeypatch, phase)
    assert len(whole) == len(parts) > 10
    scale = max(gradient.abs().max() for gradient in whole)
    for one, many in zip(whole, parts, strict=True):
        assert torch.allclose(one, many, rtol=1e-4, atol=1e-6 * scale)


def test_sums_over_processes_begin_in_the_phases(make, monkeypatch):
    """Each phase of these networks has one bucket: from the second iteration on it is complete before its end."""
    begun = []
    at_end = []
    finish = GradientAverage.finish

    def watched(average: GradientAverage) -> torch.Tensor:
        before = len(begun)
        faults = finish(average)
        at_end.append((before, len(begun)))
        begun.clear()
        return faults

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "average", lambda tensors: None)
    monkeypatch.setattr(distributed, "start_sum", lambda memory: (begun.append(memory), lambda: None)[1])
    monkeypatch.setattr(GradientAverage, "finish", watched)
    trainer = make(training__batch=4, training__batch_gpu=1, training__g_reg_interval=1, training__d_reg_interval=1)
    assert trainer.per_process // trainer.per_pass == 2
    iterate(trainer, 3)
    assert at_end == [(0, 1)] * 4 + [(1, 1)] * 8


def test_non_finite_gradients_never_reach_the_weights(make):
    trainer = make()
    spoiled = []
    for module, bad in ((trainer.networks.G.decoder, float("nan")), (trainer.networks.D_img, float("inf"))):
        parameter = next(parameter for parameter in module.parameters() if parameter.ndim > 1)
        parameter.requires_grad_(True)
        parameter.register_hook(lambda grad, bad=bad: torch.full_like(grad, bad))
        spoiled.append(parameter.numel())
    iterate(trainer, 2)
    for name, value in (weights(trainer) | moments(trainer)).items():
        assert value.isfinite().all(), name
    stats = trainer.stats.collect()
    counted = stats["health/nonfinite_gradients"]
    # G main twice and G reg once touch the decoder; D main twice and R1 once the discriminator.
    assert counted["mean"] * counted["num"] == pytest.approx(3 * sum(spoiled))


@pytest.mark.parametrize("inherited, half_life", [(0, 0.05 * 4), (10**7, 1000 * 2 * 10 / 32)])
def test_moving_average(make, inherited, half_life):
    """Half-life: 5 % of the clips so far, at most batch * 10 / 32 kimg (A.1)."""
    trainer = make()
    trainer.progress.inherited = inherited
    iterate(trainer)
    before = weights(trainer)
    iterate(trainer)
    after = weights(trainer)
    beta = 0.5 ** (tiny.SIZES["training.batch"] / half_life)
    for name, _ in trainer.networks.G_ema.named_parameters():
        average = before[f"G_ema.{name}"].double()
        current = after[f"G.{name}"].double()
        expected = beta * average + (1 - beta) * current
        found = after[f"G_ema.{name}"].double()
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-7), name
    for name, buffer in trainer.networks.G_ema.named_buffers():
        assert torch.equal(buffer, after[f"G.{name}"]), name
