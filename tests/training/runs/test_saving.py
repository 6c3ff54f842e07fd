"""What a save writes and in which order, and that a start makes up for what a kill left out of it."""

from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import tiny
from training.data.dataset import ClipDataset
from training.runs.folder import RunFolder
from training.runs.health import Health
from training.training_loop import Hooks, Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def make(heads, tmp_path):
    """Trainers of one run, whose pictures and scores are noted in `calls`."""
    calls: list[str] = []

    def trainer(kimg: float = 0.004) -> Trainer:
        options = tiny.config(training__kimg=kimg, training__tick=0.002, training__snap=1)
        hooks = Hooks(
            pictures=lambda networks, folder, clips: calls.append(f"pictures {clips}"),
            evaluate=lambda snapshot, path: calls.append(f"scores {path.name}"),
        )
        return Trainer(options, ClipDataset(heads), RunFolder(tmp_path), torch.device("cpu"), hooks=hooks)

    trainer.calls = calls
    return trainer


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "tfevents" not in path.name}


@pytest.mark.parametrize("killed_in", ["pictures", "save_snapshot"])
def test_what_a_kill_left_out_is_made_by_the_next_start(make, tmp_path, monkeypatch, killed_in):
    class Killed(BaseException):
        pass

    def die(*arguments):
        raise Killed

    trainer = make()
    monkeypatch.setattr(*((trainer.hooks, "pictures") if killed_in == "pictures" else (trainer.run, killed_in)), die)
    with pytest.raises(Killed):
        trainer.train()
    assert names(tmp_path) == {"stats.jsonl", "training-state-000000.002.pt"}, "the state comes first"
    make.calls.clear()
    again = make()
    assert again.restore() and again.train().clips == 4
    shown = [
        f"{what} {name}"
        for clips in (2, 4)
        for what, name in (("pictures", clips), ("scores", f"network-snapshot-000000.{clips:03}.pkl"))
    ]
    assert make.calls == shown
    assert {f"network-snapshot-000000.{clips:03}.pkl" for clips in (2, 4)} <= names(tmp_path)
    make.calls.clear()
    more = make()
    assert more.restore() and more.train().clips == 4 and make.calls == [], "once"


def test_what_was_noticed_before_is_remembered(make):
    trainer = make()
    trainer.health = Health(best={"health/diversity": 30.0}, troubles={"waiting": 0.001})
    trainer.train()
    again = make()
    assert again.restore()
    assert again.health.troubles.keys() == trainer.health.troubles.keys()
    assert again.health.best["health/diversity"] == 30.0
    assert "collapsed" in again.health.update({"health/diversity": 0.01}, 1.0)[0]


def test_a_state_from_before_health_was_kept(make, monkeypatch):
    trainer = make()
    state = trainer._state()
    monkeypatch.setattr(trainer, "_state", lambda: {key: value for key, value in state.items() if key != "health"})
    trainer.train()
    again = make()
    assert again.restore() and again.health == Health()


@pytest.mark.parametrize("health", [5, {"best": 5, "troubles": {}}, {"best": {"a": "b"}}, {"worst": {}}])
def test_health_of_another_kind_is_refused(make, monkeypatch, health):
    trainer = make()
    state = trainer._state()
    monkeypatch.setattr(trainer, "_state", lambda: state | {"progress": vars(trainer.progress), "health": health})
    trainer.train()
    with pytest.raises(UserError, match="its health is no table of numbers"):
        make().restore()


def test_a_run_that_diverged_writes_nothing_more(make, tmp_path):
    trainer = make()
    with torch.no_grad():
        next(trainer.networks.G.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="training has diverged; start a new run with lower --glr"):
        trainer.save()
    assert names(tmp_path) == set()
