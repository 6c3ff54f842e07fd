"""Writes an uncompressed zip of any number of members in little memory."""

import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import pack
from typing import IO

from dnnlib.files import PIECE_BYTES
from training.data.zips import (
    END,
    END64,
    END64_MAGIC,
    END_MAGIC,
    ENTRY,
    ENTRY_MAGIC,
    HEADER,
    HEADER_MAGIC,
    IN_ZIP64,
    LOCATOR,
    LOCATOR_MAGIC,
    UTF8_NAME,
    ZIP64,
)

VERSION, VERSION64 = 20, 45  # of the format that a reader must know, 2.0 or with 64-bit numbers 4.5
UNIX = 3  # the system whose permissions are in the directory
PERMISSIONS = 0o100600 << 16  # a file that its owner may read and write
DATE = 1 << 5 | 1  # 1 January 1980, the earliest: equal datasets are equal files
MANY = 2**16 - 1  # stands where the number of members is in the zip64 record


class ZipWriter:
    """A zip under way in a file that may be written and told; a context, which ends the zip if all went well.

    Args:
        file: open and empty.
        folder: for a temporary file without name that holds the directory meanwhile.
    """

    def __init__(self, file: IO[bytes], folder: Path):
        self._file = file
        self._directory = tempfile.TemporaryFile(dir=folder)
        self._count = 0

    def __enter__(self) -> "ZipWriter":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        with self._directory:
            if kind is None:
                self._write_directory()

    def put(self, name: str, data: bytes) -> None:
        """Add a member."""
        self._put(name, [data], len(data), zlib.crc32(data))

    def put_file(self, name: str, file: IO[bytes]) -> None:
        """Add all of a file as a member; it is read twice."""
        crc = size = 0
        for piece in _pieces(file):
            crc = zlib.crc32(piece, crc)
            size += len(piece)
        self._put(name, _pieces(file), size, crc)

    def _put(self, name: str, pieces: Iterable[bytes], size: int, crc: int) -> None:
        raw = name.encode()
        flags = 0 if name.isascii() else UTF8_NAME
        place = self._file.tell()
        sizes = pack("<2Q", size, size) if is_large(size) else b""
        places = pack("<Q", place) if is_large(place) else b""
        extra = _extra(sizes)
        version = VERSION64 if sizes or places else VERSION
        short = _short(size)
        about = (flags, 0, 0, DATE, crc, short, short, len(raw))
        self._file.write(HEADER.pack(HEADER_MAGIC, version, *about, len(extra)))
        self._file.write(raw + extra)
        for piece in pieces:
            self._file.write(piece)
        extra = _extra(sizes + places)
        end = (len(extra), 0, 0, 0, PERMISSIONS, _short(place))
        self._directory.write(ENTRY.pack(ENTRY_MAGIC, VERSION64, UNIX, version, 0, *about, *end) + raw + extra)
        self._count += 1

    def _write_directory(self) -> None:
        place = self._file.tell()
        size = self._directory.tell()
        self._directory.seek(0)
        shutil.copyfileobj(self._directory, self._file, PIECE_BYTES)
        count = self._count
        if count >= MANY or is_large(size) or is_large(place):
            length = END64.size - 12  # of what is behind this number
            record = (VERSION64 | UNIX << 8, VERSION64, 0, 0, count, count, size, place)
            self._file.write(END64.pack(END64_MAGIC, length, *record))
            self._file.write(LOCATOR.pack(LOCATOR_MAGIC, 0, place + size, 1))
        short = min(count, MANY)
        end = (0, 0, short, short, _short(size), _short(place), 0)
        self._file.write(END.pack(END_MAGIC, *end))


def is_large(number: int) -> bool:
    """Return whether a number needs 64 bits."""
    return number >= IN_ZIP64


def _short(number: int) -> int:
    """Return what stands where there are 32 bits for a number."""
    return IN_ZIP64 if is_large(number) else number


def _extra(numbers: bytes) -> bytes:
    """Return the extra field of zip64 with these numbers; nothing without."""
    return pack("<HH", ZIP64, len(numbers)) + numbers if numbers else b""


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yield all of a file."""
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        yield piece
