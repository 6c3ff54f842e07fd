"""Hostile datasets: zips and folders that lie about what they hold, and what shall come of each.

`CASES` maps a name to (outcome, build); build(root) makes the dataset in an empty folder and returns its path.
"""

import os
import socket
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from tests.hostile import hostile_frames, hostile_indexes
from tests.hostile.hostile_indexes import SIDE, dumped, index
from tests.hostile.outcomes import ANY, BROKEN, FINE, LISTED, REFUSED, Outcome
from training.data.files import INDEX, encode_png

MIB = 2**20
BOMB_MIB = 1024
TARGET = "a/00005.png"  # the frame that is damaged

Build = Callable[[Path], Path]
Members = dict[str, bytes]


@lru_cache(1)
def frames() -> Members:
    """The sound dataset's frames by name."""
    rng = np.random.default_rng(0)
    return {name: encode_png(rng.integers(0, 256, [3, SIDE, SIDE], dtype=np.uint8)) for name in hostile_indexes.names()}


def members(**changes: bytes) -> Members:
    """The sound dataset's files; `target` and `index` replace some."""
    return {**frames(), TARGET: changes.get("target", frames()[TARGET]), INDEX: changes.get("index", dumped(index()))}


def folder(root: Path, **changes: bytes) -> Path:
    """The sound dataset, but for the changes, as a folder."""
    for name, data in members(**changes).items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "data"


def zipped(root: Path, extra: list[tuple[str | zipfile.ZipInfo, bytes]] = (), **changes: bytes) -> Path:
    """The sound dataset, but for the changes, as a zip; `extra` members take the place of those of the same name."""
    path = root / "data.zip"
    replaced = {item if isinstance(item, str) else item.filename for item, _ in extra}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members(**changes).items():
            if name not in replaced:
                archive.writestr(name, data)
        for item, data in extra:
            archive.writestr(item, data)
    return path


def edited(change: Callable[[bytearray], bytes | None], root: Path) -> Path:
    """The sound zip with its bytes changed in place, or replaced by what is returned."""
    path = zipped(root)
    data = bytearray(path.read_bytes())
    path.write_bytes(change(data) or data)
    return path


def directory_entry(data: bytearray, name: str) -> int:
    """Where the central directory describes a member."""
    return data.rindex(name.encode()) - 46


def poke(name: str, offset: int, form: str, value: int) -> Build:
    """A zip with one number changed in the central directory's entry of a member."""

    def change(data: bytearray) -> None:
        struct.pack_into(form, data, directory_entry(data, name) + offset, value)

    return partial(edited, change)


def poke_end(offset: int, form: str, value: int) -> Build:
    """A zip with one number changed in its last record."""
    return partial(edited, lambda data: struct.pack_into(form, data, len(data) - 22 + offset, value))


def zip64(name: str, places: dict[int, int], root: Path) -> Path:
    """A zip in which 64-bit numbers stand in for a member's numbers at these places of its directory entry."""

    def change(data: bytearray) -> None:
        entry = directory_entry(data, name)
        for place in places:
            struct.pack_into("<I", data, entry + place, 2**32 - 1)
        more = struct.pack(f"<HH{len(places)}Q", 1, 8 * len(places), *places.values())
        struct.pack_into("<H", data, entry + 30, len(more))
        at = entry + 46 + len(name)
        data[at:at] = more
        (size,) = struct.unpack_from("<I", data, len(data) - 10)
        struct.pack_into("<I", data, len(data) - 10, size + len(more))

    return edited(change, root)


@lru_cache(1)
def bomb() -> tuple[bytes, int]:
    """A GiB of zeros, deflated, and its checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)  # can be repeated
    checksum = 0
    for _ in range(BOMB_MIB):
        checksum = zlib.crc32(bytes(MIB), checksum)
    return block * BOMB_MIB + packer.flush(), checksum


def deflated(name: str, said: int, root: Path) -> Path:
    """A zip in which a member unpacks to a GiB, but says to have `said` bytes."""
    packed, checksum = bomb()
    path = zipped(root, [(name, packed)])
    data = bytearray(path.read_bytes())
    for place in (data.rindex(name.encode()) - 46 + 10, data.index(name.encode() + packed[:16]) - 30 + 8):
        struct.pack_into("<H", data, place, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", data, place + 6, checksum)
        struct.pack_into("<I", data, place + 14, said)
    path.write_bytes(data)
    return path


def packed_by(method: int, name: str, content: bytes, root: Path) -> Path:
    """A zip in which one member is compressed in a way that cannot be unpacked bit by bit."""
    item = zipfile.ZipInfo(name)
    item.compress_type = method
    return zipped(root, [(item, content)])


def many_entries(root: Path) -> Path:
    return zipped(root, [(f"x/{number}", b"") for number in range(100_000)])


def overlapping(root: Path) -> Path:
    """Two entries, one content (the trick of zips that unpack to more than they could hold)."""

    def change(data: bytearray) -> None:
        (offset,) = struct.unpack_from("<I", data, directory_entry(data, "a/00004.png") + 42)
        struct.pack_into("<I", data, directory_entry(data, TARGET) + 42, offset)

    return edited(change, root)


def twice(root: Path) -> Path:
    with zipfile.ZipFile(zipped(root), "a") as archive:
        archive.writestr(zipfile.ZipInfo("b/x.png"), b"1")
        archive.filelist[-1].filename = TARGET
    return root / "data.zip"


def odd_member(name: str, root: Path) -> Path:
    """A zip with a member more, whose name is kept as it is."""
    item = zipfile.ZipInfo("x")
    item.filename = name
    return zipped(root, [(item, b"x")])


def link_member(name: str, root: Path) -> Path:
    item = zipfile.ZipInfo(name)
    item.create_system, item.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return zipped(root, [(item, b"/etc/passwd")])


def nested(root: Path) -> Path:
    inner = zipped(root).read_bytes()
    return zipped(root, target=inner)


def flipped(seed: int, root: Path) -> Path:
    """Sixteen random bytes changed; odd seeds: all in the central directory."""

    def change(data: bytearray) -> None:
        rng = np.random.default_rng(seed)
        start = data.index(b"PK\1\2") if seed % 2 else 0
        for place in rng.integers(start, len(data), 16):
            data[place] = rng.integers(256)

    return edited(change, root)


def in_place_of(name: str, make: Callable[[Path], object], root: Path) -> Path:
    """The folder, with something else made in place of a file."""
    path = folder(root)
    (path / name).unlink()
    make(path / name)
    return path


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def bind_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's name must be short
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(here)


def sparse(path: Path) -> None:
    """16 GiB that take no room."""
    path.touch()
    os.truncate(path, 2**34)


def linked_frame(root: Path) -> Path:
    """A frame that is a link to a sound one outside."""
    (root / "outside.png").write_bytes(frames()[TARGET])
    return in_place_of(TARGET, link("../../outside.png"), root)


def linked_clip(root: Path) -> Path:
    """A clip's folder that is a link to one outside."""
    path = folder(root)
    (path / "a").rename(root / "outside")
    (path / "a").symlink_to(root / "outside")
    return path


def odd_files(root: Path) -> Path:
    """Files of unprintable names that the index does not list."""
    path = folder(root)
    for name in (b"\xff\xfe.txt", b"\x1b[2J.txt", b"two\nlines.txt"):
        with open(os.path.join(os.fsencode(path), name), "wb"):
            pass
    return path


def special(make: Callable[[Path], object], name: str, root: Path) -> Path:
    """Something else in place of the whole dataset."""
    make(root / name)
    return root / name


def _zips() -> Iterator[tuple[str, Outcome | None, Build]]:
    for label, cut in (("half", 2), ("a third", 3)):
        yield f"zip cut to {label}", REFUSED, partial(edited, lambda data, cut=cut: data[: len(data) // cut])
    yield "zip without its end", REFUSED, partial(edited, lambda data: data[:-10])
    yield "zip without its head", LISTED, partial(edited, lambda data: data[100:])
    yield "empty zip file", REFUSED, partial(edited, lambda data: b"PK")
    yield "text named .zip", REFUSED, partial(edited, lambda data: b'import os; os.system("true")\n')
    yield "index is elsewhere", REFUSED, poke(INDEX, 42, "<I", 7)
    yield "frame is elsewhere", BROKEN, poke(TARGET, 42, "<I", 7)
    yield "frame is beyond the end", BROKEN, poke(TARGET, 42, "<I", 2**32 - 2)
    yield "frame claims 4 GB", REFUSED, poke(TARGET, 20, "<I", 2**32 - 2)
    yield "index is encrypted", REFUSED, poke(INDEX, 8, "<H", 1)
    yield "frame is encrypted", BROKEN, poke(TARGET, 8, "<H", 1)
    yield "unknown compression", BROKEN, poke(TARGET, 10, "<H", 77)
    yield "needs version 25.5", REFUSED, poke(TARGET, 6, "<H", 255)
    yield "directory claims 4 GB", REFUSED, poke_end(12, "<I", 2**32 - 2)
    yield "directory is beyond the end", REFUSED, poke_end(16, "<I", 2**32 - 2)
    for name in (INDEX, TARGET):
        yield f"{name} of 2^62 bytes", REFUSED, partial(zip64, name, {20: 2**62, 24: 2**62})
    yield "frame that unpacks to 2^62 bytes", FINE, partial(zip64, TARGET, {24: 2**62})
    yield "frame at byte 2^64 - 1", BROKEN, partial(zip64, TARGET, {42: 2**64 - 1})
    for where, outcome in ((INDEX, REFUSED), (TARGET, BROKEN)):
        yield f"bomb as {where}", outcome, partial(deflated, where, BOMB_MIB * MIB)
        yield f"bomb that says to be small as {where}", outcome, partial(deflated, where, 100)
    yield "bzip2 bomb", BROKEN, lambda root: packed_by(zipfile.ZIP_BZIP2, TARGET, bytes(256 * MIB), root)
    yield "lzma frame", BROKEN, partial(packed_by, zipfile.ZIP_LZMA, TARGET, frames()[TARGET])
    yield "deflated frame", FINE, partial(packed_by, zipfile.ZIP_DEFLATED, TARGET, frames()[TARGET])
    yield "zip in the zip", BROKEN, nested
    yield "100000 entries", FINE, many_entries
    yield "overlapping entries", BROKEN, overlapping
    yield "a name twice", REFUSED, twice
    for name in ("../x.png", "/etc/x.png", "a\\..\\x.png", "C:x.png", "a/../../x", "two\nlines", "a\x1b[2J", "a\r.png"):
        yield f"zip with {name!r}", REFUSED, partial(odd_member, name)
    yield "zip with a zero byte in a name", FINE, partial(odd_member, "y\0../z")  # the name ends there
    yield "names that differ by case", FINE, partial(odd_member, "DATASET.JSON")
    yield "link in the zip", BROKEN, partial(link_member, TARGET)
    yield "index is a link in the zip", REFUSED, partial(link_member, INDEX)
    for seed in range(12):
        yield f"random bytes {seed}", ANY, partial(flipped, seed)


def _folders() -> Iterator[tuple[str, Outcome | None, Build]]:
    for what, make in (
        ("link to /etc/passwd", link("/etc/passwd")),
        ("link to /dev/zero", link("/dev/zero")),
        ("pipe", os.mkfifo),
        ("socket", bind_socket),
        ("link to itself", link("00005.png")),
        ("file of 16 GiB", sparse),
    ):
        yield f"frame is a {what}", BROKEN, partial(in_place_of, TARGET, make)
    yield "frame is a link to a picture outside", BROKEN, linked_frame
    yield "frame is a folder", BROKEN, partial(in_place_of, TARGET, Path.mkdir)
    yield "frame is a link inside", FINE, partial(in_place_of, TARGET, link("00004.png"))
    yield "first frame is a pipe", LISTED, partial(in_place_of, "a/00000.png", os.mkfifo)
    for what, make in (
        ("link to /etc/passwd", link("/etc/passwd")),
        ("link to /dev/zero", link("/dev/zero")),
        ("pipe", os.mkfifo),
        ("folder", Path.mkdir),
        ("file of 16 GiB", sparse),
        ("link to itself", link(INDEX)),
    ):
        yield f"index is a {what}", REFUSED, partial(in_place_of, INDEX, make)
    yield "clip is a link outside", LISTED, linked_clip
    yield "unprintable file names", FINE, odd_files
    for what, make in (
        ("pipe", os.mkfifo),
        ("link to /dev/zero", link("/dev/zero")),
        ("link to itself", link("x.zip")),
        ("socket", bind_socket),
        ("file of 16 GiB", sparse),
        ("link to nowhere", link("nowhere")),
    ):
        yield f"zip is a {what}", REFUSED, partial(special, make, "x.zip")
    yield "dataset is an empty folder", REFUSED, partial(special, Path.mkdir, "data")
    yield "dataset is a pipe", REFUSED, partial(special, os.mkfifo, "data")


def _cases() -> Iterator[tuple[str, Outcome | None, Build]]:
    yield "sound folder", FINE, folder
    yield "sound zip", FINE, zipped
    yield from _zips()
    yield from _folders()
    for name, (outcome, content) in hostile_frames.CASES.items():
        yield f"frame: {name}", outcome, partial(_with, "target", content)
    yield (
        "first frame: header of 100000 x 100000",
        LISTED,
        partial(in_place_of, "a/00000.png", lambda path: path.write_bytes(hostile_frames.png(100_000, 100_000))),
    )
    for name, (outcome, content) in hostile_indexes.CASES.items():
        yield f"index: {name}", outcome, partial(_with, "index", content)


def _with(what: str, content: Callable[[], bytes], root: Path) -> Path:
    return folder(root, **{what: content()})


CASES: dict[str, tuple[Outcome | None, Build]] = {name: (outcome, build) for name, outcome, build in _cases()}
