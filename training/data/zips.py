"""What is in a zip: its directory as columns, and members by their place, without an object for each of millions."""

import contextlib
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dnnlib.columns import Columns, Texts, as_columns
from dnnlib.content import UNREADABLE
from dnnlib.files import PIECE_BYTES
from dnnlib.names import plain
from dnnlib.progress import Counter

# Records of a zip (PKWARE's APPNOTE 4.3): an entry of the directory, the header before a member, and the three at the
# end: the end of the directory, and where zip64 keeps its numbers of 64 bits.
ENTRY = struct.Struct("<4s4B4H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")
END = struct.Struct("<4s4H2LH")
LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
ENTRY_MAGIC, HEADER_MAGIC, END_MAGIC = b"PK\1\2", b"PK\3\4", b"PK\5\6"
LOCATOR_MAGIC, END64_MAGIC = b"PK\6\7", b"PK\6\6"
MAX_COMMENT = 2**16
ZIP64 = 1  # the extra field of an entry that has 64-bit numbers
IN_ZIP64 = 2**32 - 1  # stands where the number is there
NEWEST = 63  # version 6.3 of the format
ENCRYPTED, PATCHED, STRONGLY_ENCRYPTED = 0x1, 0x20, 0x40  # flags
UTF8_NAME = 0x800  # the flag of a member whose name is in UTF-8; else it is in code page 437
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
COUNTED = 1000  # members between two looks at the clock
NOWHERE = 2**63 - 1  # the place of a member that is said to be behind it


class Directory(NamedTuple):
    """Where the directory of a zip is, and by how much all places in it are off (something stands before the zip)."""

    start: int
    size: int
    members: int
    shift: int


class Entry(NamedTuple):
    """What the directory says about a member."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    place: int


# --- The directory ----------------------------------------------------------------------------------------------------


def find_directory(file: int) -> Directory:
    """Find the directory of an open zip. BadZipFile if there is none."""
    length = os.fstat(file).st_size
    start = max(length - END.size - MAX_COMMENT, 0)
    tail = os.pread(file, length - start, start)
    place = len(tail) - END.size
    if place < 0 or not (tail.startswith(END_MAGIC, place) and tail.endswith(b"\0\0")):
        place = tail.rfind(END_MAGIC)  # before a comment
    if place < 0 or len(tail) - place < END.size:
        raise zipfile.BadZipFile("File is not a zip file")
    _, _, _, _, count, size, offset, _ = END.unpack_from(tail, place)
    before = start + place
    locator = os.pread(file, LOCATOR.size, before - LOCATOR.size) if before >= LOCATOR.size + END64.size else b""
    if locator.startswith(LOCATOR_MAGIC):
        _, disk, _, disks = LOCATOR.unpack(locator)
        if disk or disks > 1:
            raise zipfile.BadZipFile("zipfiles that span multiple disks are not supported")
        before -= LOCATOR.size + END64.size
        record = os.pread(file, END64.size, before)
        if record.startswith(END64_MAGIC):
            *_, count, size, offset = END64.unpack(record)
        else:
            before += LOCATOR.size + END64.size
    directory = before - size
    if directory < 0:
        raise zipfile.BadZipFile("Bad offset for central directory")
    return Directory(directory, size, count, directory - offset)


def digest_of(file: int, directory: Directory) -> bytes:
    """Return 32 bytes that change with the directory, and so with the names, checksums and sizes of members."""
    digest = hashlib.blake2b(b"%d %d %d %d" % directory, digest_size=32)
    for piece in _pieces(file, directory.start, directory.size):
        digest.update(piece)
    return digest.digest()


def _pieces(file: int, start: int, size: int) -> Iterator[bytes]:
    """Yield a part of a file, as far as there is any."""
    end = start + size
    while start < end and (piece := os.pread(file, min(end - start, PIECE_BYTES), start)):
        yield piece
        start += len(piece)


def entries(file: int, directory: Directory) -> Iterator[Entry]:
    """Yield the entries of a directory. BadZipFile, NotImplementedError or ValueError where they are damaged."""
    buffer, place, used = b"", 0, 0
    pieces = _pieces(file, directory.start, directory.size)
    while used < directory.size:
        while len(buffer) - place < ENTRY.size + 3 * 2**16 and (piece := next(pieces, b"")):
            buffer, place = buffer[place:] + piece, 0
        if len(buffer) - place < ENTRY.size:
            raise zipfile.BadZipFile("Truncated central directory")
        magic, _, _, version, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, offset = ENTRY.unpack_from(
            buffer, place
        )
        name_length, extra_length, comment_length = lengths
        if magic != ENTRY_MAGIC:
            raise zipfile.BadZipFile("Bad magic number for central directory")
        if version > NEWEST:
            raise NotImplementedError(f"zip file version {version / 10:.1f}")
        name_end = place + ENTRY.size + name_length
        name = buffer[place + ENTRY.size : name_end]
        if extra_length:
            packed, size, offset = _in_64_bits(buffer[name_end : name_end + extra_length], packed, size, offset)
        yield Entry(name, flags, method, crc, packed, size, offset + directory.shift)
        length = ENTRY.size + name_length + extra_length + comment_length
        place += length
        used += length


def _in_64_bits(extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """Return an entry's numbers, those that the extra fields have in their place. BadZipFile if these are damaged."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if length + 4 > len(extra):
            raise zipfile.BadZipFile(f"Corrupt extra field {kind:04x} (size={length})")
        if kind == ZIP64:
            numbers = [number for (number,) in struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8])]
            try:
                size = numbers.pop(0) if size == IN_ZIP64 else size
                packed = numbers.pop(0) if packed == IN_ZIP64 else packed
                offset = numbers.pop(0) if offset == IN_ZIP64 else offset
            except IndexError:
                raise zipfile.BadZipFile("Corrupt zip64 extra field") from None
        extra = extra[length + 4 :]
    return packed, size, offset


def name_of(raw: bytes, flags: int) -> str:
    """Return a member's plain name, with a slash behind that of a folder. UnicodeError if it is no text.

    macOS writes UTF-8 without saying so, and would be taken for the PC's old code page.
    """
    raw = raw.split(b"\0", 1)[0]
    if flags & UTF8_NAME:
        name = raw.decode("utf-8")
    else:
        name = raw.decode("cp437")
        if not name.isascii():
            with contextlib.suppress(UnicodeError):
                name = raw.decode("utf-8")
    return f"{plain(name)}/" if name.endswith("/") else plain(name)


# --- As columns -------------------------------------------------------------------------------------------------------


MEMBER = np.dtype(
    [
        ("hash", np.uint64),
        ("place", np.int64),
        ("packed", np.int64),
        ("size", np.int64),
        ("crc", np.uint32),
        ("method", np.uint16),
        ("flags", np.uint16),
    ]
)


def hash_of(name: str) -> int:
    """Return a number of 64 bits by which a name is found."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def read_directory(file: int, directory: Directory, counter: Counter) -> Columns:
    """Read the directory of an open zip as columns: what each member is, in the order of the hashes of names."""
    data = bytearray()
    table = np.zeros(directory.size // ENTRY.size + 1, MEMBER)  # room for the shortest ones
    starts = np.zeros(len(table) + 1, np.int64)
    count = 0
    for entry in entries(file, directory):
        name = name_of(entry.name, entry.flags)
        data += name.encode("utf-8", "surrogatepass") + b"\0"
        _, flags, method, crc, packed, size, offset = entry
        if max(packed, size, offset) > NOWHERE:
            packed, size, offset = (min(number, NOWHERE) for number in (packed, size, offset))
        table[count] = (hash_of(name), offset, packed, size, crc, method, flags)
        count += 1
        starts[count] = len(data)
        if count % COUNTED == 0:
            counter.update(COUNTED)
    table, starts = table[:count], starts[: count + 1]
    order = np.argsort(table["hash"], kind="stable")
    names = Texts(np.frombuffer(data, np.uint8), starts)
    columns = {field: table[field][order] for field in MEMBER.names or ()}
    return Columns({**columns, "number": order, **as_columns("names", names)})


class Members:
    """The members of a zip by plain name, from the columns of `read_directory`; names of folders end in a slash."""

    def __init__(self, columns: Columns):
        self._columns = columns
        self._hashes = columns["hash"]
        self._names = columns.texts("names")

    def __len__(self) -> int:
        return len(self._hashes)

    def names(self) -> Iterator[str]:
        """Yield all names, in the order of the directory."""
        return (self._names.text(number) for number in range(len(self._names)))

    def find(self, name: str) -> int:
        """Return the number of a member. KeyError if there is none of this name."""
        key = hash_of(name)
        place = int(np.searchsorted(self._hashes, np.uint64(key)))
        while place < len(self) and self._hashes[place] == key:
            if self.name(place) == name:
                return place
            place += 1
        raise KeyError(name)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return the numbers int64 [N] of members by their names; -1 for one that is missing."""
        keys = np.fromiter(map(hash_of, names), np.uint64, len(names))
        numbers = np.searchsorted(self._hashes, keys)
        for place, name in enumerate(names):  # nearly all are found at once
            number = int(numbers[place])
            if number == len(self) or self._hashes[number] != keys[place] or self.name(number) != name:
                try:
                    numbers[place] = self.find(name)
                except KeyError:
                    numbers[place] = -1
        return numbers

    def name(self, number: int) -> str:
        """Return a member's name."""
        return self._names.text(int(self._columns["number"][number]))

    def repeated(self) -> tuple[str, int] | None:
        """Return the first name that several members have, and how many; None if there is none."""
        same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        names = [name for place in same.tolist() if (name := self.name(place)) == self.name(place + 1)]
        return (names[0], names.count(names[0]) + 1) if names else None

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """Return bytes of members int64 [N] by their numbers; -1 stands for one that is missing, and for its size."""
        return np.where(numbers < 0, -1, self._columns["size"][numbers])

    def checksums(self, numbers: np.ndarray) -> list[str]:
        """Return the CRC-32 of members int64 [N] by their numbers, eight hexadecimal digits; UNREADABLE of none."""
        texts = self._columns["crc"][numbers].astype(">u4").tobytes().hex("\0", 4).split("\0")
        return [UNREADABLE if number < 0 else text for number, text in zip(numbers.tolist(), texts, strict=True)]

    # --- Content ------------------------------------------------------------------------------------------------------

    def pieces(self, file: int, number: int, most: int) -> Iterator[bytes]:
        """Yield the content of a member of the open zip in pieces.

        Raises:
            BadZipFile, EOFError, OSError, RuntimeError, ValueError, zlib.error: it is damaged or of another kind than
                we read, or larger than `most` bytes.
        """
        columns = self._columns
        flags, method, packed, size, crc = (
            int(columns[name][number]) for name in ("flags", "method", "packed", "size", "crc")
        )
        if method not in PLAIN:  # the others cannot be unpacked bit by bit
            raise ValueError("compressed by another method than deflate")
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if method == zipfile.ZIP_DEFLATED else None
        found = count = 0
        for piece in self._packed(file, number, packed, flags):
            while piece and count < size:
                wanted = min(size - count, PIECE_BYTES)
                data = piece[:wanted] if unpacker is None else unpacker.decompress(piece, wanted)
                piece = piece[wanted:] if unpacker is None else unpacker.unconsumed_tail
                count += len(data)
                if count > most:
                    raise ValueError(f"more than {most} bytes")
                found = zlib.crc32(data, found)
                yield data
            if count >= size:
                break
        if unpacker is not None and count < size:  # what the last piece means may not have fitted into its share
            data = unpacker.flush()[: size - count]
            found = zlib.crc32(data, found)
            yield data
        if found != crc:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self.name(number)!r}")

    def _packed(self, file: int, number: int, packed: int, flags: int) -> Iterator[bytes]:
        """Yield the bytes of a member as they are in the file."""
        if flags & (PATCHED | STRONGLY_ENCRYPTED):
            raise NotImplementedError("compressed patched data, or strong encryption")
        if flags & ENCRYPTED:
            raise RuntimeError("encrypted")
        place = int(self._columns["place"][number])
        header = os.pread(file, HEADER.size, place)
        if len(header) != HEADER.size:
            raise zipfile.BadZipFile("Truncated file header")
        *fields, name_length, extra_length = HEADER.unpack(header)
        if fields[0] != HEADER_MAGIC:
            raise zipfile.BadZipFile("Bad magic number for file header")
        place += HEADER.size
        if name_of(os.pread(file, name_length, place), flags) != self.name(number):
            raise zipfile.BadZipFile("File name in directory and header differ.")
        left = packed
        for piece in _pieces(file, place + name_length + extra_length, packed):
            left -= len(piece)
            yield piece
        if left:
            raise EOFError("the file ends within it")
