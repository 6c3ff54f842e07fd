"""Zip files that say anything of their members, and what unpacks to much more than it is."""

import struct
import zlib
from typing import NamedTuple

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14  # methods of compression
VERSION = 20  # of the format
DATE = 33  # 1 January 1980
MAX_SIZE = 2**32 - 2  # that has a place in an entry
BLOCK = 2**20  # bytes


class Member(NamedTuple):
    """A member of a zip file: its name, its data as stored, and what its entry says of them."""

    name: str
    data: bytes
    method: int = STORED
    size: int | None = None  # unpacked; None: as it is stored
    crc: int | None = None  # None: the right one of the data as stored
    flags: int = 0

    def description(self) -> bytes:
        """Return the part that the entry and the header in front of the data have in common."""
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        size = len(self.data) if self.size is None else self.size
        kind = struct.pack("<HHHHH", VERSION, self.flags, self.method, 0, DATE)
        sizes = struct.pack("<III", crc, len(self.data), min(size, MAX_SIZE))
        return kind + sizes + struct.pack("<HH", len(self.name.encode()), 0)


def raw_zip(members: list[Member], overlap: bool = False) -> bytes:
    """Return a zip file of these members; `overlap`: the first one's data is that of all."""
    body = b""
    directory = b""
    for member in members:
        name = member.name.encode()
        place = 0 if overlap else len(body)
        if not overlap or not body:
            body += b"PK\x03\x04" + member.description() + name + member.data
        place_in_file = struct.pack("<HHHII", 0, 0, 0, 0, place)
        directory += b"PK\x01\x02" + struct.pack("<H", VERSION) + member.description() + place_in_file + name
    counts = struct.pack("<HHHH", 0, 0, len(members), len(members))
    end = b"PK\x05\x06" + counts + struct.pack("<IIH", len(directory), len(body), 0)
    return body + directory + end


def deflated_zeros(mebibytes: int) -> bytes:
    """Return so many zeros, deflated: a flushed block of one MiB is repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + packer.flush()


def deflated(data: bytes) -> bytes:
    """Return these bytes, deflated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def bomb(name: str, size: int = 2**30, mebibytes: int = 1024) -> Member:
    """Return a member that unpacks to so many zeros, but whose entry gives `size`."""
    return Member(name, deflated_zeros(mebibytes), DEFLATED, size, crc=0)
