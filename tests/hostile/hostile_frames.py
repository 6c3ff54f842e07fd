"""Hostile pictures named .png: rows of a name, a function that returns the file's bytes, and what is expected."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image

from tests.hostile.hostile_indexes import SIDE
from tests.hostile.outcomes import BROKEN, FINE, FLAGGED, DatasetOutcome
from tests.hostile.zip_makers import deflated_zeros

MIB = 2**20
BOMB_MIB = 512  # MiB that a bomb unpacks to
ADLER = 65521  # the modulus of zlib's checksum
MAGIC = b"\x89PNG\r\n\x1a\n"
AFTER_HEADER = 33  # bytes of the magic number and the first chunk
END_CHUNK = 12  # bytes of the last chunk
JPEG_END = 2  # bytes of a JPEG's end marker


# --- PNG -------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def packed_pixels() -> bytes:
    """Return SIDE x SIDE black pixels as a PNG packs them."""
    return zlib.compress(bytes((SIDE * 3 + 1) * SIDE))


def png(
    width: int = SIDE,
    height: int = SIDE,
    *,
    before: bytes = b"",
    depth: int = 8,
    colour: int = 2,
    packed: bytes | None = None,
) -> bytes:
    """Return a PNG with this header, chunks `before` the pixels, and `packed` pixels (SIDE x SIDE black ones)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = packed_pixels() if packed is None else packed
    return MAGIC + header + before + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def packed_zeros() -> bytes:
    """Return BOMB_MIB of zeros as zlib packs them."""
    checksum = BOMB_MIB * MIB % ADLER << 16 | 1
    return b"\x78\xda" + deflated_zeros(BOMB_MIB) + struct.pack(">I", checksum)


def bomb(kind: bytes, head: bytes) -> bytes:
    """Return a PNG with a chunk that unpacks to BOMB_MIB."""
    return png(before=chunk(kind, head + packed_zeros()))


def with_wrong_length() -> bytes:
    """Return a PNG whose second chunk says to have 2^31 - 1 bytes."""
    data = png()
    return data[:AFTER_HEADER] + struct.pack(">I", 2**31 - 1) + data[AFTER_HEADER + 4 :]


def sixteen_bit() -> bytes:
    """Return a PNG of 16 bits a pixel."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full([SIDE, SIDE], 40000, np.uint16)).save(buffer, format="png")
    return buffer.getvalue()


# --- Other formats ---------------------------------------------------------------------------------------------------


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE), **options: Any) -> bytes:
    """Return a picture of noise as Pillow saves it."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, [height, width, 3], dtype=np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise).convert(mode).save(buffer, format=kind, **options)
    return buffer.getvalue()


def animation() -> bytes:
    """Return a PNG of nine frames."""
    others = [PIL.Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)) for shade in range(8)]
    return saved("png", save_all=True, append_images=others)


def giant_jpeg() -> bytes:
    """Return a JPEG whose header gives 65500 x 65500 pixels."""
    data = bytearray(saved("jpeg"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65500, 65500)
    return bytes(data)


def jpeg_of_many_scans() -> bytes:
    """Return a progressive JPEG whose last scan comes ten thousand times more."""
    data = saved("jpeg", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -JPEG_END]
    return data[:-JPEG_END] + scan * 10_000 + data[-JPEG_END:]


def psd() -> bytes:
    """Return a Photoshop file."""
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, SIDE, SIDE, 8, 3) + bytes(12) + bytes(2 + SIDE * SIDE * 3)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(/etc/passwd) run\nshowpage\n%%EOF\n"


# --- The rows --------------------------------------------------------------------------------------------------------

ROWS: list[tuple[str, Callable[[], bytes], DatasetOutcome]] = [
    ("header of 100000 x 100000", lambda: png(100_000, 100_000), BROKEN),
    ("header of 2^31 - 1", lambda: png(2**31 - 1, 2**31 - 1), BROKEN),
    ("header of 2^32 - 1", lambda: png(2**32 - 1, 1), BROKEN),
    ("header of 4097 pixels", lambda: png(4097, 1), BROKEN),
    ("header of 4096 x 4096", lambda: png(4096, 4096), BROKEN),
    ("a whole 20000 x 20000", lambda: png(20_000, 20_000, depth=1, colour=0, packed=packed_zeros()), BROKEN),
    ("no pixels", lambda: png(0, 0), BROKEN),
    ("wide", lambda: png(SIDE * 2, SIDE), BROKEN),
    ("too few pixels", lambda: png(packed=b""), BROKEN),
    ("unknown bit depth", lambda: png(depth=7), BROKEN),
    ("profile of 512 MiB", lambda: bomb(b"iCCP", b"a\0\0"), BROKEN),
    ("text of 512 MiB", lambda: bomb(b"zTXt", b"a\0\0"), BROKEN),
    ("international text of 512 MiB", lambda: bomb(b"iTXt", b"a\0\1\0\0\0"), BROKEN),
    ("pixels of 512 MiB", lambda: png(packed=packed_zeros()), FINE),
    ("chunk of 2^31 bytes", with_wrong_length, BROKEN),
    ("no end", lambda: png()[:-END_CHUNK], FLAGGED),
    ("cut in half", lambda: png()[:60], BROKEN),
    ("header alone", lambda: png()[:AFTER_HEADER], BROKEN),
    ("magic alone", lambda: MAGIC, BROKEN),
    ("nothing", lambda: b"", BROKEN),
    ("16 bits", sixteen_bit, BROKEN),
    ("other size", lambda: saved("png", size=(8, 8)), BROKEN),
    ("animation", animation, FINE),
    ("palette", lambda: saved("png", "P"), FINE),
    ("grey", lambda: saved("png", "L"), FINE),
    ("one bit", lambda: saved("png", "1"), FINE),
    ("alpha", lambda: saved("png", "RGBA"), FINE),
    ("jpeg", lambda: saved("jpeg"), FINE),
    ("jpeg cut in half", lambda: saved("jpeg")[:400], BROKEN),
    ("jpeg of 65500 x 65500", giant_jpeg, BROKEN),
    ("jpeg of 10000 scans", jpeg_of_many_scans, BROKEN),
    ("webp", lambda: saved("webp"), BROKEN),
    ("tiff", lambda: saved("tiff"), BROKEN),
    ("gif", lambda: saved("gif"), BROKEN),
    ("bmp", lambda: saved("bmp"), BROKEN),
    ("ppm", lambda: saved("ppm"), BROKEN),
    ("icns", lambda: b"icns" + bytes(64), BROKEN),
    ("psd", psd, BROKEN),
    ("eps", lambda: EPS, BROKEN),
    ("text", lambda: b"import os", BROKEN),
    ("pickle", lambda: b'\x80\x04cos\nsystem\n(S"true"\ntR.', BROKEN),
]
