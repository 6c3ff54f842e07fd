"""A run's folder: its number and name, options, statistics, snapshots, training states.

`00000-<cfg>-<data>-batch<b>-gamma<g>[-desc]/` holds `training_options.json`, `stats.jsonl`, TensorBoard events (if
installed), `network-snapshot-<kimg>.pkl`, `training-state-<kimg>.pt`, and at each snapshot pictures and a video.
"""

import contextlib
import itertools
import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dnnlib import json_lines
from dnnlib.errors import UserError
from dnnlib.files import atomic_path, read_json, remove_unfinished, storage_errors, write_json
from dnnlib.locks import PathLock
from torch_utils import checkpoint
from training.checkpoints.snapshots import Networks, save_snapshot
from training.checkpoints.states import require_finite
from training.config import Config, from_dict, to_dict

OPTIONS = "training_options.json"
STATS = "stats.jsonl"
EVENTS = "events.out.tfevents.*"
FREE = frozenset(f"training.{name}" for name in ("kimg", "tick", "snap", "keep", "workers", "batch_gpu"))


@dataclass(frozen=True)
class RunOptions:
    """What a run is started with, kept as `training_options.json`."""

    config: Config
    data: str  # path of the dataset
    fingerprint: str  # of its content
    init_from: str | None  # snapshot that the weights come from

    def save(self, folder: Path) -> None:
        """Writes them into a run's folder."""
        write_json(
            folder / OPTIONS,
            {
                "data": self.data,
                "fingerprint": self.fingerprint,
                "init_from": self.init_from,
                "config": to_dict(self.config),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> "RunOptions":
        """Those of a run's folder. UserError if they are missing, damaged or of another version."""
        values = read_json(folder / OPTIONS)
        try:
            return cls(from_dict(values["config"]), values["data"], values["fingerprint"], values["init_from"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / OPTIONS} is no list of options of this version: start a new run.") from error

    def differences(self, other: "RunOptions") -> dict[str, tuple[Any, Any]]:
        """{option: (value here, value in `other`)} of all that a run cannot change when it goes on.

        How long it trains and how often it reports (FREE) it can, and where its dataset lies.
        """
        here, there = self._binding(), other._binding()
        return {key: (here[key], there[key]) for key in here if here[key] != there[key]}

    def _binding(self) -> dict[str, Any]:
        values = {key: value for key, value in _flat(to_dict(self.config)).items() if key not in FREE}
        return {**values, "dataset": self.fingerprint, "init_from": self.init_from}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return flat


class RunFolder:
    """The files of one run, written by the main process alone.

    As a context it closes its files at the end, and takes away the folder of a run that had nothing to show yet.

    Args:
        keep: how many training states to keep.
        only: the one training state to go on from; None: the newest that can be used.
    """

    def __init__(self, path: Path, keep: int = 3, only: Path | None = None):
        self.path, self.keep, self.only = path, keep, only
        self._events = None
        self._lock = PathLock(path)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_) -> None:
        try:
            if self._events:
                with storage_errors(self.path / EVENTS):
                    self._events.close()
            if {path.name for path in self.path.iterdir()} == {OPTIONS}:
                (self.path / OPTIONS).unlink()
                self.path.rmdir()
        finally:
            self._lock.release()

    def claim(self) -> None:
        """Takes the folder for this process, and removes what a process that was killed left half-written.

        UserError if another process trains this run, as far as the file system's locks tell.
        """
        if self._lock.take(wait=False) is False:
            raise UserError(
                f"Another process is training {self.path}: stop it or let it end, or start one more run "
                "with --resume=none."
            )
        remove_unfinished(self.path)

    @classmethod
    def create(cls, outdir: Path, name: str, options: RunOptions) -> Path:
        """The next free number under `outdir`, with the options written down."""
        with storage_errors(outdir):
            outdir.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(next_number(outdir)):
            path = outdir / f"{number:05d}-{name}"
            with storage_errors(path), contextlib.suppress(FileExistsError):  # another start was faster
                path.mkdir()
                break
        with _undone(path):
            options.save(path)
        return path

    @classmethod
    def find(cls, outdir: Path, name: str, options: RunOptions) -> Path | None:
        """The newest run under `outdir` with this name and these options that has a state to go on from; if there is
        none, the newest that was killed before its first state, to start it again."""
        same = []
        for path in sorted(outdir.glob(f"[0-9][0-9][0-9][0-9][0-9]-{name}"), reverse=True):
            with contextlib.suppress(UserError):  # of another version, or no run of ours: not the same options
                if not options.differences(RunOptions.load(path)):
                    same.append(path)
        return next((path for path in same if cls(path).states()), same[0] if same else None)

    @classmethod
    def latest(cls, outdir: Path) -> Path | None:
        """The run under `outdir` with the highest number that has a state to go on from, whatever its options."""
        return next(
            (path for path in sorted(outdir.glob("[0-9][0-9][0-9][0-9][0-9]-*"), reverse=True) if cls(path).states()),
            None,
        )

    @classmethod
    def branch(cls, outdir: Path, name: str, options: RunOptions, state: Path) -> Path:
        """A new run that starts with a training state of another one, and its statistics. That one stays as it is."""
        path = cls.create(outdir, name, options)
        with _undone(path):
            if (stats := state.with_name(STATS)).exists():
                with atomic_path(path / STATS) as temporary:
                    shutil.copyfile(stats, temporary)
            try:
                os.link(state, path / state.name)  # at once and whole; states are replaced, never changed
            except OSError:  # another file system
                with atomic_path(path / state.name) as temporary:
                    shutil.copyfile(state, temporary)
        return path

    def log(self, progress, stats: dict[str, float]) -> None:
        """Appends a line to stats.jsonl and, where TensorBoard is installed, its events.

        JSON knows neither NaN nor infinity: they become null.
        """
        line = {
            "kimg": progress.kimg,
            "iteration": progress.iteration,
            "seconds": round(progress.seconds, 3),
            "timestamp": time.time(),
            **{name: value if math.isfinite(value) else None for name, value in stats.items()},
        }
        json_lines.append(self.path / STATS, [json.dumps(line, allow_nan=False)])
        with storage_errors(self.path / EVENTS):
            if events := self._tensorboard(progress.clips):
                for name, value in stats.items():
                    events.add_scalar(name, value, progress.clips)

    def rewind(self, iteration: int) -> None:
        """Drops statistics of iterations beyond this one, which a run that was killed will do again."""
        json_lines.keep(self.path / STATS, lambda line: json_lines.number(line, "iteration") <= iteration)

    def _tensorboard(self, clips: int):
        """TensorBoard's writer, False without TensorBoard; earlier events from `clips` on do not count any more."""
        if self._events is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._events = False
            else:
                self._events = SummaryWriter(str(self.path), purge_step=clips)
        return self._events

    def save_snapshot(self, config: Config, networks: Networks, bank: torch.Tensor, progress) -> Path:
        """Writes `network-snapshot-<kimg>.pkl`."""
        path = self.snapshot_path(progress)
        save_snapshot(path, config, networks, bank, {"kimg": progress.seen / 1000})
        return path

    def snapshot_path(self, progress) -> Path:
        """Where the snapshot of this moment is."""
        return self.path / f"network-snapshot-{stamp(progress.clips)}.pkl"

    def save_state(self, state: dict[str, Any], progress) -> Path:
        """Writes `training-state-<kimg>.pt`, then drops the oldest beyond `keep`.

        States of later moments do not count: this run did not go on from them, so they cannot be used.
        UserError if the state holds NaN or infinity, or cannot be written; then all others stay.
        """
        path = self.path / f"training-state-{stamp(progress.clips)}.pt"
        require_finite(state, path)
        checkpoint.save(path, state, "state")
        for old in [other for other in self.states() if other <= path][: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def states(self) -> list[Path]:
        """Training states, oldest first."""
        return sorted(self.path.glob("training-state-*.pt"))

    def newest_state(
        self,
        check: Callable[[Any, Path], None] = lambda state, path: None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> tuple[Path, dict[str, Any]] | None:
        """The newest training state that opens and that `check` does not refuse; None if there is none at all.

        Args:
            check: raises UserError if the state of this path cannot be used.
            tell: hears which newer states were passed over, and why.

        Raises:
            UserError: none can be used, or not the one that was asked for.
        """
        problems = []
        for path in reversed(self.states()) if self.only is None else [self.only]:
            try:
                state = checkpoint.load(path, "state")
                check(state, path)
            except UserError as error:
                problems.append(error)
                continue
            for problem in problems:
                tell(f"{problem} Going on from the earlier {path.name}.")
            return path, state
        if problems:
            raise problems[0]
        return None


@contextlib.contextmanager
def _undone(path: Path) -> Iterator[None]:
    """Takes a new run's folder away again if it cannot be filled."""
    try:
        yield
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def stamp(clips: int) -> str:
    """Clips as they stand in file names: kimg, six digits and three decimals."""
    return f"{clips / 1000:010.3f}"


def next_number(outdir: Path) -> int:
    """One more than the highest number of a run under `outdir`."""
    matches = [re.match(r"(\d{5})-", path.name) for path in outdir.iterdir()] if outdir.is_dir() else []
    return max([int(match.group(1)) + 1 for match in matches if match], default=0)
