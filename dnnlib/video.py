"""Video files: the one place that writes them and reads them, through the ffmpeg that imageio-ffmpeg brings along."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeGuard

import imageio_ffmpeg
import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import AnyPath, atomic_path, require_file, shown
from dnnlib.video_formats import ACCURATE, MAX_FPS, MIN_FPS, add_comment, encoding

CODEC_VERSION = 2  # what is kept of pixels that were in a video file names it: another one means other pixels
# Of strangers' files, only containers that hold their pixels themselves are opened: a playlist (HLS, concat) named .mp4
# would have ffmpeg read other files, or addresses. Larger frames than 8K, and what asks for more memory, are refused.
CONTAINERS = "mov,matroska,avi,gif"
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".gif")  # of these, in any case
MAX_PIXELS = 2**25
MAX_BLOCK_BYTES = 2**28  # that ffmpeg allocates at once
CAUTION = {
    "-max_alloc": str(MAX_BLOCK_BYTES),
    "-protocol_whitelist": "file",
    "-format_whitelist": CONTAINERS,
    "-max_pixels": str(MAX_PIXELS),
}
# Of a stream: its number, width, height, its pixels' shape if known, its rate. The input's come before the output's.
STREAM_LINE = re.compile(
    r"^ *Stream #0:(\d+).*?: Video: .*?(\d{2,5})x(\d{2,5})(?:,? \[?SAR (\d+):(\d+))?.*? (\d+(?:\.\d+)?)(k?) fps",
    re.MULTILINE,
)
CHANGE_LINE = re.compile(r"^\[vf\S* @ \w+\] Reconfiguring .* parameters changed to .*? (\d+)x(\d+)", re.MULTILINE)
TIMES_LINE = re.compile(r"VFR:\S+ \(\d+/\d+\) min: (\d+) max: (\d+)")  # that frames are shown for, in some unit
END_LINE = re.compile(r"time=(\d+):(\d+):(\d+\.\d+)")  # where a video ends: hours, minutes, seconds
UNEVEN = 1.5  # the longest time that a frame is shown for by the shortest; Matroska rounds them to thousandths
HDR = re.compile(r"smpte2084|arib-std-b67")  # its transfer, in a stream's line
MAPPING_LINE = re.compile(r"^ *Stream #0:(\d+) -> #0:0 ", re.MULTILINE)
COUNT_LINE = re.compile(r"frame=\s*(\d+)")


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The frames of a video: their number, rate and size."""

    frames: int
    fps: float  # the mean, two decimals
    width: int  # pixels, after any rotation
    height: int
    pixel_aspect: float  # a pixel's width by its height
    is_hdr: bool = False  # values are meant for brighter screens (PQ, HLG); as they are, they look pale


# --- Write and read ---------------------------------------------------------------------------------------------------


def write_video(
    path: AnyPath, frames: Iterable[np.ndarray], fps: float, crf: int = 17, comment: str | None = None
) -> None:
    """Write a video that browsers play, atomically: an MP4 is H.264 High, yuv420p, index at the front.

    Args:
        path: ends in `.mp4`, `.webm` (VP9, yuv420p) or `.gif` (256 colours, repeated without end).
        frames: uint8 [H, W, 3] RGB, all of one size. 4:2:0 colour needs even sizes: an odd one gets its last row or
            column twice.
        fps: frames per second, MIN_FPS to MAX_FPS.
        crf: x264's constant rate factor, 0 (lossless) to 51; 17 looks like the source. WebM's follows from it.
        comment: what the file's metadata say of it.

    Raises:
        UserError: ffmpeg is missing or fails, the disk is full, another suffix, too many frames a second for a GIF.
        ValueError: no frames, or frames of another kind.
    """
    how = encoding(path, fps, crf)
    with atomic_path(path) as temporary, contextlib.ExitStack() as stack:
        encoder: subprocess.Popen | None = None
        for frame in frames:
            if encoder is None:
                shape = frame.shape
                encoder, log = stack.enter_context(
                    _ffmpeg(_encode_args(temporary, shape, fps, how, comment), stdin=True)
                )
            _check_frame(frame, shape)
            if not _feed(encoder, frame):
                break
        if encoder is None:
            raise ValueError(f"No frames to write to {path}.")
        if _close(encoder) != 0:
            raise _encoder_failure(path, log)
        if comment is not None and temporary.suffix.lower() == ".gif":
            add_comment(temporary, comment)


def read_frames(
    path: AnyPath,
    *,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
) -> Generator[np.ndarray, None, None]:
    """Decode a video: yield every frame that it shows once, as uint8 [H, W, 3] RGB, whatever its time stamps.

    A turned video is turned upright. Of several, the first is taken; a cover picture is none.

    Args:
        fps: frames a second to yield in place of those: each moment's frame, again or not at all where need be.
        size: width and height to scale upright frames to, such as makes the pixels square.

    Raises:
        UserError: the file is missing, not a video, or broken before its end; its frames have different sizes, which
            ffmpeg resizes to the first one's (found at the end); ffmpeg is missing.
    """
    path = require_file(path, "video")
    # Each PPM image carries its own size, so rotated videos need no special case.
    filters = _filters(fps, size)
    args = [*_decode_args(path), *filters, "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-"]
    with _ffmpeg(args, stdout=True, level="info") as (decoder, log):
        assert decoder.stdout is not None
        first = frame = _read_ppm(decoder.stdout)
        while frame is not None:
            yield frame
            frame = _read_ppm(decoder.stdout)
        if decoder.wait() != 0 or first is None:
            raise _decoder_failure(path, log)
        first_size = sorted(first.shape[:2])
        if any(sorted(map(int, other)) != first_size for other in CHANGE_LINE.findall(_text(log))):
            raise UserError(f"The frames of {path} have different sizes: write it again, all of one size.")


def video_info(path: AnyPath, max_frames: int | None = None) -> VideoInfo:
    """Decode a video, or its first `max_frames` frames, and return what is in it. UserError as of `read_frames`."""
    path = require_file(path, "video")
    args = _decode_args(path)
    if max_frames is not None:
        args += ["-frames:v", str(max_frames)]
    with _ffmpeg([*args, "-f", "null", "-"], level="info") as (decoder, log):
        status = decoder.wait()
        text = _text(log)
        mapped = MAPPING_LINE.search(text)
        lines = list(STREAM_LINE.finditer(text))
        counts = COUNT_LINE.findall(text)
        frames = int(counts[-1]) if counts else 0
        if status != 0 or mapped is None or not lines or frames == 0:
            raise _decoder_failure(path, log)
    _, width, height, across, down, *output_rate = lines[-1].groups()
    # The output's rate is a guess at a common measure of all time stamps: thousands, where they are uneven.
    rates = [rate for number, _, _, _, _, *rate in map(re.Match.groups, lines[:-1]) if number == mapped[1]]
    rate, thousand = (rates or [output_rate])[0]
    return VideoInfo(
        frames=frames,
        fps=float(rate) * (1000 if thousand else 1),
        width=int(width),
        height=int(height),
        pixel_aspect=int(across) / int(down) if across and down != "0" else 1.0,
        is_hdr=HDR.search(lines[-1][0]) is not None,
    )


def uneven_rate(path: AnyPath) -> float | None:
    """Return the mean frames a second of a video whose frames are shown for different times; None if they are not.

    The whole video is decoded: headers of some containers keep silent about it. A video that breaks off is judged up
    to there. UserError as of `read_frames` if nothing can be decoded.
    """
    path = require_file(path, "video")
    args = [*_decode_args(path), "-vf", "vfrdet", "-f", "null", "-"]
    with _ffmpeg(args, level="info") as (decoder, log):
        decoder.wait()
        text = _text(log)
        counts = COUNT_LINE.findall(text)
        if not counts or int(counts[-1]) == 0:
            raise _decoder_failure(path, log)
    times = TIMES_LINE.search(text)
    ends = END_LINE.findall(text)
    if times is None or not ends or int(times[2]) <= UNEVEN * int(times[1]):
        return None
    hours, minutes, seconds = map(float, ends[-1])
    return int(counts[-1]) / (3600 * hours + 60 * minutes + seconds)


def is_frame_rate(fps: object) -> TypeGuard[float]:
    """Return whether a value is a number of frames a second that a video can have."""
    return isinstance(fps, int | float) and MIN_FPS <= fps <= MAX_FPS


def require_ffmpeg() -> None:
    """Raise UserError unless ffmpeg runs: for work that makes its first video only after hours."""
    with _ffmpeg(["-version"]) as (process, _):
        if process.wait() != 0:
            raise _unusable(f"it ended with status {process.returncode}")


# --- ffmpeg's arguments and pipes -------------------------------------------------------------------------------------


def _encode_args(path: Path, shape: tuple[int, ...], fps: float, how: list[str], comment: str | None) -> list[str]:
    size = f"{_even(shape[1])}x{_even(shape[0])}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:.6g}", "-i", "-"]
    metadata = [] if comment is None else ["-metadata", f"comment={comment}"]
    return [*source, "-an", *how, *metadata, f"file:{path}"]


def _decode_args(path: Path) -> list[str]:
    """Return arguments with which a damaged file is an error (-xerror), and no frame is dropped or repeated."""
    caution = [word for option in CAUTION.items() for word in option]
    video = ["-map", "0:V:0"]  # a small v would take cover pictures, too
    return [*caution, "-xerror", "-i", f"file:{path}", *video, "-fps_mode", "passthrough", *ACCURATE]


def _filters(fps: float | None, size: tuple[int, int] | None) -> list[str]:
    """Return arguments that change the rate and the size of decoded frames."""
    filters = []
    if fps is not None:
        filters.append(f"fps={fps:.6g}")
    if size is not None:
        filters.append(f"scale={size[0]}:{size[1]},setsar=1")
    return ["-vf", ",".join(filters)] if filters else []


def _even(size: int) -> int:
    return size + size % 2


def _check_frame(frame: np.ndarray, shape: tuple[int, ...]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        raise ValueError(f"Expected uint8 frames [H, W, 3] of one size {shape}, got {frame.dtype} {frame.shape}.")


def _feed(encoder: subprocess.Popen, frame: np.ndarray) -> bool:
    """Hand over one frame, padded to even size; return False if the encoder is gone."""
    assert encoder.stdin is not None
    height, width, _ = frame.shape
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        encoder.stdin.write(np.ascontiguousarray(frame).data)
    except BrokenPipeError:
        return False
    return True


def _close(encoder: subprocess.Popen) -> int:
    """End the input and wait for the encoder; return its exit status."""
    assert encoder.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        encoder.stdin.close()
    return encoder.wait()


def _read_ppm(stream: IO[bytes]) -> np.ndarray | None:
    """Read the next image of a stream of binary PPMs; None at its end."""
    magic, size, limit = (stream.readline() for _ in range(3))
    if magic != b"P6\n" or limit != b"255\n":
        return None
    width, height = map(int, size.split())
    pixels = stream.read(width * height * 3)
    if len(pixels) < width * height * 3:
        return None
    return np.frombuffer(pixels, dtype=np.uint8).reshape(height, width, 3)


@contextlib.contextmanager
def _ffmpeg(
    args: list[str],
    stdin: bool = False,
    stdout: bool = False,
    level: str = "error",
) -> Iterator[tuple[subprocess.Popen, IO[bytes]]]:
    """Run ffmpeg with its messages in a temporary file (a full pipe would block it); stop it on the way out."""
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", "-loglevel", level, *args],
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we decide what becomes of the file
            )
        except (RuntimeError, OSError) as error:
            raise _unusable(error) from error
        try:
            yield process, log
        finally:
            process.kill()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            process.wait()


# --- Failures ---------------------------------------------------------------------------------------------------------


def _unusable(reason: object) -> UserError:
    return UserError(
        "ffmpeg does not run: install it with `pip install imageio-ffmpeg`, or set IMAGEIO_FFMPEG_EXE to "
        f"a working one ({reason})."
    )


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", "replace")


def _last_words(log: IO[bytes]) -> str:
    """Return ffmpeg's last message, without the `[part @ address]` before it."""
    lines = _text(log).strip().splitlines() or ["no message"]
    return shown(re.sub(r"^(\[[^]]*\] *)+", "", lines[-1]))


def _encoder_failure(path: AnyPath, log: IO[bytes]) -> UserError:
    if re.search("No space left|File too large|quota exceeded", _text(log)):
        return UserError(f"No space left to write {path}: free some space or choose another folder.")
    return UserError(
        f"ffmpeg could not write {path}: install a build with libx264 and libvpx "
        f"(`pip install imageio-ffmpeg`); it said: {_last_words(log)}"
    )


def _decoder_failure(path: Path, log: IO[bytes]) -> UserError:
    if "matches no streams" in _text(log):
        return UserError(f"Cannot read the video {path}: there is none in it (sound, or a cover picture, is no video).")
    return UserError(
        f"Cannot read the video {path} to its end: copy or download it again (ffmpeg: {_last_words(log)})."
    )
