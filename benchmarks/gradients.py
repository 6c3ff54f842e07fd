"""Time of averaging a preset's gradients over processes: what each phase has to hide or to pay for being distributed.

    torchrun --nproc-per-node=2 benchmarks/gradients.py --cfg voxceleb

Compare it with the phases' own times (benchmarks/phases.py). In training most of it runs beside the backward passes,
here nothing.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.timing import timed  # noqa: E402
from dnnlib import cli  # noqa: E402
from torch_utils import distributed  # noqa: E402
from torch_utils.gradients import average_gradients  # noqa: E402
from torch_utils.machine_options import machine_options  # noqa: E402
from torch_utils.startup import prepared_machine  # noqa: E402
from training.checkpoints.snapshots import build_networks  # noqa: E402
from training.config import preset  # noqa: E402


def with_gradients(modules: Sequence[torch.nn.Module]) -> list[torch.nn.Parameter]:
    """Return the parameters of networks, with gradients of ones."""
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    return parameters


def best_average(parameters: list[torch.nn.Parameter], device: torch.device, repeats: int) -> float:
    """Return the seconds of the fastest of several averages."""
    seconds = []
    for _ in range(repeats):
        distributed.barrier()
        seconds.append(timed(partial(average_gradients, parameters), device))
    return min(seconds)


@cli.command()
@cli.option("--cfg", default="voxceleb", help="Preset of train.py.")
@cli.option("--repeats", type=click.IntRange(1), default=5, help="Averages to time; the best counts.")
@machine_options("device")
def main(cfg: str, repeats: int, device: str) -> None:
    """Print seconds and bytes of averaging the gradients of the generator, and of both discriminators."""
    with prepared_machine(device=device, join=True) as machine:
        networks = build_networks(preset(cfg), 0, machine.device)
        groups: dict[str, Sequence[torch.nn.Module]] = {"G": [networks.G], "D": networks.discriminators()}
        for name, modules in groups.items():
            parameters = with_gradients(modules)
            seconds = best_average(parameters, machine.device, repeats)
            megabytes = sum(parameter.nbytes for parameter in parameters) / 2**20  # a gradient is as large
            if distributed.is_main():
                processes = distributed.world_size()
                click.echo(f"{name}: {seconds * 1000:.1f} ms for {megabytes:.0f} MB in {processes} processes")


if __name__ == "__main__":
    main()
