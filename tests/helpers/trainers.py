"""Trainers of tiny models: making them, running them, comparing them."""

from pathlib import Path

import torch

from tests.helpers import tiny
from training.data.dataset import ClipDataset
from training.runs.folder import RunFolder
from training.runs.hooks import Hooks
from training.training_loop import Trainer


def make_trainer(
    data: Path, folder: Path, *, hooks: Hooks | None = None, images: Path | None = None, **changes
) -> Trainer:
    """Return a trainer on a dataset whose run is `folder`, which is made; changes as for `tiny.config`."""
    folder.mkdir(exist_ok=True)
    options = tiny.config(**changes)
    beside = ClipDataset(images) if images else None
    return Trainer(options, ClipDataset(data), RunFolder(folder), torch.device("cpu"), hooks=hooks, images=beside)


def iterate(trainer: Trainer, times: int = 1) -> None:
    """Run iterations alone, without status lines and saving."""
    batches = trainer._batches()
    for _ in range(times):
        batch = next(batches)
        trainer.iterate(batch)


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return copies of all parameters and buffers by name."""
    copies = {}
    for network, module in trainer.networks.items():
        state = module.state_dict()
        for name, value in state.items():
            copies[f"{network}.{name}"] = value.clone()
    return copies


def moments(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return what Adam keeps of all parameters, by name."""
    tensors = {}
    for network, optimizer in trainer.optimizers.items():
        states = optimizer.state_dict()["state"]
        for index, state in states.items():
            for name, value in state.items():
                tensors[f"{network}.{index}.{name}"] = value
    return tensors


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """AssertionError unless both have the same tensors, bit by bit."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
