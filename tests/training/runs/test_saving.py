"""What a save writes and in which order, and that a start makes up for what a kill left out of it."""

from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers.trainers import make_trainer
from training.runs.health import Health
from training.runs.hooks import Hooks
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def calls() -> list[str]:
    """What the trainers of a test have drawn and scored."""
    return []


@pytest.fixture
def make(heads, tmp_path, calls):
    """Trainers of one run, two clips an iteration, each of which ends with a save."""
    hooks = Hooks(
        pictures=lambda networks, folder, clips: calls.append(f"pictures {clips}"),
        evaluate=lambda snapshot, path: calls.append(f"scores {path.name}"),
    )

    def trainer() -> Trainer:
        rhythm = {"training__kimg": 0.004, "training__tick": 0.002, "training__snap": 1}
        return make_trainer(heads, tmp_path, hooks=hooks, **rhythm)

    return trainer


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if "tfevents" not in path.name}


class Killed(BaseException):
    """Ends a process as a signal would."""


@pytest.mark.parametrize("killed_in", ["pictures", "save_snapshot"])
def test_what_a_kill_left_out_is_made_by_the_next_start(make, calls, tmp_path, monkeypatch, killed_in):
    def die(*arguments):
        raise Killed

    trainer = make()
    with monkeypatch.context() as patch:
        if killed_in == "pictures":
            patch.setattr(trainer.hooks, "pictures", die)
        else:
            patch.setattr(trainer.run, "save_snapshot", die)
        with pytest.raises(Killed):
            trainer.train()
    assert names(tmp_path) == {"stats.jsonl", "training-state-000000.002.pt"}, "the state comes first"

    calls.clear()
    again = make()
    assert again.restore()
    assert again.train().clips == 4
    assert calls == [
        "pictures 2",
        "scores network-snapshot-000000.002.pkl",
        "pictures 4",
        "scores network-snapshot-000000.004.pkl",
    ]
    assert {"network-snapshot-000000.002.pkl", "network-snapshot-000000.004.pkl"} <= names(tmp_path)

    calls.clear()
    more = make()
    assert more.restore()
    assert more.train().clips == 4
    assert calls == [], "once"


def test_what_was_noticed_before_is_remembered(make):
    trainer = make()
    trainer.health = Health(best={"health/diversity": 30.0}, troubles={"waiting": 0.001})
    trainer.train()
    again = make()
    assert again.restore()
    assert again.health.troubles.keys() == trainer.health.troubles.keys()
    assert again.health.best["health/diversity"] == 30.0
    (warning,) = again.health.update({"health/diversity": 0.01}, kimg=1.0)
    assert "collapsed" in warning


def test_a_state_from_before_health_was_kept(make, monkeypatch):
    trainer = make()
    state = trainer._state()
    del state["health"]
    monkeypatch.setattr(trainer, "_state", lambda: state)
    trainer.train()
    again = make()
    assert again.restore()
    assert again.health == Health()


@pytest.mark.parametrize("health", [5, {"best": 5, "troubles": {}}, {"best": {"a": "b"}}, {"worst": {}}])
def test_health_of_another_kind_is_refused(make, monkeypatch, health):
    trainer = make()
    state = trainer._state()
    state["health"] = health
    monkeypatch.setattr(trainer, "_state", lambda: state)
    trainer.train()
    with pytest.raises(UserError, match="its health is no table of numbers"):
        make().restore()


def test_a_run_that_diverged_writes_nothing_more(make, tmp_path):
    trainer = make()
    weights = next(trainer.networks.G.parameters())
    with torch.no_grad():
        weights.fill_(float("nan"))
    with pytest.raises(UserError, match="training has diverged; start a new run with lower --glr"):
        trainer.save()
    assert names(tmp_path) == set()
