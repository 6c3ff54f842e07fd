"""What an iteration of training does around its phases: launches, and what makes the host wait.

The training loop runs on the meta device as the first of two processes on GPUs. Phases leave gradients and statistics,
and compute nothing.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.counting import Counting, Tally
from benchmarks.meta_gpu import META
from torch_utils import distributed
from training.cameras import CAMERA_DIM
from training.config import Config
from training.loss import Report
from training.phases import AnyLoss, Phase
from training.runs.folder import RunFolder
from training.runs.hooks import Hooks
from training.runs.progress import Progress
from training.training_loop import Trainer

PROCESSES = 2
ADAM_TENSORS = 7  # of a parameter's size: a fused Adam reads four and writes three
CLIP_FRAMES = 32


class _Enough(Exception):
    """Ends the training loop."""


class _Others:
    """Stands for torch.distributed in one of several processes: counts, and receives what it sends."""

    ReduceOp = distributed.dist.ReduceOp

    def __init__(self, counting: Counting):
        self.counting = counting

    def is_initialized(self) -> bool:
        return True

    def get_world_size(self) -> int:
        return PROCESSES

    def get_rank(self) -> int:
        return 0

    def all_reduce(self, tensor: torch.Tensor, op: Any = None, async_op: bool = False) -> Any:
        if tensor.device.type == "cpu":
            self.counting.wait("all_reduce among hosts")
        else:
            self.counting.add("all_reduce", 0.0, 2 * tensor.nbytes, 1, tensor.dtype)
        return mock.Mock()

    def all_gather_object(self, values: list, value: Any, group: Any = None) -> None:
        self.counting.wait("all_gather_object among hosts")
        values[:] = [value] * PROCESSES


@dataclass
class _Data:
    """A dataset of which only the cameras are asked for."""

    lengths: list[int]
    camera_paths: list[np.ndarray]
    num_clips: int
    clips: list[Any]


def _data() -> _Data:
    path = np.zeros([CLIP_FRAMES, CAMERA_DIM], np.float32)
    return _Data(lengths=[CLIP_FRAMES], camera_paths=[path], num_clips=1, clips=[mock.Mock(cameras=path)])


def count_between_phases(config: Config, reports: dict[Callable, Report], counting: Counting) -> int:
    """Count several iterations but the phases in them; return how many they are.

    Args:
        reports: what each phase reports, by its function.
        counting: an open context.
    """
    iterations = math.lcm(config.training.g_reg_interval or 1, config.training.d_reg_interval or 1)

    def accumulate(phase: Phase, loss: AnyLoss, **inputs: Any) -> Report:
        for name in phase.networks:
            for parameter in getattr(loss, name).parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.empty_like(parameter)
        return reports[phase.function]

    def step(optimizer: torch.optim.Optimizer) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        size = ADAM_TENSORS * sum(parameter.nbytes for parameter in parameters)
        with counting.component("optimisers"):
            counting.add("fused Adam", 0.0, size, 1, torch.float32)

    def iteration(progress: Progress) -> None:
        if progress.iteration == 1:
            counting.clear()
        elif progress.iteration == 1 + iterations:
            raise _Enough

    with ExitStack() as stack:
        for patch in (
            mock.patch.object(distributed, "dist", _Others(counting)),
            mock.patch.object(Phase, "accumulate", accumulate),
            mock.patch.object(torch.optim.Adam, "step", step),
            mock.patch.object(Trainer, "_batches", _batches),
        ):
            stack.enter_context(patch)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        trainer = Trainer(config, _data(), RunFolder(Path(folder)), META, hooks=Hooks(iteration=iteration))  # type: ignore[arg-type]
        stack.enter_context(suppress(_Enough))
        trainer.train()
    return iterations


def _batches(trainer: Trainer) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of reals on the host."""
    clips = trainer.per_process
    side = trainer.config.generator.img_resolution
    frames = trainer.config.training.frames
    batch = {
        "frames": torch.zeros([clips, frames, 3, side, side], dtype=torch.uint8),
        "times": torch.zeros([clips, frames]),
        "cameras": torch.zeros([clips, frames, CAMERA_DIM]),
    }
    while True:
        yield batch


def shares(counting: Counting, iterations: int) -> Tally:
    """Return what one iteration asks for."""
    total = Tally()
    for tally in counting.tallies.values():
        total.add(tally, 1 / iterations)
    return total
