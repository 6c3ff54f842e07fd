"""train.py for several seeds, under torchrun, that writes down the gradients of every first iteration, by phase.

Arguments: a folder for `<seed>/gradients.pt` and `<seed>/runs`, seeds such as 1,2, then those of train.py.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

import train
from tests.helpers import forks
from torch_utils.gradients import GradientAverage
from training.phases import Phase
from training.runs.pictures import SnapshotPictures
from training.training_loop import Trainer, distributed

Gradients = dict[str, list[torch.Tensor]]  # by phase


def record_together(folder: Path, arguments: list[str], seeds: Sequence[int] = (1,)) -> dict[int, Gradients]:
    """Return the same by seed from two processes, which are started by torchrun; runs are `folder`/<seed>/runs."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    done = subprocess.run(
        [*launch, str(folder), ",".join(map(str, seeds)), *arguments],
        env=forks.ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {seed: torch.load(folder / str(seed) / "gradients.pt", weights_only=True) for seed in seeds}


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
