"""training.training_loop: which phase runs when, averages, exact resuming, accumulation, safety, status and saving."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.recording import spy
from torch_utils import distributed
from training import training_loop
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.snapshots import build_networks, compact_snapshot
from training.config import Config, override
from training.data.dataset import ClipDataset
from training.runs.folder import RunFolder
from training.training_loop import Hooks, Optimizers, Status, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture
def make(heads, tmp_path):
    """Trainers on `heads` in <tmp_path>/<folder>; options as for `tiny.config`."""

    def trainer(folder: str = "run", hooks: Hooks | None = None, data: Path = heads, **changes) -> Trainer:
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        options = tiny.config(**changes)
        return Trainer(options, ClipDataset(data), RunFolder(path, options.training.keep), CPU, hooks=hooks)

    return trainer


def iterate(trainer: Trainer, times: int = 1) -> None:
    batches = trainer._batches()
    for _ in range(times):
        trainer.iterate(next(batches))


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in trainer.networks.items()
        for key, value in module.state_dict().items()
    }


def moments(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{index}.{key}": value
        for name, optimizer in trainer.optimizers.by_name.items()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def phases(trainer: Trainer, monkeypatch) -> list[str]:
    """Names of the phases from now on, in order."""
    names: list[str] = []
    original = trainer._run_phase
    monkeypatch.setattr(trainer, "_run_phase", lambda phase, *rest: (names.append(phase), original(phase, *rest)))
    return names


def test_phases_run_at_their_intervals(make, monkeypatch):
    trainer = make(training__g_reg_interval=2, training__d_reg_interval=3)
    names = phases(trainer, monkeypatch)
    seen = []
    for _ in range(4):
        names.clear()
        iterate(trainer)
        seen.append(list(names))
    main = ["g_main", "d_main"]
    assert seen == [["g_main", "g_reg", "d_main", "d_reg"], main, ["g_main", "g_reg", "d_main"], [*main, "d_reg"]]
    assert (trainer.progress.iteration, trainer.progress.clips, trainer.progress.kimg) == (4, 8, 0.008)


def test_lazy_phases_weigh_their_interval_and_passes_share_it(make, monkeypatch):
    trainer = make(training__batch=4, training__batch_gpu=2, training__g_reg_interval=4, training__d_reg_interval=16)
    calls = {name: spy(monkeypatch, trainer.loss, name) for name in training_loop.PHASES}
    iterate(trainer)
    gains = {name: [call.inputs[-1] for call in calls[name]] for name in calls}
    assert gains == {"g_main": [0.5] * 2, "g_reg": [2.0] * 2, "d_main": [0.5] * 2, "d_reg": [8.0] * 2}
    clips = [call.inputs[0].z for call in calls["g_main"]]
    assert [len(z) for z in clips] == [2, 2] and not torch.equal(*clips), "each pass has its own clips"


def test_phases_without_weight_are_left_out(make, monkeypatch):
    trainer = make(loss__lambda_reg=0.0, loss__gamma=0.0)
    regs = spy(monkeypatch, trainer.loss, "g_reg") + spy(monkeypatch, trainer.loss, "d_reg")
    iterate(trainer)
    assert regs == [] and "loss/g" in trainer.stats.collect()


def test_every_iteration_has_its_own_random_numbers(make, monkeypatch):
    trainer = make()
    calls = spy(monkeypatch, trainer.loss, "g_main")
    iterate(trainer, 2)
    first, second = (call.inputs[0] for call in calls)
    for name in ("z", "z_motion", "times", "cameras"):
        assert not torch.equal(getattr(first, name), getattr(second, name)), name


def test_optimizers_are_corrected_for_lazy_regularisation():
    """PV3D section 4: what Adam gets at the paper's configuration."""
    small = {key: value for key, value in tiny.SIZES.items() if not key.startswith("training.")}
    options = override(Config(), small)
    built = Optimizers.build(build_networks(options, 0, CPU), options).by_name
    assert set(built) == {"G", "D_img", "D_vid"}
    for name, lr, beta2 in (("G", 0.002, 0.99199), ("D_img", 0.001882, 0.990585), ("D_vid", 0.001882, 0.990585)):
        group = built[name].param_groups[0]
        assert group["lr"] == pytest.approx(lr, rel=3e-4) and group["betas"] == pytest.approx((0, beta2), abs=5e-6)
        assert group["eps"] == 1e-8


@pytest.mark.parametrize("absent", ["image", "video"])
def test_one_discriminator_suffices(make, absent):
    trainer = make(**{f"discriminator__{absent}": False})
    assert len(trainer.networks.discriminators()) == 1 and len(trainer.optimizers.by_name) == 2
    before = weights(trainer)
    iterate(trainer)
    moved = {name.split(".")[0] for name, value in weights(trainer).items() if not torch.equal(value, before[name])}
    assert moved == {"G", "G_ema", "D_vid" if absent == "image" else "D_img"}


@pytest.mark.parametrize("inherited, half_life", [(0, 0.05 * 4), (10**7, 1000 * 2 * 10 / 32)])
def test_moving_average(make, inherited, half_life):
    """Half-life: 5 % of the clips so far, at most batch * 10 / 32 kimg (A.1)."""
    trainer = make()
    trainer.progress.inherited = inherited
    iterate(trainer)
    before = weights(trainer)
    iterate(trainer)
    after = weights(trainer)
    beta = 0.5 ** (2 / half_life)
    for name, _ in trainer.networks.G_ema.named_parameters():
        expected = beta * before[f"G_ema.{name}"].double() + (1 - beta) * after[f"G.{name}"].double()
        assert torch.allclose(after[f"G_ema.{name}"].double(), expected, rtol=1e-5, atol=1e-7), name
    for name, buffer in trainer.networks.G_ema.named_buffers():
        assert torch.equal(buffer, after[f"G.{name}"]), name


def test_resuming_is_exact(make):
    intervals = {"training__g_reg_interval": 2, "training__d_reg_interval": 3}
    straight = make("straight", **intervals, training__kimg=0.008)
    straight.train()
    first = make("stopped", **intervals, training__kimg=0.004)
    assert not first.restore()
    first.train()
    second = make("stopped", **intervals, training__kimg=0.008)
    assert second.restore() and second.progress == first.progress
    assert_same(weights(second), weights(first))
    second.train()
    assert_same(weights(second), weights(straight))
    assert_same(moments(second), moments(straight))
    assert {"G.backbone.mapping.w_avg", "G_ema.backbone.mapping.w_avg"} <= weights(second).keys()
    assert (second.progress.clips, second.progress.iteration) == (8, 4) and second.progress.seconds > 0


def gradients(trainer: Trainer, monkeypatch, phase: str) -> list[torch.Tensor]:
    """The gradients that the optimisers see in one phase of the first iteration."""
    seen: list[torch.Tensor] = []
    trainer.loss.noise_mode, trainer.loss.deterministic = "const", True

    def keep(params):
        seen.extend(p.grad.clone() for p in params if p.grad is not None)
        return torch.zeros([])

    with monkeypatch.context() as patch:
        patch.setattr(training_loop.distributed, "average_gradients", keep)
        patch.setattr(training_loop, "PHASES", (phase,))
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


def test_starting_from_a_snapshot(make, snapshot):
    trainer = make()
    trainer.init_from(open_snapshot(snapshot))
    assert (trainer.progress.clips, trainer.progress.inherited, trainer.progress.seen) == (0, 2000, 2000)
    expected = load_generator(snapshot).G.state_dict()
    assert_same(trainer.networks.G.state_dict(), expected)
    assert_same(trainer.networks.G_ema.state_dict(), expected)
    assert not trainer.optimizers.by_name["G"].state
    iterate(trainer)
    trainer.save()
    saved = next(trainer.run.path.glob("network-snapshot-*.pkl"))
    assert saved.name == "network-snapshot-000000.002.pkl"
    assert load_generator(saved).progress == {"kimg": 2.002}, "a snapshot counts all clips behind its weights"
    again = make()
    assert again.restore() and again.progress.seen == 2002


def test_starting_from_a_snapshot_does_not_fade_in_again(make, snapshot, monkeypatch):
    calls = spy(monkeypatch, training_loop, "schedule")
    trainer = make()
    trainer.init_from(open_snapshot(snapshot))
    iterate(trainer)
    assert [call.inputs[1] for call in calls] == [2000]


def test_starting_from_a_compact_snapshot(make, snapshot, tmp_path):
    compact_snapshot(snapshot, tmp_path / "compact.pkl")
    trainer = make()
    trainer.init_from(open_snapshot(tmp_path / "compact.pkl"))
    assert_same(trainer.networks.G.state_dict(), trainer.networks.G_ema.state_dict())
    iterate(trainer)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights(trainer).values())


def test_non_finite_gradients_never_reach_the_weights(make):
    trainer = make()
    poisoned = trainer.networks.G.decoder, trainer.networks.D_img
    parameters = [next(p for p in module.parameters() if p.ndim > 1) for module in poisoned]
    for parameter, bad in zip(parameters, (float("nan"), float("inf")), strict=True):
        parameter.requires_grad_(True).register_hook(lambda grad, bad=bad: torch.full_like(grad, bad))
    iterate(trainer, 2)
    assert all(value.isfinite().all() for value in weights(trainer).values())
    assert all(value.isfinite().all() for value in moments(trainer).values())
    counted = trainer.stats.collect()["health/nonfinite_gradients"]
    # G main twice and G reg once touch the decoder; D main twice and R1 once the discriminator.
    total = 3 * sum(parameter.numel() for parameter in parameters)
    assert counted["mean"] * counted["num"] == pytest.approx(total)


class Watch(Hooks):
    """Hooks that note what they are called with, and stop before iteration `stop_at`."""

    def __init__(self, stop_at: int | None = None):
        self.statuses, self.ticks, self.iterations, self.drawn, self.asked = [], [], [], [], 0
        self.stop_at = stop_at
        super().__init__(
            status=self._status,
            iteration=lambda progress: self.iterations.append(progress.clips),
            pictures=lambda networks, folder, clips: self.drawn.append((folder, clips)),
            stop=self._stop,
        )

    def _status(self, status: Status) -> None:
        self.statuses.append(status)
        self.ticks.append(status.progress.clips)

    def _stop(self) -> bool:
        self.asked += 1
        return self.asked == self.stop_at


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def test_status_and_snapshots_come_at_their_ticks(make):
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.009, training__tick=0.004, training__snap=2, training__keep=1)
    assert trainer.train().clips == 10, "to the end of the last batch"
    assert watch.iterations == [2, 4, 6, 8, 10] and watch.ticks == [4, 8, 10]
    assert [status.done for status in watch.statuses] == [False, False, True]
    assert [clips for _, clips in watch.drawn] == [8, 10], "every second tick, and at the end"
    assert files(trainer.run.path, "network*") == ["network-snapshot-000000.008.pkl", "network-snapshot-000000.010.pkl"]
    assert files(trainer.run.path, "training-state*") == ["training-state-000000.010.pt"]
    lines = [json.loads(line) for line in (trainer.run.path / "stats.jsonl").read_text().splitlines()]
    assert [(line["kimg"], line["iteration"]) for line in lines] == [(0.004, 2), (0.008, 4), (0.01, 5)]
    expected = {
        "loss/g",
        "loss/d",
        "loss/g_reg",
        "loss/r1_img",
        "loss/r1_vid",
        "scores/fake_img",
        "scores/real_vid",
        "time/sec_per_kimg",
        "memory/cpu",
        "schedule/blur_sigma",
        "health/nonfinite_gradients",
    }
    assert expected <= lines[0].keys() and watch.statuses[0].stats["loss/g"] == lines[0]["loss/g"]


def test_a_run_that_goes_on_keeps_its_rhythm(make):
    rhythm = {"training__tick": 0.004, "training__snap": 2}
    make(hooks=Watch(stop_at=3), training__kimg=1.0, **rhythm).train()
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.016, **rhythm)
    assert trainer.restore()
    trainer.train()
    assert watch.ticks == [8, 12, 16] and [clips for _, clips in watch.drawn] == [8, 16]


def test_stopping_saves(make):
    watch = Watch(stop_at=2)
    trainer = make(hooks=watch, training__kimg=1.0, training__tick=0.5)
    progress = trainer.train()
    assert progress.clips == 4 and watch.statuses[-1].done
    assert files(trainer.run.path, "*.p[kt]*") == ["network-snapshot-000000.004.pkl", "training-state-000000.004.pt"]


def test_kimg_is_rounded_to_clips(make):
    """In floating point 4.014 thousand is more than 4014."""
    assert 4.014 * 1000 > 4014
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=4.014, training__tick=4.012)
    trainer.progress.clips = 4010
    assert trainer.train().clips == 4014 and watch.ticks == [4012, 4014]


def test_a_finished_run_does_nothing(make):
    make(training__kimg=0.002).train()
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.002)
    assert trainer.restore() and trainer.train().clips == 2
    assert (watch.statuses, watch.iterations, watch.drawn) == ([], [], [])


def test_statistics_of_a_run_that_was_killed_are_not_doubled(make):
    trainer = make(training__kimg=0.004, training__tick=0.002)
    trainer.train()
    path = trainer.run.path / "stats.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(f"{first}\n{second}\n" + json.dumps({"iteration": 3}) + '\n{"iteration": 4, "los')
    again = make(training__kimg=0.006, training__tick=0.002)
    assert again.restore()
    again.train()
    lines = path.read_text().splitlines()
    assert lines[:2] == [first, second] and [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_frame_that_cannot_be_read_ends_training(make, heads, tmp_path, workers):
    broken = Path(shutil.copytree(heads, tmp_path / "broken"))
    for frame in broken.glob("00001/*.png"):
        frame.write_bytes(frame.read_bytes()[:60])
    trainer = make(data=broken, training__kimg=1.0, training__workers=workers)
    with pytest.raises(UserError, match=r"Frame 00001/\d+.png of .* unreadable or truncated .* check"):
        trainer.train()
    assert not files(trainer.run.path, "*.p[kt]*") and trainer.progress.clips < 6


def test_non_main_processes_write_nothing(make, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.002)
    trainer.train()
    assert files(trainer.run.path, "*") == [] and (watch.statuses, watch.iterations, watch.drawn) == ([], [], [])


def test_cameras_are_swapped_with_other_clips_even_when_a_pass_has_but_one(make, monkeypatch):
    trainer = make(training__batch_gpu=1)
    calls = spy(monkeypatch, trainer.loss, "g_main")
    iterate(trainer)
    for call in calls:
        fakes = call.inputs[0]
        assert len(fakes.others) == 1 and not torch.equal(fakes.others, fakes.cameras)
