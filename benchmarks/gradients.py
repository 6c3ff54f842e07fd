"""Time of averaging a preset's gradients over processes: what each phase pays for being distributed.

    torchrun --nproc-per-node=2 benchmarks/gradients.py --cfg voxceleb

To be held against the phases' own times (benchmarks/phases.py): it bounds what could be gained by overlapping the
averages with the backward passes.
"""

import sys
import time
from pathlib import Path

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from dnnlib import cli  # noqa: E402
from torch_utils import distributed, runtime  # noqa: E402
from training.checkpoints.snapshots import build_networks  # noqa: E402
from training.config import preset  # noqa: E402


def seconds(parameters: list[torch.nn.Parameter], device: torch.device, repeats: int) -> float:
    """The least of several averages."""
    best = float("inf")
    for _ in range(repeats):
        distributed.barrier()
        started = time.perf_counter()
        distributed.average_gradients(parameters)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return best


@cli.command()
@click.option("--cfg", default="voxceleb", help="Preset of train.py.")
@click.option("--device", default="auto", help="auto, cpu or cuda.")
@click.option("--repeats", type=click.IntRange(1), default=5, help="Averages to time; the best counts.")
def main(cfg: str, device: str, repeats: int):
    """Seconds and bytes of averaging the gradients of the generator, and of both discriminators."""
    place = distributed.init(runtime.select_device(device))
    try:
        networks = build_networks(preset(cfg), 0, place)
        for name, modules in (("G", [networks.G]), ("D", networks.discriminators())):
            parameters = [p for module in modules for p in module.parameters()]
            for p in parameters:
                p.grad = torch.ones_like(p)
            spent, size = seconds(parameters, place, repeats), sum(p.grad.nbytes for p in parameters)
            if distributed.is_main():
                click.echo(
                    f"{name}: {spent * 1000:.1f} ms for {size / 2**20:.0f} MB in {distributed.world_size()} processes"
                )
    finally:
        distributed.shutdown()


if __name__ == "__main__":
    main()
