"""Pictures of a dataset: from bytes to pixels and back, whatever the bytes say."""

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.Image
import pyspng

from dnnlib.files import shown
from training.data.files import DAMAGE

PNG_MAGIC, PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
JPEG_SCAN = b"\xff\xda"  # opens a scan, and is nowhere within one
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
DEPTH_SUFFIX = ".depth.png"  # 16-bit depth of a procedural frame, beside it
DEPTH_START, DEPTH_SPAN = 2.0, 2.0  # what 16-bit depth 0 means, and how much 65535 is more, world units
MAX_SIDE = 4096  # pixels of a frame, whatever its header says: what `dataset_tool.py` makes at most
MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10


def decode_frame(data: bytes) -> np.ndarray:
    """Decode PNG or JPEG bytes to uint8 [3, H, W]; grey becomes RGB, alpha is dropped.

    ValueError if they are damaged, or the frame is larger than MAX_SIDE.
    """
    if data.startswith(PNG_MAGIC):
        _bound_png(data)
        try:
            pixels = pyspng.load(data)
        except DAMAGE as error:
            raise ValueError(shown(str(error))) from error
    else:
        with _picture(data) as image:
            pixels = np.asarray(image.convert("RGB"))
    if pixels.dtype != np.uint8:
        raise ValueError(f"{pixels.dtype} pixels, not 8 bits a colour")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.shape[2] < 3:
        pixels = pixels[:, :, :1].repeat(3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3].transpose(2, 0, 1))


def verify_frame(data: bytes) -> tuple[int, int]:
    """Return height and width of a frame, decoded and with its checksums verified (which `decode_frame` omits).

    ValueError if anything is damaged.
    """
    if data.startswith(PNG_MAGIC) and PNG_END not in data[-64:]:
        raise ValueError("the end of the PNG is missing")
    with _picture(data) as image:
        image.verify()
    _, height, width = decode_frame(data).shape
    return height, width


@contextlib.contextmanager
def _picture(data: bytes) -> Iterator[PIL.Image.Image]:
    """Open a PNG or JPEG for the block to decode. ValueError if it is none, too large, or the block fails.

    Other formats are not tried: some would start other programs. On damaged data Pillow raises nearly anything.
    """
    if data.startswith(PNG_MAGIC):
        _bound_png(data)
    elif data.count(JPEG_SCAN) > MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        with image:
            _bound(*image.size)
            yield image
    except PIL.UnidentifiedImageError:
        raise ValueError("neither a PNG nor a JPEG") from None
    except Exception as error:
        raise ValueError(shown(str(error))) from error


def _bound_png(data: bytes) -> None:
    """Check the size in a PNG's header before anything is decoded. ValueError if it is too large or missing."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        raise ValueError("the header of the PNG is missing")
    _bound(*struct.unpack(">II", data[16:24]))


def _bound(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise ValueError(f"{width} x {height} pixels, more than {MAX_SIDE} a side")


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 [3, H, W] or uint16 [H, W] as PNG."""
    if pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="png", compress_level=3)
    return buffer.getvalue()


def encode_depth(depth: np.ndarray) -> bytes:
    """Encode depth float [H, W] in world units, from DEPTH_START to DEPTH_START + DEPTH_SPAN, as 16-bit PNG."""
    steps = (depth - DEPTH_START) / DEPTH_SPAN * 65535
    return encode_png(np.clip(steps + 0.5, 0, 65535).astype(np.uint16))


def decode_depth(data: bytes) -> np.ndarray:
    """Decode what `encode_depth` made: float32 [H, W], to 1.5e-5 world units. ValueError if it is damaged."""
    with _picture(data) as image:
        values = np.asarray(image)
    if values.ndim != 2:
        raise ValueError("a picture of colours, not of depth")
    share = values.astype(np.float32) / 65535
    return (share * DEPTH_SPAN + DEPTH_START).astype(np.float32)
