"""What every process of test_distributed.py does under torchrun; rank k writes what it saw to <folder>/<k>.json."""

import hashlib
import sys
from datetime import timedelta
from pathlib import Path

import torch

from dnnlib.errors import UserError
from dnnlib.files import write_json
from tests.helpers.tiny import normal
from torch_utils import distributed, gradients
from torch_utils.gradients import GradientAverage, average_gradients
from torch_utils.training_stats import Collector
from training.data.fingerprints import Fingerprinted


def averaged_gradients(rank: int) -> dict:
    """Average two dtypes, a layout that is not contiguous, non-finite values on one process, one missing gradient."""
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 3, 4, 4), (2,), (5,))]
    params[1].data = params[1].data.to(memory_format=torch.channels_last)
    params[2].data = params[2].data.to(torch.float64)
    params[0].grad = torch.tensor([1.0 + rank, float("nan") if rank == 0 else 1.0, 5.0])
    params[1].grad = torch.full_like(params[1], 2.0 * rank)
    params[1].grad[0, 0, 0, 0] = float("inf") if rank == 1 else 0.0
    params[2].grad = torch.tensor([rank + 0.5, 1e300], dtype=torch.float64)
    faults = average_gradients(params)
    return {
        "faults": int(faults),
        "grads": [params[i].grad.flatten().tolist() for i in (0, 1, 2)],
        "dtypes": [str(params[i].grad.dtype) for i in (0, 1, 2)],
        "channels_last": params[1].grad.is_contiguous(memory_format=torch.channels_last),
    }


def overlapped(rank: int) -> dict:
    """Average the gradients of three runs of two passes beside the passes, and behind them."""
    layers = [torch.nn.Linear(300, 300) for _ in range(3)]
    for seed, layer in enumerate(layers):
        layer.weight.data = normal(seed, 300, 300) / 17
    model = torch.nn.Sequential(*layers)
    parameters = list(model.parameters())
    average = GradientAverage(parameters)
    seen: dict[str, list] = {"gradients": [], "expected": [], "early": []}
    started: list[torch.Tensor] = []
    start = distributed.start_sum
    distributed.start_sum = lambda memory: (started.append(memory), start(memory))[1]
    gradients.BUCKET_BYTES = 300 * 301 * 4  # a layer
    for run in range(3):
        backward_passes = [model(normal(10 * run + 2 * i + rank, 8, 300)).square().mean() for i in range(2)]
        started.clear()
        with average.overlapping():
            for loss in backward_passes:
                loss.backward(retain_graph=True)
        early = len(started)
        faults = average.finish()
        seen["early"].append(early)
        seen["gradients"].append([digest(parameter.grad) for parameter in parameters])
        model.zero_grad()
        for loss in backward_passes:
            loss.backward()
        assert int(average_gradients(parameters) + faults) == 0
        seen["expected"].append([digest(parameter.grad) for parameter in parameters])
        model.zero_grad()
    distributed.start_sum = start
    return seen


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def broadcast_tensors(rank: int) -> list:
    turned = torch.arange(6.0).view(2, 3).t() * (rank + 1)
    tensors = [torch.full((2, 2), float(rank)), torch.tensor([rank + 7]), turned]
    distributed.broadcast(tensors)
    return [tensor.tolist() for tensor in tensors]


def statistics(rank: int) -> dict:
    collector = Collector()
    collector.report({"loss": torch.tensor([1.0, 2.0]) + 10 * rank})
    if rank == 1:
        collector.report({"only_there": 4})
    return collector.collect()


def failures(rank: int) -> list[str]:
    """Return how a block ends that only the second process fails in, and one that nobody fails in."""
    ends = []
    for faulty in (1, None):
        try:
            with distributed.fail_together():
                if rank == faulty:
                    raise UserError("The data is gone.")
            ends.append("well")
        except (UserError, SystemExit) as end:
            ends.append(f"{type(end).__name__} {end}")
    return ends


class Data(Fingerprinted):
    """Data that only the main process may read."""

    path = Path("data")

    def __init__(self, seen: str, broken: bool = False):
        self.seen = seen
        self.broken = broken

    def at_a_glance(self) -> str:
        return self.seen

    def _read_fingerprint(self) -> str:
        if self.broken:
            raise UserError("The disk is gone.")
        return f"read by {distributed.rank()}"


def fingerprints(rank: int) -> list[str]:
    """Return fingerprints of the same data, of data that cannot be read, and of data that the processes see as two."""
    ends = []
    once = Data("same")
    for data in (once, Data("same", broken=True), Data(f"of {rank}"), once):
        try:
            data.share_fingerprint()
            ends.append(data.fingerprint())
        except (UserError, SystemExit) as end:
            ends.append(f"{type(end).__name__} {end}")
    return ends


def threads() -> list[str]:
    """Return the names of this process's threads."""
    return [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]


def main() -> None:
    folder = Path(sys.argv[1])
    device = distributed.init(torch.device("cpu"), time_limit=timedelta(seconds=30))
    rank = distributed.rank()
    seen = {
        "rank": rank,
        "world": distributed.world_size(),
        "main": distributed.is_main(),
        "device": str(device),
        "gradients": averaged_gradients(rank),
        "overlapped": overlapped(rank),
        "broadcast": broadcast_tensors(rank),
        "statistics": statistics(rank),
        "gather": distributed.gather({"rank": rank}),
        "greatest": distributed.greatest(rank == 0, rank == 1, False, 0.1 + rank, -rank),
        "failures": failures(rank),
        "fingerprints": fingerprints(rank),
    }
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # imports much of torch
    distributed.barrier()
    distributed.shutdown()
    write_json(folder / f"{rank}.json", seen | {"threads": threads()})


if __name__ == "__main__":
    main()
