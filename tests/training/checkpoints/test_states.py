"""training.checkpoints.states: what does not fit is refused in a sentence, before anything has changed."""

import copy
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.edits import cut, drop, fill, put
from tests.helpers.fault_injection import digest
from torch_utils import checkpoint
from training.checkpoints.states import require_sound
from training.data.dataset import ClipDataset
from training.runs.folder import RunFolder
from training.runs.progress import Progress
from training.training_loop import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
NAN = float("nan")


@pytest.fixture(scope="module")
def saved(heads, tmp_path_factory) -> dict:
    """The training state behind one iteration."""
    trainer = make(heads, tmp_path_factory.mktemp("run"), training__kimg=0.002)
    trainer.train()
    return checkpoint.load(trainer.run.states()[-1], "state")


@pytest.fixture(scope="module")
def fresh(heads, tmp_path_factory) -> Trainer:
    """A trainer before its first iteration, and for good."""
    return make(heads, tmp_path_factory.mktemp("fresh"))


def weights(trainer: Trainer) -> str:
    return digest(value for _, module in trainer.networks.items() for value in module.state_dict().values())


def make(heads: Path, folder: Path, **changes) -> Trainer:
    return Trainer(tiny.config(**changes), ClipDataset(heads), RunFolder(folder), torch.device("cpu"))


WEIGHT = "networks", "G_ema", "backbone.mapping.w_avg"
MOMENTS = "optimizers", "D_img", "state", 0


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (drop("networks"), "it has no networks"),
        (put([], "optimizers"), "it has no optimizers"),
        (put(None, "progress"), "it has no progress"),
        (drop("networks", "D_vid"), "networks.D_vid is missing"),
        (put({}, "networks", "D_new"), "networks.D_new is one more than this run has"),
        (put([], "networks", "G"), "networks.G is no table of tensors"),
        (put(1.0, *WEIGHT), "networks.G_ema is no table of tensors"),
        (drop(*WEIGHT), "networks.G_ema.backbone.mapping.w_avg is missing"),
        (put(torch.zeros(1), *WEIGHT[:-1], "more"), "networks.G_ema.more is one more than this run has"),
        (cut(*WEIGHT), r"networks.G_ema.backbone.mapping.w_avg is float32 \[7\], not float32 \[8\]"),
        (put(torch.zeros(8, dtype=torch.float64), *WEIGHT), r"networks.G_ema.\S+ is float64 \[8\], not float32 \[8\]"),
        (fill(NAN, *WEIGHT), "networks.G_ema.backbone.mapping.w_avg is not finite"),
        (fill(float("inf"), *MOMENTS, "exp_avg"), "optimizers.D_img.state.0.exp_avg is not finite"),
        (drop("optimizers", "G"), "optimizers.G is missing"),
        (put([], "optimizers", "G"), "optimizers.G is no state of Adam"),
        (put({0: 1}, "optimizers", "G", "state"), "optimizers.G is no state of Adam"),
        (put({}, "optimizers", "G", "state"), "optimizers.G has forgotten its 1 steps"),
        (drop("optimizers", "G", "param_groups"), "optimizers.G is of other parameters"),
        (put([{"params": [0]}], "optimizers", "G", "param_groups"), "optimizers.G is of other parameters"),
        (put({}, "optimizers", "G", "state", 9999), "optimizers.G.state has a parameter 9999, and there are "),
        (drop(*MOMENTS, "exp_avg_sq"), "optimizers.D_img.state.0.exp_avg_sq is missing"),
        (cut(*MOMENTS, "exp_avg"), r"optimizers.D_img.state.0.exp_avg is float32 .*, not float32"),
        (put(3, *MOMENTS, "step"), "optimizers.D_img.state.0.step is no tensor"),
        (fill(-1.0, *MOMENTS, "exp_avg_sq"), "optimizers.D_img.state.0 is out of range"),
        (fill(0.0, *MOMENTS, "step"), "optimizers.D_img.state.0 is out of range"),
        (drop("progress", "clips"), "progress.clips is None and no count"),
        (put(2.0, "progress", "clips"), "progress.clips is 2.0 and no count"),
        (put(True, "progress", "iteration"), "progress.iteration is True and no count"),
        (put(-1, "progress", "inherited"), "progress.inherited is -1 and no count"),
        (put("1", "progress", "seconds"), "progress.seconds is '1' and no duration"),
        (put(NAN, "progress", "seconds"), "progress.seconds is nan and no duration"),
        (put(1, "progress", "epochs"), "progress.epochs is unknown"),
        (put(1.5, "max_time"), "its max_time is no number from 0 to 1"),
        (put("1", "max_time"), "its max_time is no number from 0 to 1"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(fresh, tmp_path, saved, spoil, reason):
    state = copy.deepcopy(saved)
    spoil(state)
    fresh.run = RunFolder(tmp_path)
    path = tmp_path / "training-state-000000.002.pt"
    checkpoint.save(path, state, "state")
    before = weights(fresh)
    with pytest.raises(UserError, match=f"The training state {path} cannot be used, because {reason}.*: go on from "):
        fresh.restore()
    assert weights(fresh) == before
    assert fresh.progress == Progress()
    assert not any(optimizer.state for optimizer in fresh.optimizers.values())


def test_a_whole_state_fits_and_one_of_before_there_was_inheriting(heads, tmp_path, saved):
    state = copy.deepcopy(saved)
    require_sound(state, tmp_path)
    del state["progress"]["inherited"], state["progress"]["seconds"]
    checkpoint.save(tmp_path / "training-state-000000.002.pt", state, "state")
    trainer = make(heads, tmp_path)
    assert trainer.restore()
    assert trainer.progress.clips == 2
    assert trainer.progress.inherited == 0


def test_learning_rates_are_the_configuration_s(heads, tmp_path, saved):
    """How torch writes them down changes with its version."""
    state = copy.deepcopy(saved)
    for optimizer in state["optimizers"].values():
        optimizer["param_groups"] = [{"params": group["params"], "lr": 9.0} for group in optimizer["param_groups"]]
    checkpoint.save(tmp_path / "training-state-000000.002.pt", state, "state")
    trainer = make(heads, tmp_path)
    before = [optimizer.state_dict()["param_groups"] for optimizer in trainer.optimizers.values()]
    assert trainer.restore()
    assert [optimizer.state_dict()["param_groups"] for optimizer in trainer.optimizers.values()] == before
