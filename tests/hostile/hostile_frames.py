"""Hostile pictures named .png: `CASES` maps a name to (outcome, content)."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import PIL.Image

from tests.hostile.hostile_indexes import SIDE
from tests.hostile.outcomes import BROKEN, FINE, FLAGGED, Outcome

MIB = 2**20
MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_END = 2  # bytes of its end marker


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int = SIDE,
    height: int = SIDE,
    before: bytes = b"",
    depth: int = 8,
    colour: int = 2,
    packed: bytes = zlib.compress(bytes((SIDE * 3 + 1) * SIDE)),
) -> bytes:
    """A PNG of this header; its compressed pixels are SIDE x SIDE zeros, and `before` are chunks before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return MAGIC + header + before + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _zeros() -> bytes:
    """512 MiB of zeros, compressed; quickly made of one block again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 512 * MIB % 65521 << 16 | 1  # adler-32 of zeros
    return b"\x78\xda" + block * 512 + packer.flush() + struct.pack(">I", checksum)


def _bomb(kind: bytes, head: bytes) -> bytes:
    """A picture with a chunk that unpacks to 512 MiB."""
    return png(before=chunk(kind, head + _zeros()))


def _many_pixels() -> bytes:
    return png(packed=_zeros())


def _saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE), **options) -> bytes:
    image = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, [*size[::-1], 3], dtype=np.uint8))
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, format=kind, **options)
    return buffer.getvalue()


def _sixteen_bit() -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full([SIDE, SIDE], 40000, np.uint16)).save(buffer, format="png")
    return buffer.getvalue()


def _animation() -> bytes:
    others = [PIL.Image.new("RGB", (SIDE, SIDE), (shade, 0, 0)) for shade in range(8)]
    return _saved("png", save_all=True, append_images=others)


def _wrong_checksum() -> bytes:
    data = bytearray(png())
    data[-20] ^= 255  # in IDAT's
    return bytes(data)


def _giant_jpeg() -> bytes:
    data = bytearray(_saved("jpeg"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, 65500, 65500)
    return bytes(data)


def _many_scans() -> bytes:
    """The last scan of a progressive JPEG, ten thousand times."""
    data = _saved("jpeg", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -JPEG_END]
    return data[:-JPEG_END] + scan * 10_000 + data[-JPEG_END:]


def _psd() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, SIDE, SIDE, 8, 3) + bytes(12) + bytes(2 + SIDE * SIDE * 3)


def _eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(/etc/passwd) run\nshowpage\n%%EOF\n"


def _constant(content: bytes) -> Callable[[], bytes]:
    return lambda: content


CASES: dict[str, tuple[Outcome, Callable[[], bytes]]] = {
    "header of 100000 x 100000": (BROKEN, partial(png, 100_000, 100_000)),
    "header of 2^31 - 1": (BROKEN, partial(png, 2**31 - 1, 2**31 - 1)),
    "header of 2^32 - 1": (BROKEN, partial(png, 2**32 - 1, 1)),
    "header of 4097 pixels": (BROKEN, partial(png, 4097, 1)),
    "header of 4096 x 4096": (BROKEN, partial(png, 4096, 4096)),
    "a whole 20000 x 20000": (BROKEN, lambda: png(20_000, 20_000, depth=1, colour=0, packed=_zeros())),
    "no pixels": (BROKEN, partial(png, 0, 0)),
    "wide": (BROKEN, partial(png, SIDE * 2, SIDE)),
    "too few pixels": (BROKEN, partial(png, packed=b"")),
    "unknown bit depth": (BROKEN, partial(png, depth=7)),
    "profile of 512 MiB": (BROKEN, partial(_bomb, b"iCCP", b"a\0\0")),
    "text of 512 MiB": (BROKEN, partial(_bomb, b"zTXt", b"a\0\0")),
    "international text of 512 MiB": (BROKEN, partial(_bomb, b"iTXt", b"a\0\1\0\0\0")),
    "pixels of 512 MiB": (FINE, _many_pixels),
    "chunk of 2^31 bytes": (BROKEN, lambda: png()[:33] + struct.pack(">I", 2**31 - 1) + png()[37:]),
    "no end": (FLAGGED, lambda: png()[:-12]),
    "cut in half": (BROKEN, lambda: png()[:60]),
    "header alone": (BROKEN, lambda: png()[:33]),
    "magic alone": (BROKEN, _constant(MAGIC)),
    "nothing": (BROKEN, _constant(b"")),
    "16 bits": (BROKEN, _sixteen_bit),
    "other size": (BROKEN, partial(_saved, "png", size=(8, 8))),
    "animation": (FINE, _animation),
    "palette": (FINE, partial(_saved, "png", "P")),
    "grey": (FINE, partial(_saved, "png", "L")),
    "one bit": (FINE, partial(_saved, "png", "1")),
    "alpha": (FINE, partial(_saved, "png", "RGBA")),
    "jpeg": (FINE, partial(_saved, "jpeg")),
    "jpeg cut in half": (BROKEN, lambda: _saved("jpeg")[:400]),
    "jpeg of 65500 x 65500": (BROKEN, _giant_jpeg),
    "jpeg of 10000 scans": (BROKEN, _many_scans),
    "webp": (BROKEN, partial(_saved, "webp")),
    "tiff": (BROKEN, partial(_saved, "tiff")),
    "gif": (BROKEN, partial(_saved, "gif")),
    "bmp": (BROKEN, partial(_saved, "bmp")),
    "ppm": (BROKEN, partial(_saved, "ppm")),
    "icns": (BROKEN, _constant(b"icns" + bytes(64))),
    "psd": (BROKEN, _psd),
    "eps": (BROKEN, _eps),
    "text": (BROKEN, _constant(b"import os")),
    "pickle": (BROKEN, _constant(b'\x80\x04cos\nsystem\n(S"true"\ntR.')),
}
