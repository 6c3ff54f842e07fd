"""One clip of the published layout as a record of a dataset, in a worker process: decoded, resized, encoded."""

import contextlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.files import read_file, read_json, require_file, shown
from dnnlib.video import read_frames, video_info
from training.cameras import CAMERA_DIM, as_camera
from training.data.files import INDEX, MAX_SIDE, encode_png, is_safe
from training.data.writer import ClipRecord

VIDEOS, CAMERAS = "recrop_faces", "smoothed_camera2world"
LAYOUT = f"it needs {VIDEOS}/*.mp4 and {CAMERAS}/*.json (docs/data.md)"
MAX_LIST_BYTES = 2**24  # of a *.list; that of all clips published has 1 MB
PATIENCE = 1000  # frames beyond the last camera that are counted; the end may be far


@dataclass(frozen=True)
class ConvertJob:
    """One clip of the published layout."""

    video: Path
    cameras: Path
    resolution: int | None
    max_frames: int | None
    skip_broken: bool  # return the reason instead of raising it


def convert_jobs(source: Path, resolution: int | None, max_frames: int | None, skip_broken: bool) -> list[ConvertJob]:
    """The clips of a folder in the published layout: those of its *.list, else all videos.

    UserError if the folder is not in this layout.
    """
    videos, cameras = source / VIDEOS, source / CAMERAS
    if not source.is_dir():
        raise UserError(f"The source folder {source} does not exist: check --source.")
    if not videos.is_dir() or not cameras.is_dir():
        raise UserError(f"{source} is not in the published layout: {LAYOUT}.")
    names = _listed(source) or sorted(path.stem for path in videos.glob("*.mp4"))
    if not names:
        raise UserError(f"{videos} has no videos: {LAYOUT}.")
    for name in names:
        if not is_safe(name) or name == INDEX:  # it becomes a folder of the dataset
            raise UserError(f"No clip can be called {shown(repr(name))}: rename it in {videos}, {cameras} and *.list.")
    return [
        ConvertJob(videos / f"{name}.mp4", cameras / f"{name}.json", resolution, max_frames, skip_broken)
        for name in names
    ]


def _listed(source: Path) -> list[str]:
    """The clips named in the folder's *.list files, each once, in order. UserError if one is no text."""
    lines = [line.strip() for path in sorted(source.glob("*.list")) for line in _text(path).splitlines()]
    return list(dict.fromkeys(PurePosixPath(line.split()[0]).stem for line in lines if line))


def _text(path: Path) -> str:
    try:
        return read_file(path, "list of clips", MAX_LIST_BYTES).decode("utf-8")
    except ValueError as error:
        raise UserError(f"{path} is no list of clips ({error}): write it again, a name a line.") from error


def convert_clip(job: ConvertJob) -> ClipRecord | str:
    """Decode, resize and encode a clip; UserError (or its text, with skip_broken) if it cannot be read."""
    try:
        return _convert(job)
    except UserError as error:
        if job.skip_broken:
            return str(error)
        raise UserError(f"{error} (--skip-broken leaves such clips out.)") from error


def _convert(job: ConvertJob) -> ClipRecord:
    cameras = _cameras(job.cameras)
    fps = video_info(job.video, max_frames=1).fps
    frames, count = [], 0
    with contextlib.closing(read_frames(job.video)) as decoded:
        for pixels in decoded:
            count += 1
            if count == len(cameras) + PATIENCE:
                break
            if count <= min(len(cameras), job.max_frames or count):
                frames.append((f"{count - 1:05d}.png", encode_png(_resized(pixels, job).transpose(2, 0, 1))))
    if count != len(cameras):
        more = "or more " * (count == len(cameras) + PATIENCE)
        raise UserError(
            f"{job.video} has {count} {more}frames but {job.cameras} has {len(cameras)} cameras: they must match."
        )
    return ClipRecord(job.video.stem, frames, cameras[: len(frames)], fps)


def _resized(pixels: np.ndarray, job: ConvertJob) -> np.ndarray:
    """uint8 [H, W, 3] at the wanted side, antialiased."""
    height, width = pixels.shape[:2]
    if height != width:
        raise UserError(f"{job.video} is {width} x {height} pixels: clips must be square face crops.")
    side = job.resolution or height
    if side > MAX_SIDE:
        raise UserError(f"{job.video} is {width} x {height} pixels, more than {MAX_SIDE} a side: give --resolution.")
    if side == height:
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).resize((side, side), PIL.Image.Resampling.LANCZOS))


def _cameras(path: Path) -> np.ndarray:
    """The cameras float [F, 25] of a file [[frame name, 25 numbers], ...]. UserError if it is not one."""
    entries = read_json(require_file(path, "camera file"))
    pairs = isinstance(entries, list) and all(isinstance(entry, list) and len(entry) == 2 for entry in entries)
    if not entries or not pairs or any(as_camera(label) is None for _, label in entries):
        raise UserError(f"{path} is not a list of [frame name, {CAMERA_DIM} finite numbers]: write it again.")
    return np.array([label for _, label in entries], dtype=np.float64)
