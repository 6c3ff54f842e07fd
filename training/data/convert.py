"""Clips of the published PV3D layout as records of a dataset: decoded, resized and encoded by workers."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.files import read_json, require_file
from dnnlib.video import MAX_FPS, MIN_FPS, is_frame_rate, read_frames, video_info
from training.cameras import CAMERA_DIM, parse_label
from training.data.frames import MAX_SIDE, encode_png
from training.data.published import SourceClip, frame_order
from training.data.writer import ClipRecord

ASPECT_TOLERANCE = 0.01  # of a pixel's width by its height; some software rounds them
PATIENCE = 1000  # frames beyond the last camera that are counted; the end may be far


@dataclass(frozen=True, kw_only=True)
class ConvertJob:
    """One clip of the published layout, and what to make of it."""

    clip: SourceClip
    resolution: int | None  # side to resize to; None: as it is
    max_frames: int | None  # frames to take, from the start; None: all
    skip_broken: bool  # return the reason instead of raising it


def convert_clip(job: ConvertJob) -> ClipRecord | str:
    """Decode, resize and encode a clip; UserError (or its text, with skip_broken) if it cannot be read."""
    try:
        return _convert(job)
    except UserError as error:
        if job.skip_broken:
            return str(error)
        raise UserError(f"{error} (--skip-broken leaves such clips out.)") from error


def _convert(job: ConvertJob) -> ClipRecord:
    clip = job.clip
    cameras = _cameras(clip.cameras) if clip.labels is None else clip.labels
    fps = _frame_rate(clip.video)
    wanted = len(cameras[: job.max_frames])
    enough = len(cameras) + PATIENCE
    frames = []
    side = None
    count = 0
    with contextlib.closing(read_frames(clip.video)) as decoded:
        for pixels in decoded:
            count += 1
            if count == enough:
                break
            if count <= wanted:
                picture = resized(pixels, clip.video, job.resolution).transpose(2, 0, 1)
                side = len(picture[0])
                frames.append((f"{count - 1:05d}.png", encode_png(picture)))
    if count != len(cameras):
        counted = f"{count} or more" if count == enough else str(count)
        raise UserError(
            f"{clip.video} has {counted} frames but {clip.cameras} has {len(cameras)} cameras: they must match."
        )
    return ClipRecord(name=clip.name, frames=frames, cameras=cameras[: len(frames)], fps=fps, side=side)


def _frame_rate(video: Path) -> float:
    """Return the frames a second of a video. UserError if no clip can have so many or such pixels."""
    info = video_info(video, max_frames=1)
    if not is_frame_rate(info.fps):
        raise UserError(
            f"{video} has {info.fps:g} frames a second: write it again with its true rate, {MIN_FPS} to {MAX_FPS}."
        )
    if abs(info.pixel_aspect - 1) > ASPECT_TOLERANCE:
        raise UserError(
            f"{video} has pixels {info.pixel_aspect:.3g} times as wide as high: write it again with square ones."
        )
    if info.is_hdr:
        raise UserError(f"{video} is HDR (PQ or HLG), whose colours would be pale: write it again as SDR, in Rec. 709.")
    return info.fps


def resized(pixels: np.ndarray, path: Path, resolution: int | None) -> np.ndarray:
    """Resize uint8 [H, W, 3] to a side, antialiased; None: as they are. UserError if the file's are not square."""
    height, width, _ = pixels.shape
    if height != width:
        raise UserError(
            f"{path} is {width} x {height} pixels: clips must be square face crops (preprocess makes them)."
        )
    side = resolution or height
    if side > MAX_SIDE:
        raise UserError(f"{path} is {width} x {height} pixels, more than {MAX_SIDE} a side: give --resolution.")
    if side == height:
        return pixels
    image = PIL.Image.fromarray(pixels)
    return np.asarray(image.resize((side, side), PIL.Image.Resampling.LANCZOS))


def _cameras(path: Path) -> np.ndarray:
    """Read the cameras float [F, 25] of a file [[frame name, 25 numbers], ...], in the order of the frames' numbers.

    UserError if it is not one, or does not number the frames.
    """
    entries = read_json(require_file(path, "camera file"))
    if not entries or not isinstance(entries, list) or not all(_is_camera_entry(entry) for entry in entries):
        raise UserError(f"{path} is not a list of [frame name, {CAMERA_DIM} finite numbers]: write it again.")
    order = frame_order([str(name) for name, _ in entries], path)
    return np.array([entries[place][1] for place in order], dtype=np.float64)


def _is_camera_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and parse_label(entry[1]) is not None
