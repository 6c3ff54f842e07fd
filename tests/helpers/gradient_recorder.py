"""train.py that, under torchrun, writes down the averaged gradients of every phase of its first iteration.

Arguments: the file to write, then those of train.py.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import train
from training.phases import Phase
from training.training_loop import Trainer, distributed


def record(
    keep: Callable[[str, list[torch.Tensor]], object],
    replace: Callable[[object, str, object], None] = setattr,
) -> None:
    """Have trainers call `keep` with every phase's name and the gradients that its optimisers get.

    Args:
        replace: sets an attribute; a test passes a function that can undo it.
    """
    run_phase = Trainer._run_phase
    average = distributed.average_gradients
    phases: list[str] = []

    def watch(self: Trainer, phase: Phase, *rest: object) -> None:
        phases.append(phase.name)
        run_phase(self, phase, *rest)

    def averaged(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
        faults = average(parameters)
        gradients = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        keep(phases[-1], gradients)
        return faults

    replace(Trainer, "_run_phase", watch)
    replace(distributed, "average_gradients", averaged)


def main() -> None:
    path = Path(sys.argv.pop(1))
    gradients: dict[str, list[torch.Tensor]] = {}
    record(gradients.setdefault)
    try:
        train.main()
    finally:
        if os.environ["RANK"] == "0":
            torch.save(gradients, path)


if __name__ == "__main__":
    main()
