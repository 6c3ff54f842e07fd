"""Faults to inject into a training process, and a record of what it does.

Each function changes the code of this process for the rest of its life.
"""

import errno
import hashlib
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from torch_utils import checkpoint, distributed
from training.loss import Loss, schedule
from training.runs.folder import RunFolder
from training.training_loop import Batch, Trainer

# --- Processes of one command -----------------------------------------------------------------------------------------


def in_rank(rank: int, name: str, *more: Any) -> None:
    """Inject another fault of this module into one of the processes that this one will fork."""
    join = distributed.init
    inject = globals()[name]

    def joined(*arguments: Any, **places: Any) -> torch.device:
        device = join(*arguments, **places)
        if distributed.rank() == rank:
            inject(*more)
        return device

    distributed.init = joined


def process_noted(file: str) -> None:
    """Write this process's number into a file."""
    Path(file).write_text(str(os.getpid()))


# --- Files ------------------------------------------------------------------------------------------------------------


def killed_at(event: str, name: str, occurrence: int) -> None:
    """SIGKILL at the `occurrence`th event of a kind that concerns a file whose name begins with `name`.

    Args:
        event: writing (each write of a checkpoint's file, afterwards), syncing, renaming, renamed, removing.
    """
    seen = 0

    def happens(what: str, path: str | os.PathLike) -> None:
        nonlocal seen
        if what != event or not _begins_with(path, name):
            return
        seen += 1
        if seen == occurrence:
            os.kill(os.getpid(), signal.SIGKILL)

    sync, rename, remove = os.fsync, os.replace, os.unlink

    def syncing(descriptor: int) -> None:
        happens("syncing", os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def renaming(source: os.PathLike, dest: os.PathLike) -> None:
        happens("renaming", dest)
        rename(source, dest)
        happens("renamed", dest)

    def removing(path: os.PathLike, **options: Any) -> None:
        happens("removing", path)
        remove(path, **options)

    os.fsync = syncing
    os.replace = renaming
    os.unlink = removing
    _after_writes(lambda path, count: happens("writing", path))


def disk_full(name: str, write: int) -> None:
    """Leave no space from the `write`th write on to a checkpoint whose name begins with `name`."""

    def fill(path: Path, count: int) -> None:
        if _begins_with(path, name) and count >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    _after_writes(fill)


def _begins_with(path: str | os.PathLike, name: str) -> bool:
    """Tell whether a file, or the unfinished file that will become it (.name), begins with `name`."""
    return Path(path).name.removeprefix(".").startswith(name)


def _after_writes(act: Callable[[Path, int], None]) -> None:
    """Call `act` with the path and the number of each write to a checkpoint, when its bytes are in the file."""
    save = checkpoint.torch.save

    class Writer:
        """Passes on what torch.save writes."""

        def __init__(self, file):
            self.file = file
            self.count = 0

        def write(self, data) -> int:
            written = self.file.write(data)
            self.file.flush()
            self.count += 1
            act(Path(self.file.name), self.count)
            return written

        def flush(self) -> None:
            self.file.flush()

    checkpoint.torch.save = lambda content, file: save(content, Writer(file))


def files_limited(size: int) -> None:
    """Let no file have more than `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def states_unseen() -> None:
    """Show this process another disk, without training states."""
    RunFolder.states = lambda self: []


# --- Phases -----------------------------------------------------------------------------------------------------------


def raised_in_phase(phase: str, call: int) -> None:
    """Raise an error of ours in a phase, the `call`th time that it runs."""

    def fail() -> None:
        raise RuntimeError("The phase went wrong.")

    _before_phase(phase, call, fail)


def killed_in_phase(phase: str, call: int) -> None:
    """SIGKILL in a phase, the `call`th time that it runs."""
    _before_phase(phase, call, lambda: os.kill(os.getpid(), signal.SIGKILL))


def _before_phase(phase: str, call: int, act: Callable[[], None]) -> None:
    """Call `act` before a phase, a method of `Loss`; trainers that are made later run it."""
    original = getattr(Loss, phase)
    calls = 0

    def wrapped(self: Loss, **inputs: Any) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == call:
            act()
        return original(self, **inputs)

    setattr(Loss, phase, wrapped)


# --- Iterations -------------------------------------------------------------------------------------------------------


def before_iterations(act: Callable[[Trainer], object]) -> None:
    """Call `act` before every iteration."""
    original = Trainer.iterate

    def iterate(self: Trainer, batch: Batch) -> None:
        act(self)
        original(self, batch)

    Trainer.iterate = iterate


def loader_workers_killed(iteration: int) -> None:
    """SIGKILL the processes that load data, in an iteration."""

    def kill(trainer: Trainer) -> None:
        if trainer.progress.iteration == iteration:
            for worker in multiprocessing.active_children():
                worker.kill()

    before_iterations(kill)


def clip_gone(iteration: int, folder: str) -> None:
    """Delete the frames of a clip in an iteration."""

    def remove(trainer: Trainer) -> None:
        if trainer.progress.iteration == iteration:
            for frame in Path(folder).iterdir():
                frame.unlink()

    before_iterations(remove)


def nan_gradient(iteration: int) -> None:
    """Make the gradient of a matrix of the generator's decoder NaN in all phases of one iteration."""
    original = Trainer.iterate

    def iterate(self: Trainer, batch: Batch) -> None:
        if self.progress.iteration != iteration:
            original(self, batch)
            return
        matrix = next(parameter for parameter in self.networks.G.decoder.parameters() if parameter.ndim > 1)
        matrix.requires_grad_(True)
        handle = matrix.register_hook(lambda grad: torch.full_like(grad, float("nan")))
        original(self, batch)
        handle.remove()

    Trainer.iterate = iterate


# --- Record -----------------------------------------------------------------------------------------------------------


def record(path: Path) -> None:
    """Append one JSON line an iteration to a file: where it is, its clips and schedules, and the weights after it."""
    original = Trainer.iterate

    def iterate(self: Trainer, batch: Batch) -> None:
        clips = zip(*batch.values(), strict=True)
        line = {
            "rank": distributed.rank(),
            "clips": self.progress.clips,
            "iteration": self.progress.iteration,
            "schedule": vars(schedule(self.config, self.progress.seen)),
            "batch": [digest(clip) for clip in clips],
        }
        original(self, batch)
        line["weights"] = digest(weights(self))
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    Trainer.iterate = iterate


def weights(trainer: Trainer) -> list[torch.Tensor]:
    """Return all parameters and buffers."""
    return [value for _, module in trainer.networks.items() for value in module.state_dict().values()]


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Return a digest of the tensors' bytes."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()
