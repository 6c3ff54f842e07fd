"""Numbers of each video of a set: shared among processes, kept on disk as they come, gathered at the end.

The set is cut into pieces of PIECE_VIDEOS videos. A piece is computed by one process and in one way however many
processes there are, so their number changes no digit; and it is a file of its own in the cache, so that an interrupted
evaluation goes on and a repeated one has nothing to compute. Failures are not kept: a video that was skipped is tried
again each time, as it may have been the machine that failed.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import FAULTS, atomic_path, write_json
from dnnlib.progress import Counter, print_line
from metrics.arrays import read_arrays
from torch_utils import distributed

# Another one is never read: raise it with every change that moves a number of a video, be it of a network, a
# protocol, a decoder or procedural heads. 1: identities were names and sizes, failures were kept, times went to 1.
CACHE_VERSION = 4
PIECE_VIDEOS = 16
FIRST_REASONS = 3  # that are named where too few videos are left
KEY_FILE = "key.json"  # beside the pieces: what they depend on


@dataclass(frozen=True, kw_only=True)
class PerVideoJob:
    """A computation of the same few numbers for each video of a set.

    Args:
        label: title of its progress.
        key: plain values that identify the numbers: everything that they depend on.
        videos: how many.
        width: how many numbers for each.
        load: returns the video (or whatever `compute` takes) of an index; a UserError skips it.
        compute: returns the numbers [n, width] of n loaded videos.
        batch: the largest n.
    """

    label: str
    key: dict[str, Any]
    videos: int
    width: int
    load: Callable[[int], Any]
    compute: Callable[[list[Any]], np.ndarray]
    batch: int = 1


@dataclass
class PerVideoNumbers:
    """A row of numbers for each video, and the reasons why videos were skipped."""

    values: np.ndarray  # float64 [videos, width], NaN for skipped videos
    skipped: dict[int, str] = field(default_factory=dict)  # by the video's index

    @property
    def without_skipped(self) -> np.ndarray:
        """Rows of the videos that were not skipped, [n, width]."""
        return np.delete(self.values, sorted(self.skipped), axis=0)

    def require_left(self, least: int) -> None:
        """UserError, with the first reasons, if videos were skipped and fewer than `least` are left."""
        left = len(self.values) - len(self.skipped)
        if self.skipped and left < least:
            reasons = list(dict.fromkeys(self.skipped[place] for place in sorted(self.skipped)))
            named = "; ".join(reason.rstrip(".") for reason in reasons[:FIRST_REASONS])
            more = len(reasons) - FIRST_REASONS
            raise UserError(
                f"{left or 'None'} of {len(self.values)} videos can be scored, and {least} or more are needed: "
                f"{named}{f' (and {more} more)' if more > 0 else ''}."
            )


class PieceCache:
    """Finished pieces of one job in a folder of their own below `root`; without a root nothing is kept.

    Nor where they cannot be written, of which a line tells: numbers are worth more than the place to keep them.
    """

    def __init__(self, root: Path | None, job: PerVideoJob, warn: Callable[[str], None]):
        self.warn = warn
        key = {"version": CACHE_VERSION, "piece": PIECE_VIDEOS, "width": job.width, **job.key}
        digest = _digest(key)
        self.width = job.width
        self.folder = root / digest[:32] if root else None
        if self.folder and distributed.is_main():
            key_file = self.folder / KEY_FILE
            with self._unless_refused():
                if not key_file.exists():
                    write_json(key_file, key)

    def load(self, piece: range) -> PerVideoNumbers | None:
        """Return a finished piece, None if there is none, or it is damaged. Why videos were skipped is not kept."""
        if self.folder is None:
            return None
        try:
            arrays = read_arrays(self.folder / _file_name(piece))
            values = arrays["values"]
            places = arrays["skipped"].tolist()
        except (*FAULTS, OSError):
            return None
        if values.shape != (len(piece), self.width) or values.dtype != np.float64:
            return None
        if not set(places) <= set(range(len(piece))):
            return None
        return PerVideoNumbers(values, dict.fromkeys(places, ""))

    def save(self, piece: range, numbers: PerVideoNumbers) -> None:
        """Keep a finished piece."""
        if self.folder is None:
            return
        path = self.folder / _file_name(piece)
        with self._unless_refused(), atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, values=numbers.values, skipped=np.array(sorted(numbers.skipped), dtype=np.int64))

    @contextlib.contextmanager
    def _unless_refused(self) -> Iterator[None]:
        """Let the block write; if it cannot, nothing is kept from then on."""
        try:
            yield
        except (UserError, OSError) as error:
            self.folder = None
            if distributed.is_main():
                self.warn(
                    f"Warning: finished work is not kept, so another start computes it again ({error}): set "
                    "PV3D_CACHE_DIR to a folder on a disk with room."
                )


def _digests_of_all(key: dict[str, Any]) -> dict[str, set[str]]:
    """Return the digests that the processes have of each part of a key."""
    digests: dict[str, set[str]] = {}
    for own in distributed.gather({part: _digest(value) for part, value in key.items()}):
        for part, digest in own.items():
            digests.setdefault(part, set()).add(digest)
    return digests


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _file_name(piece: range) -> str:
    return f"{piece.start:06d}-{piece.stop:06d}.npz"


def compute_per_video(job: PerVideoJob, cache_folder: Path | None = None) -> PerVideoNumbers:
    """Compute all numbers of a job, the same on every process. Every process must call it.

    Args:
        cache_folder: for finished pieces; None: nothing is kept.

    Raises:
        UserError: the processes see other files (a snapshot, a detector), the disk is full, or whatever else is not
            the fault of one video; on every process.
    """
    with distributed.fail_together():
        others = [part for part, digests in _digests_of_all(job.key).items() if len(digests) > 1]
        if others:
            raise UserError(
                f"The processes would compute {job.label} of different things (see {', '.join(others)}): give them "
                "the same files, such as on a disk that all machines share."
            )
    with distributed.fail_together():
        own = _own_pieces(job, cache_folder)
    numbers = PerVideoNumbers(np.empty([job.videos, job.width]))
    for pieces in distributed.gather(own):
        for start, piece in pieces.items():
            numbers.values[start : start + len(piece.values)] = piece.values
            for place, reason in piece.skipped.items():
                numbers.skipped[start + place] = reason
    return numbers


def _own_pieces(job: PerVideoJob, cache_folder: Path | None) -> dict[int, PerVideoNumbers]:
    """Return this process's pieces by their first index, from the cache or computed."""
    videos = range(job.videos)
    pieces = [videos[start : start + PIECE_VIDEOS] for start in videos[::PIECE_VIDEOS]]
    own = pieces[distributed.rank() :: distributed.world_size()]
    done = {}
    with Counter(
        sum(len(piece) for piece in own),
        title=job.label,
        unit="video",
        leave=False,
        silent=not distributed.is_main(),
    ) as counter:
        cache = PieceCache(cache_folder, job, print_line)
        for piece in own:
            numbers = cache.load(piece)
            if numbers is None or not _skips_again(job, piece, numbers):
                numbers = _compute_piece(job, piece, counter)
                cache.save(piece, numbers)
            else:
                counter.update(len(piece))
            done[piece.start] = numbers
    return done


def _skips_again(job: PerVideoJob, piece: range, numbers: PerVideoNumbers) -> bool:
    """Return whether the videos that were skipped still cannot be loaded; set the reasons of today.

    If one can, the whole piece is to be computed: its numbers are those of the batches that it falls into.
    """
    for place in numbers.skipped:
        try:
            job.load(piece[place])
        except UserError as error:
            numbers.skipped[place] = str(error)
        else:
            return False
    return True


def _compute_piece(job: PerVideoJob, piece: range, counter: Counter) -> PerVideoNumbers:
    """Compute the numbers of a piece's videos, in batches."""
    numbers = PerVideoNumbers(np.full([len(piece), job.width], np.nan))
    loaded: dict[int, Any] = {}
    for place, index in enumerate(piece):
        try:
            loaded[place] = job.load(index)
        except UserError as error:
            numbers.skipped[place] = str(error)
            counter.update()
        if loaded and (index == piece[-1] or len(loaded) == job.batch):
            numbers.values[list(loaded)] = job.compute(list(loaded.values()))
            counter.update(len(loaded))
            loaded = {}
    return numbers
