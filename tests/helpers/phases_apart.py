"""Gradients of the phases of a first iteration, each from the same weights, divided among processes in turn."""

from pathlib import Path

import pytest
import torch

from tests.helpers.trainers import iterate, make_trainer
from torch_utils.gradients import GradientAverage
from training.training_loop import distributed


def gradients(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *, ranks: int = 1, **changes
) -> dict[str, list[torch.Tensor]]:
    """Return the gradients of every phase of the first iteration, averaged over processes that run one by one."""
    found: dict[str, list[torch.Tensor]] = {}
    for rank in range(ranks):
        with monkeypatch.context() as patch:
            patch.setattr(distributed, "rank", lambda: rank)  # noqa: B023
            patch.setattr(distributed, "world_size", lambda: ranks)
            patch.setattr(distributed, "average", lambda tensors: None)
            trainer = make_trainer(data, folder / f"rank{rank}", training__batch=8, **changes)
            names = iter(phase.name for phase in trainer.phases)

            def keep(average):
                present = [parameter.grad for parameter in average.parameters if parameter.grad is not None]
                shares = [gradient / ranks for gradient in present]
                name = next(names)  # noqa: B023
                found[name] = [a + b for a, b in zip(found[name], shares, strict=True)] if name in found else shares
                for gradient in present:
                    gradient.zero_()  # no step: the next phase has the same networks on every process
                return torch.zeros([])

            patch.setattr(GradientAverage, "finish", keep)
            iterate(trainer)
    return found
