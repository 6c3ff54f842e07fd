"""Formats of video files that we write, by the suffix of their names: what ffmpeg is told for each."""

import os
from collections.abc import Callable
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import AnyPath

MIN_FPS = 0.01  # frames a second, of files and of clips in datasets
MAX_FPS = 1000
# Rec. 709, and tagged as such: players take untagged files for 601 or 709 depending on their size, and tint them. It is
# the frames that are tagged: what they say overrides what the encoder is told.
COLOUR = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
# Between RGB and YUV, swscale's defaults are fast, not right: on x86, 4:2:0 comes 1 to 1.5 of 255 too dark, with its
# colour in blocks of 2 x 2. These flags leave less than 0.2, and ask for the same on every processor (docs/metrics.md).
ACCURATE = ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"]
# A GIF has 256 colours: those that suit all its frames. Ordered dithering stays where it is while a head turns.
PALETTE = "split[whole][seen];[seen]palettegen[colours];[whole][colours]paletteuse=dither=bayer:bayer_scale=4"
REPEATABLE = ["-fflags", "+bitexact"]  # else WebM has random numbers in it: the same frames would be another file
MAX_GIF_FPS = 50  # its delays are hundredths of a second, and viewers slow down what is shown for less than two
GIF_BLOCK_BYTES = 255  # of a comment
VP9_HARDER = 13  # a constant quality of VP9 that looks like x264's is so much greater


def encoding(path: AnyPath, fps: float, crf: int) -> list[str]:
    """Return ffmpeg's arguments for the format of a file: filters and codec.

    Args:
        crf: x264's constant rate factor, 0 to 51; that of WebM follows from it, a GIF has none.

    Raises:
        UserError: the suffix is none of FORMATS, or a GIF cannot be so fast.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UserError(f"{path} is no video that can be written: end its name in {', '.join(FORMATS)}.")
    return FORMATS[suffix](path, fps, crf)


def _mp4(path: AnyPath, fps: float, crf: int) -> list[str]:
    codec = ["-c:v", "libx264", "-profile:v", "high", "-crf", str(crf)]
    return ["-vf", COLOUR, *ACCURATE, *codec, "-movflags", "+faststart"]


def _webm(path: AnyPath, fps: float, crf: int) -> list[str]:
    quality = ["-crf", str(min(crf + VP9_HARDER, 63)), "-b:v", "0"]
    return ["-vf", COLOUR, *ACCURATE, "-c:v", "libvpx-vp9", *quality, "-row-mt", "1", *REPEATABLE]


def _gif(path: AnyPath, fps: float, crf: int) -> list[str]:
    if fps > MAX_GIF_FPS:
        raise UserError(f"{path} cannot show {fps:g} frames a second: a GIF has up to {MAX_GIF_FPS}.")
    return ["-filter_complex", PALETTE, "-loop", "0"]


FORMATS: dict[str, Callable[[AnyPath, float, int], list[str]]] = {".mp4": _mp4, ".webm": _webm, ".gif": _gif}


def add_comment(path: Path, comment: str) -> None:
    """Add to a GIF what its metadata say of it, which ffmpeg leaves out: comment blocks before the file's last byte."""
    text = comment.encode()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x21\xfe")
        for start in range(0, len(text), GIF_BLOCK_BYTES):
            block = text[start : start + GIF_BLOCK_BYTES]
            file.write(bytes([len(block)]) + block)
        file.write(b"\0;")
