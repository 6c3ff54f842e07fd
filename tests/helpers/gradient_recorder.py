"""train.py that, under torchrun, writes down the averaged gradients of every phase of its first iteration.

Arguments: the file to write, then those of train.py.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import train
from training.training_loop import Trainer, distributed


def record(
    trainer: type[Trainer],
    keep: Callable[[str, list[torch.Tensor]], None],
    replace: Callable[[object, str, object], None] = setattr,
) -> None:
    """Calls `keep` with every phase's name and the gradients that its optimisers get."""
    run_phase, average = trainer._run_phase, distributed.average_gradients
    phases: list[str] = []

    def watch(self, phase, *rest):
        phases.append(phase)
        run_phase(self, phase, *rest)

    def averaged(params):
        params = list(params)
        bad = average(params)
        keep(phases[-1], [param.grad.clone() for param in params if param.grad is not None])
        return bad

    replace(trainer, "_run_phase", watch)
    replace(distributed, "average_gradients", averaged)


def main() -> None:
    gradients: dict[str, list[torch.Tensor]] = {}
    record(Trainer, gradients.setdefault)
    path = Path(sys.argv.pop(1))
    try:
        train.main()
    finally:
        if os.environ["RANK"] == "0":
            torch.save(gradients, path)


if __name__ == "__main__":
    main()
