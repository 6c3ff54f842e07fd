"""A run's folder: its number and name, options, statistics, snapshots, training states.

`00000-<cfg>-<data>-batch<b>-gamma<g>[-desc]/` holds `training_options.json`, `stats.jsonl`, TensorBoard events (if
installed), `network-snapshot-<kimg>.pkl`, `training-state-<kimg>.pt`, at each snapshot pictures and a video, and what
Weights & Biases keeps there (with --wandb).
"""

import contextlib
import itertools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from dnnlib import json_lines
from dnnlib.errors import UserError
from dnnlib.files import atomic_path, remove_unfinished, storage_errors
from dnnlib.locks import PathLock
from dnnlib.names import natural_key
from torch_utils import checkpoint
from training.checkpoints.snapshots import Networks, save_snapshot
from training.checkpoints.states import require_finite
from training.config import Config
from training.runs.events import EVENTS, EventLog
from training.runs.options import OPTIONS, RunOptions
from training.runs.progress import Progress
from training.runs.wandb_log import FOLDER, IDS, WandbLog
from training.runs.writers import Writer

STATS = "stats.jsonl"
PICTURES = "fakes"  # pictures and videos of a snapshot: fakes<kimg>.*

Warn = Callable[[str], None]  # passes a sentence on to the user


class RunFolder:
    """The files of one run, written by the main process alone.

    As a context manager it closes its files at the end, and removes the folder of a run that has written nothing yet.

    Args:
        fall_back: whether to go on from an earlier training state where the newest cannot be used; False where the
            user has named the newest.
    """

    def __init__(self, path: Path, *, fall_back: bool = True):
        self.path = path
        self.fall_back = fall_back
        self._writers: list[Writer] = []
        self._lock = PathLock(path)

    # --- Start and end ------------------------------------------------------------------------------------------------

    def claim(self) -> None:
        """Take the folder for this process, and remove what a process that was killed left half-written.

        UserError if another process trains this run, as far as the file system's locks tell.
        """
        if self._lock.take(wait=False) is False:
            raise UserError(
                f"Another process is training {self.path}: stop it or let it end, or start one more run "
                "with --resume=none."
            )
        remove_unfinished(self.path)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            for writer in self._writers:
                writer.close()
            if all(path.name in (OPTIONS, IDS, FOLDER) or path.match(EVENTS) for path in self.path.iterdir()):
                shutil.rmtree(self.path)
        finally:
            self._lock.release()

    # --- Which run ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, outdir: Path, name: str, options: RunOptions) -> Path:
        """Make a folder with the next free number under `outdir`, and write the options into it."""
        with storage_errors(outdir):
            outdir.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(next_number(outdir)):
            path = outdir / f"{number:05d}-{name}"
            with storage_errors(path), contextlib.suppress(FileExistsError):  # another start was faster
                path.mkdir()
                break
        with _removed_on_error(path):
            options.save(path)
        return path

    @classmethod
    def find(cls, outdir: Path, name: str, options: RunOptions) -> Path | None:
        """Return the newest run under `outdir` with such a name and these options that has a state to go on from.

        If none has a state, the newest that was killed before its first one, to start it again; None if there is none.
        """
        same = []
        for path in _newest_first(outdir, name):
            with contextlib.suppress(UserError):  # of another version, or no run of ours: not the same options
                saved = RunOptions.load(path)
                # Names and sizes, all that earlier versions knew, may be those of other data.
                certain = saved.fingerprint == options.fingerprint or Path(saved.data).stem == Path(options.data).stem
                if certain and not options.differences(saved):
                    same.append(path)
        with_state = [path for path in same if cls(path).states()]
        return next(iter(with_state or same), None)

    @classmethod
    def latest(cls, outdir: Path) -> Path | None:
        """Return the run under `outdir` with the highest number that has a state, whatever its options."""
        return next((path for path in _newest_first(outdir) if cls(path).states()), None)

    @classmethod
    def all_with_states(cls, outdir: Path) -> list[Path]:
        """Return all runs under `outdir` that have a state, also those that were renamed, the newest first."""
        folders = sorted((path.parent for path in outdir.glob(f"*/{OPTIONS}")), reverse=True)
        return [path for path in folders if cls(path).states()]

    @classmethod
    def branch(cls, outdir: Path, name: str, options: RunOptions, state: Path) -> Path:
        """Make a run that starts with a training state of another one, and its statistics. That one stays as it is."""
        path = cls.create(outdir, name, options)
        stats = state.with_name(STATS)
        with _removed_on_error(path):
            if stats.exists():
                _copy(stats, path / STATS)
            try:
                os.link(state, path / state.name)  # at once and whole; states are replaced, never changed
            except OSError:  # another file system
                _copy(state, path / state.name)
        return path

    # --- Statistics ---------------------------------------------------------------------------------------------------

    def open_writers(self, progress: Progress, warn: Warn, wandb: str | None = None) -> str | None:
        """Let `log` and `show` pass on what they are given: to TensorBoard, if it is installed, and Weights & Biases.

        Args:
            warn: called with a sentence if one of them fails, now or later.
            wandb: a project of Weights & Biases; None: it is given nothing.

        Returns:
            The address of the run in Weights & Biases, if it has one.
        """
        self._writers.append(EventLog(self.path, progress.clips, warn))
        if wandb is None:
            return None
        log = WandbLog(self.path, wandb, warn)
        self._writers.append(log)
        return log.url

    def log(self, progress: Progress, stats: dict[str, float]) -> None:
        """Append a line to stats.jsonl, and pass the values on to the writers that are open.

        JSON knows neither NaN nor infinity: they become null.
        """
        line: dict[str, float | None] = {
            "kimg": progress.kimg,
            "iteration": progress.iteration,
            "seconds": round(progress.seconds, 3),
            "timestamp": time.time(),
        }
        for name, value in stats.items():
            line[name] = value if math.isfinite(value) else None
        json_lines.append(self.path / STATS, [json.dumps(line, allow_nan=False)])
        self.pass_on(progress, stats)

    def pass_on(self, progress: Progress, stats: dict[str, float]) -> None:
        """Pass values on to the writers that are open, and to no file of the run."""
        for writer in self._writers:
            writer.add(stats, progress.clips)

    def show(self, progress: Progress) -> None:
        """Pass the pictures and videos of this moment on to the writers that are open."""
        files = sorted(self.path.glob(f"{PICTURES}{stamp(progress.clips)}.*"))
        for writer in self._writers:
            writer.show(files, progress.clips)

    def rewind(self, iteration: int) -> None:
        """Drop statistics of iterations beyond this one, which a run that was killed will do again."""
        json_lines.keep(self.path / STATS, lambda line: json_lines.number(line, "iteration") <= iteration)

    # --- Snapshots and training states --------------------------------------------------------------------------------

    def save_snapshot(self, config: Config, networks: Networks, bank: torch.Tensor, progress: Progress) -> Path:
        """Write `network-snapshot-<kimg>.pkl`."""
        path = self.snapshot_path(progress)
        save_snapshot(path, config, networks, bank, progress.of_snapshot())
        return path

    def snapshot_path(self, progress: Progress) -> Path:
        """Return where the snapshot of this moment is."""
        return self.path / f"network-snapshot-{stamp(progress.clips)}.pkl"

    def save_state(self, state: dict[str, Any], progress: Progress, *, keep: int) -> Path:
        """Write `training-state-<kimg>.pt`, then drop the oldest states beyond `keep`.

        States of later moments do not count: this run did not go on from them, so they cannot be used.
        UserError if the state holds NaN or infinity, or cannot be written; then all others stay.
        """
        path = self.path / f"training-state-{stamp(progress.clips)}.pt"
        require_finite(state, path)
        checkpoint.save(path, state, "state")
        own = [other for other in self.states() if natural_key(other) <= natural_key(path)]
        for old in own[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def states(self) -> list[Path]:
        """Return the training states, oldest first."""
        return sorted(self.path.glob("training-state-*.pt"), key=natural_key)

    def newest_state(self, check: Callable[[Any, Path], None], warn: Warn) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest training state that opens and that `check` does not refuse; None if there is none at all.

        Args:
            check: raises UserError if the state of this path cannot be used.
            warn: called with a sentence for each newer state that was passed over, and why.

        Raises:
            UserError: none can be used, or not the newest and the run may not fall back to another.
        """
        candidates = self.states()
        if not self.fall_back:
            candidates = candidates[-1:]
        problems = []
        for path in reversed(candidates):
            try:
                state = checkpoint.load(path, "state")
                check(state, path)
            except UserError as error:
                problems.append(error)
                continue
            for problem in problems:
                warn(f"{problem} Going on from the earlier {path.name}.")
            return path, state
        if problems:
            raise problems[0]
        return None


# --- Helpers ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Remove a new run's folder again if it cannot be filled."""
    try:
        yield
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _copy(source: Path, dest: Path) -> None:
    with atomic_path(dest) as temporary:
        shutil.copyfile(source, temporary)


def _newest_first(outdir: Path, name: str = "*") -> list[Path]:
    """Return the folders of runs under `outdir`, those of one name or all."""
    return sorted(outdir.glob(f"[0-9][0-9][0-9][0-9][0-9]-{name}"), reverse=True)


def next_number(outdir: Path) -> int:
    """Return one more than the highest number of a run under `outdir`."""
    runs = _newest_first(outdir)
    return int(runs[0].name[:5]) + 1 if runs else 0


def stamp(clips: int) -> str:
    """Return clips as they stand in file names: kimg, six digits and three decimals."""
    return f"{clips / 1000:010.3f}"
