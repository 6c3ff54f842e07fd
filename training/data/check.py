"""Finds everything that is broken in a dataset, without stopping at the first fault."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dnnlib.files import shown
from dnnlib.parallel import parallel_map
from training.cameras import camera_faults
from training.data.dataset import FPS_END, WINDOW, ClipDataset
from training.data.files import (
    DAMAGE,
    DEPTH_SUFFIX,
    FRAME_SUFFIXES,
    INDEX,
    FolderFiles,
    ZipFiles,
    is_safe,
    labels_of,
    open_files,
    read_index,
    verify_frame,
)

CHUNK = 32  # frames that a worker decodes at a time


@dataclass(frozen=True)
class Finding:
    """One line of the report; a note (broken False) does not make the dataset bad."""

    where: str
    what: str
    broken: bool = True

    def __str__(self) -> str:
        return f"{'broken' if self.broken else 'note'}: {shown(self.where)}: {shown(self.what)}"


Progress = Callable[[Iterable, int], Iterable]


def check_dataset(
    path: str | Path, workers: int = 1, progress: Progress = lambda items, total: items
) -> Iterator[Finding]:
    """Everything wrong with the dataset at `path`: index first, then clips, files, cameras and frames.

    Args:
        progress: wraps the frames' iteration, given it and their number.

    Raises:
        UserError: there is no dataset to check (missing, no zip, no index, no cameras at all).
    """
    files = open_files(path)
    index = read_index(files)
    labels = labels_of(index, files.path)
    names = [name for name, _ in labels]
    present = set(files.names())
    yield from _check_names(names, present)
    yield from _check_clips(index.get("clips"), names)
    for name, label in labels:
        for what in camera_faults(label):
            yield Finding(name, what)
    readable = sorted(name for name in set(names) & present if is_safe(name))
    yield from _check_frames(files, readable, workers, progress)


def _check_names(names: list[str], present: set[str]) -> Iterator[Finding]:
    """Listed files that are absent, listed twice or unsafe; present files that are not listed."""
    for name, count in Counter(names).items():
        if not is_safe(name):
            yield Finding(name, "unsafe path, must be relative and inside the dataset")
        elif name not in present:
            yield Finding(name, "missing frame")
        elif not name.lower().endswith(FRAME_SUFFIXES):
            yield Finding(name, f"not a frame ({', '.join(FRAME_SUFFIXES)})")
        if count > 1:
            yield Finding(name, f"listed {count} times in {INDEX}")
    for name in sorted(present - set(names) - {INDEX}):
        if name.endswith(DEPTH_SUFFIX):
            continue
        if name.lower().endswith(FRAME_SUFFIXES):
            yield Finding(name, f"missing camera, the frame is not listed in {INDEX}")
        else:
            yield Finding(name, "unlisted file", broken=False)


def _check_clips(described: object, names: list[str]) -> Iterator[Finding]:
    """Clips that are too short, empty or not described. Without descriptions (images) there is nothing to check."""
    if described is None:
        return
    if not isinstance(described, dict):
        yield Finding(INDEX, '"clips" must be an object {clip: {"fps": ...}}')
        return
    lengths = Counter(PurePosixPath(name).parent.as_posix() for name in set(names))
    for clip in sorted(set(described) | set(lengths)):
        fps = described[clip].get("fps") if isinstance(described.get(clip), dict) else None
        if clip not in lengths:
            yield Finding(clip, f"clip without frames in {INDEX}")
        elif lengths[clip] < WINDOW:
            yield Finding(clip, f"clip of {lengths[clip]} frames, shorter than the {WINDOW}-frame window")
        if not isinstance(fps, (int, float)) or not 0 < fps < FPS_END:
            yield Finding(clip, f"clip without a frame rate in {INDEX}", broken=clip in described)


def _check_frames(
    files: FolderFiles | ZipFiles, names: list[str], workers: int, progress: Progress
) -> Iterator[Finding]:
    """Frames that do not decode, and those of another size than most."""
    jobs = [(files, names[start : start + CHUNK]) for start in range(0, len(names), CHUNK)]
    results = (item for chunk in parallel_map(_decode_sizes, jobs, workers) for item in chunk)
    sizes: dict[str, tuple[int, int]] = {}
    for name, size, fault in progress(results, len(names)):
        if fault:
            yield Finding(name, fault)
        else:
            sizes[name] = size
    if not sizes:
        return
    usual = Counter(sizes.values()).most_common(1)[0][0]
    if usual[0] != usual[1]:
        yield Finding(INDEX, f"frames are {usual[1]} x {usual[0]} pixels, not square")
    for name, size in sizes.items():
        if size != usual:
            yield Finding(name, f"wrong size {size[1]} x {size[0]}, most frames are {usual[1]} x {usual[0]}")


def _decode_sizes(job: tuple[FolderFiles | ZipFiles, list[str]]) -> list[tuple[str, tuple[int, int], str]]:
    """(name, (height, width), fault) of frames."""
    files, names = job
    found = []
    for name in names:
        try:
            found.append((name, verify_frame(files.read(name)), ""))
        except (KeyError, *DAMAGE) as error:
            found.append((name, (0, 0), f"unreadable or truncated frame ({error})"))
    return found


def summary(dataset: ClipDataset) -> str:
    """What a dataset holds, in a few lines: clips, frames, size, lengths, people, angles."""
    lengths = [len(clip.frames) for clip in dataset.clips]
    people = {clip.identity for clip in dataset.clips if clip.identity is not None}
    forward = np.concatenate([clip.cameras for clip in dataset.clips])[:, [2, 6, 10]]  # third column of cam2world
    yaw = np.degrees(np.arctan2(-forward[:, 0], -forward[:, 2]))
    pitch = np.degrees(np.arcsin(-forward[:, 1].clip(-1, 1)))
    rates = sorted({round(clip.fps, 2) for clip in dataset.clips})
    shown = ", ".join(f"{rate:g}" for rate in rates[:5]) + " ..." * (len(rates) > 5)
    return "\n".join(
        [
            f"{dataset.path}: {dataset.num_clips} clips, {dataset.num_frames} frames of {dataset.stored_resolution} x "
            f"{dataset.stored_resolution} pixels" + (f", {len(people)} people" if people else ""),
            f"  frames a clip: {min(lengths)} to {max(lengths)}, median {int(np.median(lengths))}; a second: " + shown,
            f"  camera yaw {yaw.min():.0f} to {yaw.max():.0f} degrees, pitch {pitch.min():.0f} to {pitch.max():.0f}",
        ]
    )
