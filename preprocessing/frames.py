"""The frames of a source, upright, with square pixels and at an even rate: the same ones in every pass over it."""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import read_file
from dnnlib.video import MAX_FPS, MIN_FPS, is_frame_rate, read_frames, uneven_rate, video_info
from preprocessing.records import SourceVideo
from preprocessing.sources import is_picture
from training.data.files import MAX_FILE_BYTES
from training.data.frames import decode_frame

PICTURE_FPS = 25.0  # of clips of one frame, which have to have some rate
ASPECT_TOLERANCE = 0.01  # of a pixel's width by its height; some software rounds them


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a video is decoded.

    Attributes:
        fps: frames a second.
        resample: whether the frames are resampled to that rate; else all are taken as they are.
        size: width and height to scale frames to; None: as they are.
        notes: sentences for the report.
    """

    fps: float
    resample: bool = False
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


def plan_reading(video: SourceVideo, fps: float | None) -> Reading:
    """Look at a video, whose time stamps may be uneven anywhere, and decide how to decode it.

    Args:
        fps: frames a second that are wanted; None: the video's own.

    Raises:
        UserError: it is no video, is HDR, or has an impossible rate.
    """
    if is_picture(video.path):
        return Reading(fps=PICTURE_FPS)
    info = video_info(video.path, max_frames=1)
    if info.is_hdr:
        raise UserError(f"{video.path} is HDR (PQ or HLG), whose colours would be pale: write it again as SDR.")
    uneven = uneven_rate(video.path)
    rate = fps or uneven or info.fps
    if not is_frame_rate(rate):
        raise UserError(f"{video.path} has {rate:g} frames a second, not {MIN_FPS} to {MAX_FPS}: give --fps.")
    notes = []
    size = None
    if abs(info.pixel_aspect - 1) > ASPECT_TOLERANCE:
        size = (round(info.width * info.pixel_aspect), info.height)
        notes.append(f"Its pixels are {info.pixel_aspect:.3g} times as wide as high: scaled to {size[0]} x {size[1]}.")
    if uneven is not None:
        notes.append(f"Its frames are shown for different times: resampled to {rate:.4g} a second.")
    resample = fps is not None or uneven is not None
    return Reading(fps=rate, resample=resample, size=size, notes=tuple(notes))


def read_source(video: SourceVideo, reading: Reading) -> Generator[np.ndarray, None, None]:
    """Yield the frames of a video, or the one of a picture, as uint8 [H, W, 3] RGB.

    Raises:
        UserError: it cannot be decoded, or is broken before its end.
    """
    if is_picture(video.path):
        yield _picture(video)
        return
    yield from read_frames(video.path, fps=reading.fps if reading.resample else None, size=reading.size)


def _picture(video: SourceVideo) -> np.ndarray:
    try:
        pixels = decode_frame(read_file(video.path, "picture", MAX_FILE_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the picture {video.path} ({error}): save it again as PNG or JPEG.") from error
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))
