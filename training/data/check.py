"""Finds everything that is broken in a dataset, without stopping at the first fault."""

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from dnnlib.files import AnyPath, shown
from dnnlib.names import few, frame_numbers, is_order_doubtful, listed, natural_key
from dnnlib.parallel import parallel_map
from dnnlib.video import MAX_FPS, MIN_FPS, is_frame_rate
from training.camera_checks.judgement import column_faults, judge
from training.camera_checks.labels import LabelColumn
from training.camera_checks.views import USUAL
from training.config import RenderingConfig, TrainingConfig
from training.data.dataset import ClipDataset
from training.data.files import DAMAGE, INDEX, Files, FolderFiles, fault_of_name, open_files, read_index
from training.data.frames import DEPTH_SUFFIX, FRAME_SUFFIXES, verify_frame
from training.data.table import described_clips, stills_note

CHUNK = 32  # frames that a worker decodes at a time
WINDOW = TrainingConfig().window  # frames that a clip needs to show all of time, with default options
MAX_RATES = 5  # frame rates that the summary names

Progress = Callable[[Iterable, int], Iterable]


class Size(NamedTuple):
    """A picture's size in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


@dataclass(frozen=True)
class Finding:
    """One line of the report; a note (broken False) does not make the dataset bad."""

    where: str
    what: str
    broken: bool = True

    def __str__(self) -> str:
        kind = "broken" if self.broken else "note"
        return f"{kind}: {shown(self.where)}: {shown(self.what)}"


def check_dataset(path: AnyPath, *, workers: int, progress: Progress) -> Iterator[Finding]:
    """Yield everything wrong with the dataset at `path`: index first, then clips, files, cameras and frames.

    Args:
        workers: processes that decode frames.
        progress: wraps the frames' iteration, given it and their number.

    Raises:
        UserError: there is no dataset to check (missing, no zip, no index, no cameras at all).
    """
    files = open_files(path)
    counts: Counter[str] = Counter()
    labels = LabelColumn()

    def take(name: str, label: object) -> None:
        counts[name] += 1
        labels.add(name, label)

    described = described_clips(read_index(files, take))
    yield from _check_names(counts)
    yield from _check_unlisted(files, counts)
    yield from _check_clips(described, counts)
    for name, fault in column_faults(labels):
        yield Finding(name, fault)
    labels = LabelColumn()  # which lets go of millions
    readable = [name for name in counts if fault_of_name(name) is None]
    counts.clear()
    readable.sort(key=natural_key)
    yield from _check_frames(files, readable, workers, progress)


# --- What the index says ----------------------------------------------------------------------------------------------


def _check_names(counts: Counter[str]) -> Iterator[Finding]:
    """Yield listed files that are unsafe, no frames by their names, or listed twice."""
    for name, count in counts.items():
        if fault := fault_of_name(name):
            yield Finding(name, f"unsafe path ({fault}), must be relative and inside the dataset")
        elif not _is_frame(name):
            yield Finding(name, f"not a frame ({', '.join(FRAME_SUFFIXES)})")
        if count > 1:
            yield Finding(name, f"listed {count} times in {INDEX}")


def _check_unlisted(files: Files, listed_names: Container[str]) -> Iterator[Finding]:
    """Yield files that are there and not listed."""
    unlisted = [name for name in files.names() if name not in listed_names and name != INDEX]
    twice = _names_twice(files) if isinstance(files, FolderFiles) else set()  # zips are refused that have any
    for name in listed({*unlisted, *twice}):
        if name in twice:
            yield Finding(name, "there twice, with accents that are composed and not: remove one")
        if name in listed_names or name == INDEX or name.endswith(DEPTH_SUFFIX):
            continue
        if _is_frame(name):
            yield Finding(name, f"missing camera, the frame is not listed in {INDEX}")
        else:
            yield Finding(name, "unlisted file", broken=False)


def _names_twice(files: FolderFiles) -> set[str]:
    return {name for name, count in Counter(files.names()).items() if count > 1}


def _is_frame(name: str) -> bool:
    return name.lower().endswith(FRAME_SUFFIXES)


def _check_clips(described: object, names: Collection[str]) -> Iterator[Finding]:
    """Yield clips that are short, empty or not described; without descriptions, whether these are missing."""
    if described is None:
        if note := stills_note(names):
            yield Finding(INDEX, note, broken=False)
        return
    if not isinstance(described, dict):
        yield Finding(INDEX, '"clips" must be an object {clip: {"fps": ...}}')
        return
    frames: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        frames.setdefault(path.parent.as_posix(), []).append(path.name)
    for clip in sorted(set(described) | set(frames), key=natural_key):
        if clip not in frames:
            yield Finding(clip, f"clip without frames in {INDEX}")
        elif (length := len(frames[clip])) < WINDOW:
            end = f"it ends at time {length - 1}/{WINDOW - 1}"
            yield Finding(clip, f"{length}-frame clip, shorter than the {WINDOW}-frame window: {end}", broken=False)
        if clip in frames and not _is_even(frames[clip]):
            yield Finding(clip, "the numbers of its frames have uneven steps, which train as even ones", broken=False)
        if clip in frames and is_order_doubtful(frames[clip]):
            order = few(sorted(frames[clip], key=natural_key))
            yield Finding(
                clip, f"the names of its frames do more than number them, see whether {order} is right", broken=False
            )
        about = described.get(clip)
        fps = about.get("fps") if isinstance(about, dict) else None
        if not is_frame_rate(fps):
            yield Finding(
                clip, f"clip without a frame rate of {MIN_FPS} to {MAX_FPS} in {INDEX}", broken=clip in described
            )


def _is_even(frames: list[str]) -> bool:
    """Return whether the numbers of a clip's frames have even steps, or are none."""
    numbers = sorted(frame_numbers(frames) or [])
    return len({late - early for early, late in pairwise(numbers)}) <= 1


# --- What the frames hold ---------------------------------------------------------------------------------------------


def _check_frames(
    files: Files,
    names: list[str],
    workers: int,
    progress: Progress,
) -> Iterator[Finding]:
    """Yield frames that the dataset cannot read or decode, and those of another size than most."""
    jobs = ((files, names[start : start + CHUNK]) for start in range(0, len(names), CHUNK))
    results = chain.from_iterable(parallel_map(_decode_sizes, jobs, workers))
    sizes: dict[Size, list[str]] = {}
    for name, result in progress(results, len(names)):
        if isinstance(result, str):
            yield Finding(name, result)
        else:
            sizes.setdefault(result, []).append(name)
    if not sizes:
        return
    usual = max(sizes, key=lambda size: len(sizes[size]))
    if usual.height != usual.width:
        yield Finding(INDEX, f"frames are {usual} pixels, not square")
    odd = {name: size for size, of_size in sizes.items() if size != usual for name in of_size}
    for name in sorted(odd, key=natural_key):
        yield Finding(name, f"wrong size {odd[name]}, most frames are {usual}")


def _decode_sizes(job: tuple[Files, list[str]]) -> list[tuple[str, Size | str]]:
    """Decode frames; return their names with their sizes, or with what is wrong with them."""
    files, names = job
    results: list[tuple[str, Size | str]] = []
    for name in names:
        try:
            results.append((name, Size(*verify_frame(files.read(name)))))
        except KeyError:
            results.append((name, "missing frame"))
        except DAMAGE as error:
            results.append((name, f"unreadable or truncated frame ({error})"))
    return results


# --- A dataset in a few lines -----------------------------------------------------------------------------------------


def camera_warning(dataset: ClipDataset, rendering: RenderingConfig = USUAL) -> str | None:
    """Return what looks wrong with the cameras of a dataset for this rendering, in one line; None if nothing does."""
    return judge(dataset.cameras, rendering).warning(dataset.path)


def summary(dataset: ClipDataset) -> str:
    """Return what a dataset holds, in a few lines: clips, frames, size, lengths, people, angles."""
    side = dataset.stored_resolution
    people = {clip.identity for clip in dataset.clips if clip.identity is not None}
    counted_people = f", {len(people)} people" if people else ""
    lengths = dataset.lengths
    rates = sorted({round(clip.fps, 2) for clip in dataset.clips})
    shown_rates = ", ".join(f"{rate:g}" for rate in rates[:MAX_RATES])
    if len(rates) > MAX_RATES:
        shown_rates += " ..."
    x, y, z = dataset.cameras[:, [3, 7, 11]].T  # fourth column of cam2world: where they stand
    yaw = np.degrees(np.arctan2(x, z))
    pitch = np.degrees(np.arctan2(y, np.hypot(x, z)))
    lines = [
        f"{dataset.path}: {dataset.num_clips} clips, {dataset.num_frames} frames of {side} x {side} pixels"
        f"{counted_people}",
        f"  frames a clip: {min(lengths)} to {max(lengths)}, median {int(np.median(lengths))}; a second: {shown_rates}",
        f"  camera yaw {yaw.min():.0f} to {yaw.max():.0f} degrees, pitch {pitch.min():.0f} to {pitch.max():.0f}",
    ]
    return "\n".join(lines)
