"""What may befall a training process, and a record of what it does. Each function arms this process for good."""

import errno
import hashlib
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from torch_utils import checkpoint, distributed
from training.loss import Loss
from training.runs.folder import RunFolder
from training.training_loop import Trainer, schedule


def killed_at(what: str, name: str, occurrence: int) -> None:
    """SIGKILL the `occurrence`th time that `what` happens to a file whose name begins with `name`.

    what: writing (each write of a checkpoint's file, afterwards), syncing, renaming, renamed, removing.
    """
    seen = 0

    def event(happening: str, path: str | os.PathLike) -> None:
        nonlocal seen
        if happening == what and Path(path).name.removeprefix(".").startswith(name):
            seen += 1
            if seen == occurrence:
                os.kill(os.getpid(), signal.SIGKILL)

    sync, rename, remove = os.fsync, os.replace, os.unlink

    def syncing(descriptor: int) -> None:
        event("syncing", os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def renaming(source, dest) -> None:
        event("renaming", dest)
        rename(source, dest)
        event("renamed", dest)

    def removing(path, **options) -> None:
        event("removing", path)
        remove(path, **options)

    os.fsync, os.replace, os.unlink = syncing, renaming, removing
    _after_writes(lambda path, count: event("writing", path))


def disk_full(name: str, write: int) -> None:
    """No space from the `write`th write on to a checkpoint whose name begins with `name`."""

    def fill(path: Path, count: int) -> None:
        if path.name.removeprefix(".").startswith(name) and count >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    _after_writes(fill)


def _after_writes(act: Callable[[Path, int], None]) -> None:
    """Calls `act` with the path and the number of each write to a checkpoint, when its bytes are in the file."""
    save = checkpoint.torch.save

    class Writer:
        """Passes on what torch.save writes."""

        def __init__(self, file):
            self.file, self.count = file, 0

        def write(self, data) -> int:
            done = self.file.write(data)
            self.file.flush()
            self.count += 1
            act(Path(self.file.name), self.count)
            return done

        def flush(self) -> None:
            self.file.flush()

    checkpoint.torch.save = lambda content, file: save(content, Writer(file))


def raised_in_phase(phase: str, call: int) -> None:
    """An error of ours in a phase, the `call`th time that it runs."""

    def fail() -> None:
        raise RuntimeError("The phase went wrong.")

    _before_phase(phase, call, fail)


def killed_in_phase(phase: str, call: int) -> None:
    """SIGKILL in a phase."""
    _before_phase(phase, call, lambda: os.kill(os.getpid(), signal.SIGKILL))


def _before_phase(phase: str, call: int, act: Callable[[], None]) -> None:
    original, calls = getattr(Loss, phase), 0

    def wrapped(self: Loss, *arguments, **options):
        nonlocal calls
        calls += 1
        if calls == call:
            act()
        return original(self, *arguments, **options)

    setattr(Loss, phase, wrapped)


def loader_workers_killed(iteration: int) -> None:
    """SIGKILL for the processes that load data, in an iteration."""

    def kill(self: Trainer) -> None:
        if self.progress.iteration == iteration:
            for worker in multiprocessing.active_children():
                worker.kill()

    before_iterations(kill)


def clip_gone(iteration: int, folder: str) -> None:
    """The frames of a clip vanish in an iteration."""

    def remove(self: Trainer) -> None:
        if self.progress.iteration == iteration:
            for frame in Path(folder).iterdir():
                frame.unlink()

    before_iterations(remove)


def states_unseen() -> None:
    """This process sees another disk, without training states."""
    RunFolder.states = lambda self: []


def files_limited(size: int) -> None:
    """No file may have more than `size` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def nan_gradient(iteration: int) -> None:
    """The gradient of a matrix of the generator's decoder is NaN in all phases of one iteration."""
    original = Trainer.iterate

    def iterate(self: Trainer, batch: dict) -> None:
        handle = None
        if self.progress.iteration == iteration:
            parameter = next(p for p in self.networks.G.decoder.parameters() if p.ndim > 1)
            handle = parameter.requires_grad_(True).register_hook(lambda grad: torch.full_like(grad, float("nan")))
        original(self, batch)
        if handle:
            handle.remove()

    Trainer.iterate = iterate


def before_iterations(act: Callable[[Trainer], object]) -> None:
    """Calls `act` before every iteration."""
    original = Trainer.iterate

    def iterate(self: Trainer, batch: dict) -> None:
        act(self)
        original(self, batch)

    Trainer.iterate = iterate


def record(path: Path) -> None:
    """One JSON line an iteration: where it is, its clips and schedules, and the weights behind it."""
    original = Trainer.iterate

    def iterate(self: Trainer, batch: dict) -> None:
        line = {
            "rank": distributed.rank(),
            "clips": self.progress.clips,
            "iteration": self.progress.iteration,
            "schedule": vars(schedule(self.config, self.progress.seen)),
            "batch": [digest(values) for values in zip(*batch.values(), strict=True)],
        }
        original(self, batch)
        line["weights"] = digest(value for _, module in self.networks.items() for value in module.state_dict().values())
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    Trainer.iterate = iterate


def digest(tensors) -> str:
    """Of the tensors' bytes."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()
