"""train.py for several seeds, under torchrun, that writes down the gradients of every first iteration, by phase.

Arguments: a folder for `<seed>/gradients.pt` and `<seed>/runs`, seeds such as 1,2, then those of train.py.
"""

import sys
from pathlib import Path

import pytest
import torch

import train
from torch_utils.gradients import GradientAverage
from training.phases import Phase
from training.runs.pictures import SnapshotPictures
from training.training_loop import Trainer, distributed

Gradients = dict[str, list[torch.Tensor]]  # by phase


def record(folder: Path, arguments: list[str]) -> Gradients:
    """Train in this process, with a run in `folder` and no pictures; return the gradients that optimisers get first."""
    found: Gradients = {}
    run_phase = Trainer._run_phase
    finish = GradientAverage.finish
    phases: list[str] = []

    def watch(self: Trainer, phase: Phase, *rest: object) -> None:
        phases.append(phase.name)
        run_phase(self, phase, *rest)

    def averaged(average: GradientAverage) -> torch.Tensor:
        faults = finish(average)
        gradients = [parameter.grad.clone() for parameter in average.parameters if parameter.grad is not None]
        found.setdefault(phases[-1], gradients)
        return faults

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_run_phase", watch)
        patch.setattr(GradientAverage, "finish", averaged)
        patch.setattr(SnapshotPictures, "__call__", lambda self, networks, folder, clips: None)
        train.main([*arguments, f"--outdir={folder}"], standalone_mode=False)
    return found


def main() -> None:
    folder, seeds, *arguments = sys.argv[1:]
    leave = distributed.shutdown
    distributed.shutdown = lambda: None  # a process can join its group but once
    for seed in seeds.split(","):
        place = Path(folder) / seed
        gradients = record(place / "runs", [*arguments, f"--seed={seed}"])
        if distributed.is_main():
            torch.save(gradients, place / "gradients.pt")
    leave()


if __name__ == "__main__":
    main()
