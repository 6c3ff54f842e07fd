"""Pictures of a dataset: from bytes to pixels and back, whatever the bytes say."""

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.ExifTags
import PIL.Image
import pyspng

from dnnlib.files import shown
from training.data.files import DAMAGE

PNG_MAGIC, PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
PNG_DEPTH = 24  # where its header says the bits a colour
CHUNK_HEAD = 8  # bytes of length and name of a PNG's chunk
JPEG_SCAN = b"\xff\xda"  # opens a scan, and is nowhere within one
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")
DEPTH_SUFFIX = ".depth.png"  # 16-bit depth of a procedural frame, beside it
DEPTH_START, DEPTH_SPAN = 2.0, 2.0  # what 16-bit depth 0 means, and how much 65535 is more, world units
# Orientations of EXIF (2 to 8; 1 is upright) that are mended by swapping rows and columns, then by these flips.
LYING, UPSIDE_DOWN, MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
MAX_SIDE = 4096  # pixels of a frame, whatever its header says: what `dataset_tool.py` makes at most
MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10


def decode_frame(data: bytes) -> np.ndarray:
    """Decode PNG or JPEG bytes to uint8 [3, H, W], upright as their EXIF says; grey becomes RGB, alpha is dropped.

    ValueError if they are damaged, have 16 bits a colour, or are larger than MAX_SIDE.
    """
    if data.startswith(PNG_MAGIC):
        _bound_png(data)
        if data[PNG_DEPTH] > 8:
            raise ValueError(f"{data[PNG_DEPTH]} bits a colour, not 8")
        try:
            pixels = pyspng.load(data, "RGB")
        except DAMAGE as error:
            raise ValueError(shown(str(error))) from error
        exif = _png_exif(data)
    else:
        with _picture(data) as image:
            pixels = np.asarray(image.convert("RGB"))
            exif = image.info.get("exif", b"")
    pixels = _upright(pixels, exif) if exif else pixels
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


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


def _png_exif(data: bytes) -> bytes:
    """Return the EXIF data of a PNG, which may stand before the pixels or after them; nothing if it has none."""
    place = len(PNG_MAGIC) + 4
    while place + CHUNK_HEAD <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        place += CHUNK_HEAD
        if kind == b"eXIf":
            return data[place : place + length]
        place += length + 4  # its checksum
    return b""


def _upright(pixels: np.ndarray, exif: bytes) -> np.ndarray:
    """Turn pixels [H, W, 3] as EXIF's tag of orientation says; data that cannot be understood say nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about such data
            tags = PIL.Image.Exif()
            tags.load(exif)
            orientation = tags.get(PIL.ExifTags.Base.Orientation)
    except Exception:  # on damaged data Pillow raises nearly anything
        return pixels
    if orientation in LYING:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in UPSIDE_DOWN:
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in MIRRORED else pixels


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
    if data[12:16] != b"IHDR" or len(data) <= PNG_DEPTH:
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
