"""training.runs.origin: a run from weights goes on in the random streams of its seed, whatever --init-kimg says."""

from pathlib import Path

import pytest
import torch

from tests.helpers.trainers import iterate, make_trainer
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator, open_snapshot
from training.phases import Phase
from training.runs.origin import Origin
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")

KIMG = 2.0  # behind the weights of the fixture `snapshot`


def draws(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return the cameras of the next reals, and the codes of the next fakes."""
    phase: Phase = trainer.phases[0]
    return {"cameras": next(trainer._batches())["cameras"], "z": trainer._make_fakes(phase).z}


def from_weights(data: Path, folder: Path, snapshot: Path, kimg: float | None = None) -> Trainer:
    """Return a trainer that starts from a snapshot."""
    trainer = make_trainer(data, folder, training__workers=0)
    source, _ = Origin(init_from=snapshot, kimg=kimg, fresh_motion=False).open()
    trainer.init_from(source)
    return trainer


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_from_weights_draws_what_they_have_not_seen(heads, snapshot, tmp_path):
    """The first run has shown 2000 clips in at most as many iterations; the second one's numbers begin behind them."""
    first = make_trainer(heads, tmp_path / "first", training__workers=0)
    second = from_weights(heads, tmp_path / "second", snapshot)
    began = draws(second)
    assert not torch.equal(draws(first)["cameras"], began["cameras"])
    assert not torch.equal(draws(first)["z"], began["z"])
    first.progress.clips = first.progress.iteration = round(KIMG * 1000)
    assert same(draws(first), began), "as if the first run went on, at one clip an iteration"


def test_a_resumed_run_goes_on_in_them(heads, snapshot, tmp_path):
    trainer = from_weights(heads, tmp_path / "run", snapshot)
    iterate(trainer)
    trainer.save()
    again = make_trainer(heads, tmp_path / "run", training__workers=0)
    assert again.restore() and again.progress == trainer.progress
    assert same(draws(trainer), draws(again))


def test_a_state_of_an_earlier_version_goes_on_where_it_was(heads, snapshot, tmp_path):
    trainer = from_weights(heads, tmp_path / "run", snapshot)
    iterate(trainer)
    trainer.save()
    (path,) = (tmp_path / "run").glob("training-state-*.pt")
    state = checkpoint.load(path, "state")
    del state["progress"]["stream_start"]
    checkpoint.save(path, state, "state")
    again = make_trainer(heads, tmp_path / "run", training__workers=0)
    assert again.restore() and again.progress.seen == trainer.progress.seen
    assert again.progress.stream_clips == again.progress.clips
    again.save()
    (saved,) = again.run.path.glob("network-snapshot-*.pkl")
    assert open_snapshot(saved).stream_kimg == again.progress.seen / 1000, "the next run begins behind all of them"


def test_schedules_that_begin_elsewhere_leave_the_streams_alone(heads, snapshot, tmp_path):
    second = from_weights(heads, tmp_path / "second", snapshot, kimg=0.5)
    assert (second.progress.seen, second.progress.stream_clips) == (500, 2000)
    assert same(draws(second), draws(from_weights(heads, tmp_path / "other", snapshot)))
    iterate(second)
    second.save()
    (saved,) = second.run.path.glob("network-snapshot-*.pkl")
    batch = second.config.training.batch
    assert load_generator(saved).progress == {"kimg": 0.5 + batch / 1000, "stream_kimg": 2 + batch / 1000}
    third = from_weights(heads, tmp_path / "third", saved, kimg=0.0)
    assert (third.progress.seen, third.progress.stream_clips) == (0, 2000 + batch)
    assert open_snapshot(saved).stream_kimg == 2 + batch / 1000
