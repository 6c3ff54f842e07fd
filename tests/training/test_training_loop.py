"""training.training_loop: starting, status and saving at their ticks, stopping, exact resuming."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers.recording import spy
from tests.helpers.trainers import assert_same, iterate, make_trainer, moments, weights
from training import training_loop
from training.checkpoints import snapshots
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.snapshots import compact_snapshot
from training.runs.hooks import Hooks, Status
from training.runs.progress import Progress
from training.training_loop import Trainer, distributed

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def make(heads, tmp_path):
    """Trainers on `heads` in <tmp_path>/<folder>; options as for `tiny.config`."""

    def trainer(folder: str = "run", hooks: Hooks | None = None, data: Path = heads, **changes) -> Trainer:
        return make_trainer(data, tmp_path / folder, hooks=hooks, **changes)

    return trainer


class Watch(Hooks):
    """Hooks that note the clips at every call, and stop when they are asked for the `stop_at`th time."""

    def __init__(self, stop_at: int | None = None):
        self.stop_at = stop_at
        self.statuses: list[Status] = []
        self.ticks: list[int] = []
        self.iterations: list[int] = []
        self.drawn: list[int] = []
        self.asked = 0
        super().__init__(
            status=self._status,
            iteration=lambda progress: self.iterations.append(progress.clips),
            pictures=lambda networks, folder, clips: self.drawn.append(clips),
            stop=self._stop,
        )

    def _status(self, status: Status) -> None:
        self.statuses.append(status)
        self.ticks.append(status.progress.clips)

    def _stop(self) -> bool:
        self.asked += 1
        return self.asked == self.stop_at

    def assert_nothing_was_called(self) -> None:
        assert self.statuses == []
        assert self.iterations == []
        assert self.drawn == []


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


# --- Starting ---------------------------------------------------------------------------------------------------------


def test_starting_from_a_snapshot(make, snapshot):
    trainer = make()
    trainer.init_from(open_snapshot(snapshot))
    assert trainer.progress == Progress(clips=0, inherited=2000, stream_start=2000)
    expected = load_generator(snapshot).G.state_dict()
    assert_same(trainer.networks.G.state_dict(), expected)
    assert_same(trainer.networks.G_ema.state_dict(), expected)
    assert not trainer.optimizers["G"].state
    iterate(trainer)
    trainer.save()
    (saved,) = trainer.run.path.glob("network-snapshot-*.pkl")
    assert saved.name == "network-snapshot-000000.002.pkl"
    assert load_generator(saved).progress == {"kimg": 2.002}, "a snapshot counts all clips behind its weights"
    again = make()
    assert again.restore()
    assert again.progress.seen == 2002


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
    for name, value in weights(trainer).items():
        assert value.dtype == torch.float32, name
        assert value.isfinite().all(), name


# --- Status, snapshots, the end ---------------------------------------------------------------------------------------


def test_status_and_snapshots_come_at_their_ticks(make):
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.009, training__tick=0.004, training__snap=2, training__keep=1)
    assert trainer.train().clips == 10, "to the end of the last batch"
    assert watch.iterations == [2, 4, 6, 8, 10]
    assert watch.ticks == [4, 8, 10]
    assert [status.done for status in watch.statuses] == [False, False, True]
    assert watch.drawn == [8, 10], "every second tick, and at the end"
    folder = trainer.run.path
    assert files(folder, "network*") == ["network-snapshot-000000.008.pkl", "network-snapshot-000000.010.pkl"]
    assert files(folder, "training-state*") == ["training-state-000000.010.pt"]


def test_what_a_status_line_knows(make):
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.009, training__tick=0.004)
    trainer.train()
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
    assert expected <= lines[0].keys()
    assert watch.statuses[0].stats["loss/g"] == lines[0]["loss/g"]


def test_stopping_saves(make):
    watch = Watch(stop_at=2)
    trainer = make(hooks=watch, training__kimg=1.0, training__tick=0.5)
    assert trainer.train().clips == 4
    assert watch.statuses[-1].done
    assert files(trainer.run.path, "*.p[kt]*") == ["network-snapshot-000000.004.pkl", "training-state-000000.004.pt"]


def test_kimg_is_rounded_to_clips(make):
    """In floating point 4.014 thousand is more than 4014."""
    assert 4.014 * 1000 > 4014
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=4.014, training__tick=4.012)
    trainer.progress.clips = 4010
    assert trainer.train().clips == 4014
    assert watch.ticks == [4012, 4014]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_frame_that_cannot_be_read_ends_training(make, heads, tmp_path, workers):
    broken = Path(shutil.copytree(heads, tmp_path / "broken"))
    for frame in broken.glob("00001/*.png"):
        frame.write_bytes(frame.read_bytes()[:60])
    trainer = make(data=broken, training__kimg=1.0, training__workers=workers)
    with pytest.raises(UserError, match=r"Frame 00001/\d+.png of .* unreadable or truncated .* check"):
        trainer.train()
    assert files(trainer.run.path, "*.p[kt]*") == []
    assert trainer.progress.clips < 6


def batches_of(trainer: Trainer, monkeypatch: pytest.MonkeyPatch, broken: int | None = None) -> list[int]:
    """Return the numbers of the batches that the trainer takes from its stream; one cannot be read."""
    taken = []
    original = trainer._batches

    def batches():
        for number, batch in enumerate(original()):
            if number == broken:
                raise UserError("Frame 3 is gone.")
            taken.append(number)
            yield batch

    monkeypatch.setattr(trainer, "_batches", batches)
    return taken


def test_what_is_due_comes_before_the_error_of_the_next_batch(make, monkeypatch):
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=1.0, training__tick=0.002, training__snap=1)
    taken = batches_of(trainer, monkeypatch, broken=2)
    with pytest.raises(UserError, match="Frame 3 is gone"):
        trainer.train()
    assert taken == [0, 1]
    assert watch.ticks == watch.drawn == [2, 4]
    assert files(trainer.run.path, "training-state*") == [f"training-state-000000.00{clips}.pt" for clips in (2, 4)]


def test_the_first_batch_may_be_the_one_that_cannot_be_read(make, monkeypatch):
    watch = Watch()
    trainer = make(hooks=watch)
    batches_of(trainer, monkeypatch, broken=0)
    with pytest.raises(UserError, match="Frame 3 is gone"):
        trainer.train()
    watch.assert_nothing_was_called()


def test_an_error_of_a_batch_that_nobody_needs_is_none(make, monkeypatch):
    for options, stop_at, broken in (({"training__kimg": 0.004}, None, 2), ({"training__kimg": 1.0}, 2, 2)):
        trainer = make(f"run{stop_at}", hooks=Watch(stop_at=stop_at), **options)
        taken = batches_of(trainer, monkeypatch, broken)
        assert trainer.train().clips == 4 and taken == [0, 1]


def test_a_finished_run_asks_for_no_data(make, monkeypatch):
    make(training__kimg=0.002).train()
    trainer = make(training__kimg=0.002)
    assert trainer.restore()
    taken = batches_of(trainer, monkeypatch)
    trainer.train()
    assert taken == []


def test_non_main_processes_write_nothing(make, monkeypatch):
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.002)
    trainer.train()
    assert files(trainer.run.path, "*") == []
    watch.assert_nothing_was_called()


# --- Resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device, layout", [("cpu", torch.contiguous_format), ("cuda", torch.channels_last)])
def test_resuming_is_exact(make, monkeypatch, device, layout):
    """Also with weights that lie as on a GPU."""
    assert snapshots.weight_layout(torch.device(device)) == layout
    monkeypatch.setattr(snapshots, "weight_layout", lambda device: layout)
    intervals = {"training__g_reg_interval": 2, "training__d_reg_interval": 3}
    straight = make("straight", **intervals, training__kimg=0.008)
    straight.train()

    first = make("stopped", **intervals, training__kimg=0.004)
    assert not first.restore()
    first.train()

    second = make("stopped", **intervals, training__kimg=0.008)
    assert second.restore()
    assert second.progress == first.progress
    assert_same(weights(second), weights(first))
    assert second.networks.D_img.b8.conv0.weight.is_contiguous(memory_format=layout)
    second.train()
    assert_same(weights(second), weights(straight))
    assert_same(moments(second), moments(straight))
    assert {"G.backbone.mapping.w_avg", "G_ema.backbone.mapping.w_avg"} <= weights(second).keys()
    assert (second.progress.clips, second.progress.iteration) == (8, 4)
    assert second.progress.seconds > 0


LAYOUTS = ("contiguous_format", "channels_last")


@pytest.mark.parametrize("before, after", [LAYOUTS, LAYOUTS[::-1]])
def test_a_run_goes_on_where_weights_lie_otherwise(make, monkeypatch, before, after):
    """From a CPU to a GPU, or back: moments of Adam that lie as the weights did would be taken for other weights'."""

    def lie(layout: str) -> None:
        monkeypatch.setattr(snapshots, "weight_layout", lambda device: getattr(torch, layout))

    lie(before)
    straight = make("straight", training__kimg=0.008)
    straight.train()
    make("run", training__kimg=0.004).train()
    lie(after)
    resumed = make("run", training__kimg=0.008)
    assert resumed.restore()
    resumed.train()
    expected = moments(straight)
    for name, value in moments(resumed).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-2, atol=1e-5, msg=name)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_that_was_fetched_when_training_stopped_comes_again(make, workers):
    straight = make("straight", training__kimg=0.008, training__workers=workers)
    straight.train()
    make("stopped", hooks=Watch(stop_at=2), training__kimg=0.008, training__workers=workers).train()
    again = make("stopped", training__kimg=0.008, training__workers=workers)
    assert again.restore() and again.progress.clips == 4
    again.train()
    assert_same(weights(again), weights(straight))


def test_a_run_that_goes_on_keeps_its_rhythm(make):
    rhythm = {"training__tick": 0.004, "training__snap": 2}
    make(hooks=Watch(stop_at=3), training__kimg=1.0, **rhythm).train()
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.016, **rhythm)
    assert trainer.restore()
    trainer.train()
    assert watch.ticks == [8, 12, 16]
    assert watch.drawn == [8, 16]


def test_a_finished_run_does_nothing(make):
    make(training__kimg=0.002).train()
    watch = Watch()
    trainer = make(hooks=watch, training__kimg=0.002)
    assert trainer.restore()
    assert trainer.train().clips == 2
    watch.assert_nothing_was_called()


def test_statistics_of_a_run_that_was_killed_are_not_doubled(make):
    trainer = make(training__kimg=0.004, training__tick=0.002)
    trainer.train()
    path = trainer.run.path / "stats.jsonl"
    first, second = path.read_text().splitlines()
    third = json.dumps({"iteration": 3})
    cut_short = '{"iteration": 4, "los'
    path.write_text("\n".join([first, second, third, cut_short]))
    again = make(training__kimg=0.006, training__tick=0.002)
    assert again.restore()
    again.train()
    lines = path.read_text().splitlines()
    assert lines[:2] == [first, second]
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3]


def test_processes_with_states_of_one_name_that_differ_do_not_go_on(make, monkeypatch):
    """As where --outdir is a folder of each machine's own, with a copy of the run."""
    make(training__kimg=0.002).train()
    gather = distributed.gather

    def with_another(value, *group):
        is_state = isinstance(value, str) and value.startswith("training-state")
        return [value, f"{value[:-8]}0badf00d"] if is_state else gather(value, *group)

    monkeypatch.setattr(distributed, "gather", with_another)
    with pytest.raises(UserError, match=r"different training states .*\.pt [0-9a-f]{8}, .*\.pt 0badf00d\)"):
        make(training__kimg=0.004).restore()
