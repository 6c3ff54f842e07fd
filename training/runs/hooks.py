"""What a command may hook into the training loop: status lines, pictures, scores, a request to stop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from training.checkpoints.snapshots import Networks, Snapshot
from training.runs.progress import Progress


@dataclass(kw_only=True)
class Status:
    """The contents of one status line."""

    progress: Progress
    stats: dict[str, float]  # means since the last status
    warnings: list[str] = field(default_factory=list)  # about what has begun to go wrong
    done: bool = False


@dataclass(kw_only=True)
class Hooks:
    """The functions that the loop calls; by default they do nothing."""

    status: Callable[[Status], None] = lambda status: None  # every tick, on the main process
    iteration: Callable[[Progress], None] = lambda progress: None  # every iteration, on the main process
    saving: Callable[[str], None] = lambda what: None  # before files are written, on the main process
    pictures: Callable[[Networks, Path, int], None] = lambda networks, folder, clips: None
    evaluate: Callable[[Snapshot, Path], None] = lambda snapshot, path: None  # on every process
    stop: Callable[[], bool] = lambda: False  # True: save and return
