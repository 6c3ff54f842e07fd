"""What is in a folder's files, as CRC-32 of each: read once, then remembered for as long as a file stays as it was.

A file is known again by its name, size, time of change, time of its inode's change, and inode. Times are only as fine
as the file system keeps them: what was written shortly before it was read may be written again without another time, so
such a file is read again the next time. (git's index calls such entries racy.)
"""

import contextlib
import hashlib
import itertools
import os
import stat
import time
import zlib
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dnnlib.cache import cache_root
from dnnlib.errors import UserError
from dnnlib.files import PIECE_BYTES, atomic_path, file_state, read_file
from dnnlib.progress import Counter

RACY_NS = 2 * 10**9  # the coarsest times are FAT's, of 2 s
UNREADABLE = "unreadable"
LARGEST = 2**30  # bytes of a file that is read; a frame has at most 2**26
READERS = 8  # threads: on a network disk a small file is mostly waiting
CHUNK = 512  # files that are under way
# The memory of a folder is a file of records: which file in which state, and its CRC-32.
MAGIC = b"pv3dcrc1"
KEY_BYTES, CRC_BYTES = 16, 4
RECORD_BYTES = KEY_BYTES + CRC_BYTES
MOST_FILES = 2**24  # that a memory holds
MOST_MEMORIES = 64  # the oldest of others are dropped
Memory = dict[bytes, bytes]  # key -> CRC-32


class Seen(NamedTuple):
    """What is known of a file: text that changes with its content; a key to know the file again by, if one may."""

    mark: str
    key: bytes | None = None


def checksums(folder: Path, names: Sequence[str]) -> list[str]:
    """Return a text for each file below a folder that changes with its content: the CRC-32, eight hexadecimal digits.

    Another text stands for a file that is missing, is no ordinary file or cannot be read, and for one of more than
    LARGEST bytes, which is not read: its size and times.
    """
    path = _memory_file(folder)
    known = _recall(path)
    seen: list[Seen] = []
    try:
        with (
            Counter(len(names), title=f"Reading {folder} once", unit="file", leave=False) as counter,
            contextlib.closing(_looked_at(folder, names, known)) as looks,
        ):
            for file in looks:
                seen.append(file)
                counter.update()
    finally:  # Ctrl-C does not cost what has been read
        memory = {file.key: bytes.fromhex(file.mark) for file in seen if file.key is not None}
        _remember(path, known, memory if len(seen) == len(names) else known | memory)
    return [file.mark for file in seen]


def _looked_at(folder: Path, names: Sequence[str], known: Memory) -> Generator[Seen, None, None]:
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(names), CHUNK):
            yield from readers.map(lambda name: _look(folder, name, known), names[start : start + CHUNK])


def _look(folder: Path, name: str, known: Memory) -> Seen:
    """Return what is known of a file, reading it if need be."""
    try:
        about = os.stat(folder / name)
        if not stat.S_ISREG(about.st_mode):
            return Seen("no file")
        if about.st_size > LARGEST:
            return Seen(f"unread, {file_state(about)}")
        key = _key(name, about)
        if key in known:
            return Seen(known[key].hex(), key)
        is_settled = max(about.st_mtime_ns, about.st_ctime_ns) < time.time_ns() - RACY_NS
        crc = _read_crc(folder / name)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return Seen(UNREADABLE)
    return Seen(crc.hex(), key if is_settled else None)  # what was written since has another key


def _read_crc(path: Path) -> bytes:
    crc = 0
    with open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            crc = zlib.crc32(piece, crc)
    return crc.to_bytes(CRC_BYTES, "big")


def _key(name: str, about: os.stat_result) -> bytes:
    text = os.fsencode(name) + b"\0" + file_state(about).encode()
    return hashlib.blake2b(text, digest_size=KEY_BYTES).digest()


# --- The memory -------------------------------------------------------------------------------------------------------


def _memory_file(folder: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    return cache_root() / "content" / f"{digest[:32]}.crc"


def _recall(path: Path) -> Memory:
    """Read a memory; one that is missing, damaged or something else is empty."""
    start = len(MAGIC) + CRC_BYTES
    try:
        data = read_file(path, "memory of checksums", start + MOST_FILES * RECORD_BYTES)
    except (UserError, OSError, ValueError):
        return {}
    records = data[start:]
    if data[:start] != MAGIC + zlib.crc32(records).to_bytes(CRC_BYTES, "big") or len(records) % RECORD_BYTES:
        return {}
    places = range(0, len(records), RECORD_BYTES)
    return {records[i : i + KEY_BYTES]: records[i + KEY_BYTES : i + RECORD_BYTES] for i in places}


def _remember(path: Path, known: Memory, memory: Memory) -> None:
    """Write a memory unless it is the known one; where it cannot be written there is none."""
    with contextlib.suppress(UserError, OSError):
        if memory == known:
            if memory:
                os.utime(path)  # it is in use
            return
        records = b"".join(key + crc for key, crc in itertools.islice(memory.items(), MOST_FILES))
        with atomic_path(path) as temporary:
            temporary.write_bytes(MAGIC + zlib.crc32(records).to_bytes(CRC_BYTES, "big") + records)
        memories = sorted(path.parent.glob("*.crc"), key=lambda other: other.stat().st_mtime, reverse=True)
        for old in memories[MOST_MEMORIES:]:
            old.unlink(missing_ok=True)
