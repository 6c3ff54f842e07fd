"""What folders made elsewhere hold: videos, frames, and what is neither."""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import read_file, shown
from dnnlib.names import few, listed, not_taken, order_notes
from dnnlib.video import VIDEO_SUFFIXES, read_frames
from training.data.files import MAX_FILE_BYTES
from training.data.frames import DEPTH_SUFFIX, FRAME_SUFFIXES, decode_frame


def list_videos(folder: Path) -> tuple[list[Path], list[str]]:
    """List the video files and folders of frames in a folder, by name.

    Returns:
        videos: what is taken.
        notes: sentences about what is not, and about what may be the same video twice, if there is any.

    Raises:
        UserError: the folder is missing or holds none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the folder that holds the videos.")
    videos, notes = taken(
        folder,
        lambda path: path.suffix.lower() in VIDEO_SUFFIXES or (path.is_dir() and bool(frame_files(path))),
        f"videos ({', '.join(VIDEO_SUFFIXES)}) and no folders of frames",
    )
    stems = [path.name if path.is_dir() else path.stem for path in videos]
    counts = Counter(stems)
    twins = [path.name for path, stem in zip(videos, stems, strict=True) if counts[stem] > 1]
    if twins:
        notes.append(f"Counted each, though only their suffixes differ ({len(twins)}): {shown(few(twins))}.")
    return videos, notes


def taken(folder: Path, wanted: Callable[[Path], bool], what: str) -> tuple[list[Path], list[str]]:
    """Return what is wanted in a folder, in natural order without leftovers, and a sentence about all else.

    UserError, with `what` is wanted, if there is none.
    """
    chosen, rest = [], []
    for path in content_of(folder):
        if wanted(path):
            chosen.append(path)
        else:
            rest.append(f"{path.name}/" if path.is_dir() else path.name)
    if not chosen:
        there = f", but {shown(few(rest))}" if rest else ""
        raise UserError(f"{folder} holds no {what}{there}.")
    return chosen, not_taken(f"what else is in {folder}", rest)


def content_of(folder: Path) -> list[Path]:
    """List a folder in natural order, without leftovers."""
    return [folder / name for name in listed(os.listdir(folder))]


def frame_files(folder: Path) -> list[Path]:
    """List the frames of a folder, in order; true depth beside them is none."""
    names = [(path, path.name.lower()) for path in content_of(folder)]
    return [path for path, name in names if name.endswith(FRAME_SUFFIXES) and not name.endswith(DEPTH_SUFFIX)]


def notes_of_frames(folders: Iterable[Path], known: Container[str] = ()) -> list[str]:
    """Return sentences about folders of frames: what is in them besides and is not `known`, and doubtful orders."""
    frames: dict[str, list[str]] = {}
    rest: list[str] = []
    for folder in folders:
        frames[folder.name] = [path.name for path in frame_files(folder)]
        others = (path for path in content_of(folder) if not path.name.lower().endswith(FRAME_SUFFIXES))
        rest += [f"{folder.name}/{path.name}" for path in others if path.name not in known]
    return not_taken("what else is in folders of frames", rest) + order_notes(frames.items(), "folders")


def file_frames(path: Path) -> Iterable[np.ndarray]:
    """Read the frames uint8 [3, H, W] of a video file."""
    for frame in read_frames(path):
        yield frame.transpose(2, 0, 1)


def folder_frames(folder: Path) -> Iterable[np.ndarray]:
    """Read the frames uint8 [3, H, W] of a folder of images. Raises UserError at a damaged one."""
    for path in frame_files(folder):
        try:
            yield decode_frame(read_file(path, "frame", MAX_FILE_BYTES))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is unreadable or truncated ({error}).") from error
