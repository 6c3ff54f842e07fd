"""Rows of numbers, one for each video of a set: shared among processes, kept on disk as they come, gathered at the end.

The set is cut into pieces of PIECE videos. A piece is computed by one process and in one way however many processes
there are, so their number changes no digit; and it is a file of its own in the cache, so that an interrupted evaluation
goes on and a repeated one has nothing to compute.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, write_json
from metrics.arrays import read_arrays
from torch_utils import distributed
from torch_utils.pickles.reader import FAULTS

VERSION = 1  # of the cache; another one is never read
PIECE = 16  # videos
KEY = "key.json"


@dataclass(frozen=True)
class Job:
    """What is to be computed.

    Args:
        label: for the progress bar.
        key: plain values that identify the rows: everything that they depend on.
        count, width: number of videos, and of numbers for each.
        load: the video (or whatever `compute` takes) of an index; UserError if it cannot be had: then it is skipped.
        compute: numbers [n, width] of n loaded videos.
        batch: the largest n.
    """

    label: str
    key: dict[str, Any]
    count: int
    width: int
    load: Callable[[int], Any]
    compute: Callable[[list[Any]], np.ndarray]
    batch: int = 1


@dataclass
class Rows:
    """values float64 [count, width], NaN for skipped videos; `skipped` gives the reason by index."""

    values: np.ndarray
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def good(self) -> np.ndarray:
        """Rows of the videos that could be had, [n, width]."""
        return np.delete(self.values, sorted(self.skipped), axis=0)


class Cache:
    """Finished pieces of one job in a folder of their own; without a root nothing is kept."""

    def __init__(self, root: Path | None, job: Job):
        key = {"version": VERSION, "piece": PIECE, "width": job.width, **job.key}
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        self.folder, self.width = root and root / name, job.width
        if self.folder and distributed.is_main() and not (self.folder / KEY).exists():
            write_json(self.folder / KEY, key)

    def load(self, piece: range) -> Rows | None:
        """A finished piece; None if there is none, or it is damaged."""
        path = self.folder and self.folder / _name(piece)
        if path is None or not path.exists():
            return None
        try:
            arrays = read_arrays(path)
            values, places, reasons = arrays["values"], arrays["skipped"], arrays["reasons"]
        except (*FAULTS, OSError):
            return None
        if values.shape != (len(piece), self.width) or values.dtype != np.float64:
            return None
        return Rows(values, {int(place): str(reason) for place, reason in zip(places, reasons, strict=True)})

    def save(self, piece: range, rows: Rows) -> None:
        """Keeps a finished piece."""
        if self.folder is None:
            return
        with atomic_path(self.folder / _name(piece)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                values=rows.values,
                skipped=np.array(sorted(rows.skipped), dtype=np.int64),
                reasons=np.array([rows.skipped[place] for place in sorted(rows.skipped)], dtype=np.str_),
            )


def _name(piece: range) -> str:
    return f"{piece.start:06d}-{piece.stop:06d}.npz"


def compute_rows(job: Job, cache: Path | None = None) -> Rows:
    """All rows of a job, on every process. Every process must call it.

    Args:
        cache: folder for finished pieces.

    Raises:
        UserError: the disk is full, or whatever else is not the fault of one video; on every process.
    """
    with distributed.fail_together():
        mine = _own_pieces(job, cache)
    rows = Rows(np.empty([job.count, job.width]))
    for part in distributed.gather(mine):
        for start, piece in part.items():
            rows.values[start : start + len(piece.values)] = piece.values
            rows.skipped |= {start + place: reason for place, reason in piece.skipped.items()}
    return rows


def _own_pieces(job: Job, root: Path | None) -> dict[int, Rows]:
    """This process's pieces by their first index."""
    cache = Cache(root, job)
    pieces = [range(start, min(start + PIECE, job.count)) for start in range(0, job.count, PIECE)]
    own = pieces[distributed.rank() :: distributed.world_size()]
    done = {}
    with tqdm(
        total=sum(map(len, own)),
        desc=job.label,
        unit="video",
        dynamic_ncols=True,
        leave=False,
        disable=not distributed.is_main(),
    ) as bar:
        for piece in own:
            rows = cache.load(piece)
            if rows is None:
                rows = _compute(job, piece, bar)
                cache.save(piece, rows)
            else:
                bar.update(len(piece))
            done[piece.start] = rows
    return done


def _compute(job: Job, piece: range, bar: tqdm) -> Rows:
    rows = Rows(np.full([len(piece), job.width], np.nan))
    waiting: dict[int, Any] = {}
    for place, index in enumerate(piece):
        try:
            waiting[place] = job.load(index)
        except UserError as error:
            rows.skipped[place] = str(error)
            bar.update()
        if len(waiting) == job.batch or (waiting and index == piece[-1]):
            rows.values[list(waiting)] = job.compute(list(waiting.values()))
            bar.update(len(waiting))
            waiting = {}
    return rows
