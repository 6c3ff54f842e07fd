"""Columns of numbers and texts in one file, which is mapped into memory: processes that read it share it.

The file is MAGIC, the length of its head, the head's CRC-32, and the head: JSON that says where the columns lie, each
with its CRC-32. Nothing in it is run or trusted; it holds for one machine, in whose byte order the numbers are.
"""

import json
import mmap
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dnnlib.files import FAULTS, PIECE_BYTES, atomic_path

MAGIC = b"pv3dcol1"
START = struct.Struct("<QI")  # bytes of the head, and its CRC-32
ALIGNMENT = 64  # bytes at whose multiples columns begin
MAX_HEAD = 2**24  # bytes
KINDS = "biuf"  # of numbers that a column may hold


class Texts(NamedTuple):
    """Texts in one column of bytes, a zero byte behind each, and where each begins, with the end of the last one."""

    data: np.ndarray  # uint8
    starts: np.ndarray  # int64 [N + 1]

    @staticmethod
    def of(texts: Iterable[str]) -> "Texts":
        """Put texts together."""
        data = bytearray()
        starts = [0]
        for text in texts:
            data += text.encode("utf-8", "surrogatepass")
            data.append(0)
            starts.append(len(data))
        return Texts(np.frombuffer(data, np.uint8), np.array(starts, np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def text(self, number: int) -> str:
        """Return one of the texts."""
        return self.raw(number, number + 1)[:-1].decode("utf-8", "surrogatepass")

    def raw(self, first: int, end: int) -> bytes:
        """Return the bytes of some texts that follow each other, a zero byte behind each."""
        return self.data[self.starts[first] : self.starts[end]].tobytes()


@dataclass(frozen=True)
class Columns:
    """Arrays by name, and plain values about them."""

    arrays: Mapping[str, np.ndarray]
    about: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def texts(self, name: str) -> Texts:
        """Return the texts whose columns are those of `as_columns(name, ...)`."""
        return Texts(self.arrays[name], self.arrays[f"{name} starts"])


def as_columns(name: str, texts: Texts) -> dict[str, np.ndarray]:
    """Return the columns of texts, which `Columns.texts` finds by their name."""
    return {name: texts.data, f"{name} starts": texts.starts}


# --- On the disk ------------------------------------------------------------------------------------------------------


def write_columns(path: Path, columns: Columns) -> None:
    """Write a file of columns, atomically. UserError if it cannot be written."""
    places: dict[str, tuple[str, list[int], int, int]] = {}
    end = 0
    arrays = {name: np.ascontiguousarray(array) for name, array in columns.arrays.items()}
    for name, array in arrays.items():
        end += -end % ALIGNMENT
        places[name] = (array.dtype.str, list(array.shape), end, zlib.crc32(_bytes_of(array)))
        end += array.nbytes
    head = json.dumps({"columns": places, "bytes": end, "about": columns.about}).encode()
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(MAGIC + START.pack(len(head), zlib.crc32(head)) + head)
        start = _body_start(len(head))
        for name, array in arrays.items():
            file.seek(start + places[name][2])
            file.write(_bytes_of(array))
        file.truncate(start + end)


def read_columns(path: Path, *, verified: bool = True) -> Columns:
    """Map a file of columns into memory.

    Args:
        verified: whether to compare all checksums, which reads the file once.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is damaged, or none of ours.
    """
    try:
        with open(path, "rb") as file:
            return _map(file, verified)
    except FAULTS as error:
        raise ValueError(f"damaged columns ({error})") from error


def _map(file: IO[bytes], verified: bool) -> Columns:
    start = file.read(len(MAGIC) + START.size)
    length, checksum = START.unpack(start[len(MAGIC) :])
    if not start.startswith(MAGIC) or length > MAX_HEAD:
        raise ValueError("no columns")
    head = file.read(length)
    if zlib.crc32(head) != checksum:
        raise ValueError("the head has another checksum")
    content = json.loads(head)
    body = _body_start(length)
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(memory) != body + content["bytes"]:
        raise ValueError("another length than the head says")
    arrays = {}
    for name, (dtype, shape, place, column_checksum) in content["columns"].items():
        kind = np.dtype(dtype)
        if kind.kind not in KINDS:
            raise ValueError(f"a column of {dtype}")
        count = int(np.prod(shape, dtype=np.int64))
        if verified and _checksum(file, body + place, count * kind.itemsize) != column_checksum:
            raise ValueError(f"{name} has another checksum")
        # An empty column may begin where the file ends, which NumPy refuses.
        flat = np.frombuffer(memory, kind, count, body + place) if count else np.empty(0, kind)
        arrays[name] = flat.reshape(shape)
    return Columns(arrays, content["about"])


def _body_start(head: int) -> int:
    end = len(MAGIC) + START.size + head
    return end + -end % ALIGNMENT


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _checksum(file: IO[bytes], place: int, length: int) -> int:
    """Return the CRC-32 of a part of a file, read in pieces: pages of the map would count as this process's memory."""
    file.seek(place)
    crc = 0
    while length > 0 and (piece := file.read(min(length, PIECE_BYTES))):
        crc = zlib.crc32(piece, crc)
        length -= len(piece)
    return crc
