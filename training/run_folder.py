"""A run's folder: its number and name, options, statistics, snapshots, training states.

`00000-<cfg>-<data>-batch<b>-gamma<g>[-desc]/` holds `training_options.json`, `stats.jsonl`, TensorBoard events (if
installed), `network-snapshot-<kimg>.pkl`, `training-state-<kimg>.pt`, and at each snapshot pictures and a video.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import read_json, write_json
from torch_utils import checkpoint
from training.config import Config, from_dict, to_dict
from training.snapshots import Networks, save_snapshot

OPTIONS = "training_options.json"
STATS = "stats.jsonl"


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path, keep: int = 3):
        self.path, self.keep = path, keep
        self._tensorboard = None

    @classmethod
    def create(cls, outdir: Path, name: str, config: Config, extra: dict[str, Any], keep: int = 3) -> "RunFolder":
        """The next free number under `outdir`, with the options written down."""
        path = outdir / f"{next_number(outdir):05d}-{name}"
        path.mkdir(parents=True)
        run = cls(path, keep)
        write_json(path / OPTIONS, {**extra, "config": to_dict(config)})
        return run

    @classmethod
    def find(cls, outdir: Path, name: str, config: Config) -> Path | None:
        """The newest run under `outdir` with this name and configuration that has a state to go on from."""
        for path in sorted(outdir.glob(f"[0-9][0-9][0-9][0-9][0-9]-{name}"), reverse=True):
            if list(path.glob("training-state-*.pt")) and from_dict(read_json(path / OPTIONS)["config"]) == config:
                return path
        return None

    def log(self, progress, stats: dict[str, float]) -> None:
        """Appends a line to stats.jsonl and, where TensorBoard is installed, its events."""
        line = {"kimg": progress.kimg, "iteration": progress.iteration, "seconds": round(progress.seconds, 3),
                "timestamp": time.time(), **stats}
        with open(self.path / STATS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._events() is not None:
            for name, value in stats.items():
                self._events().add_scalar(name, value, progress.clips)

    def _events(self):
        if self._tensorboard is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._tensorboard = False
            else:
                self._tensorboard = SummaryWriter(str(self.path))
        return self._tensorboard or None

    def save_snapshot(self, config: Config, networks: Networks, bank: torch.Tensor, progress) -> Path:
        """Writes `network-snapshot-<kimg>.pkl`."""
        path = self.path / f"network-snapshot-{stamp(progress.clips)}.pkl"
        save_snapshot(path, config, networks, bank, {"kimg": progress.kimg, "iteration": progress.iteration})
        return path

    def save_state(self, state: dict[str, Any], progress) -> Path:
        """Writes `training-state-<kimg>.pt`, then drops the oldest beyond `keep`."""
        path = self.path / f"training-state-{stamp(progress.clips)}.pt"
        checkpoint.save(path, state, "state")
        for old in self.states()[:-self.keep]:
            old.unlink(missing_ok=True)
        return path

    def states(self) -> list[Path]:
        """Training states, oldest first."""
        return sorted(self.path.glob("training-state-*.pt"))

    def newest_state(self) -> dict[str, Any] | None:
        """The newest training state that opens; None if there is none at all. UserError if none of them opens."""
        problem = None
        for path in reversed(self.states()):
            try:
                return checkpoint.load(path, "state")
            except UserError as error:
                problem = problem or error
        if problem is not None:
            raise problem
        return None

    def close(self) -> None:
        """Flushes the TensorBoard events."""
        if self._tensorboard:
            self._tensorboard.close()


def stamp(clips: int) -> str:
    """Clips as they stand in file names: kimg, six digits and three decimals."""
    return f"{clips / 1000:010.3f}"


def next_number(outdir: Path) -> int:
    """One more than the highest number of a run under `outdir`."""
    matches = [re.match(r"(\d{5})-", path.name) for path in outdir.iterdir()] if outdir.is_dir() else []
    return max([int(match.group(1)) + 1 for match in matches if match], default=0)
