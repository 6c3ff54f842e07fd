"""Functions that damage a sound dataset, as a zip or as a folder. Each returns a function that makes it in a folder."""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.hostile import hostile_indexes
from tests.hostile.hostile_indexes import SIDE
from tests.hostile.special_files import link_to
from tests.hostile.zip_makers import deflated_zeros
from training.data.files import INDEX
from training.data.frames import encode_png

MIB = 2**20
BOMB_SIZE = 1024 * MIB  # of a bomb, unpacked
TARGET = "a/00005.png"  # the frame that is damaged
NEIGHBOUR = "a/00004.png"
DAMAGED_BYTES = 16  # of a file with random damage

Make = Callable[[Path], Path]


class Field(NamedTuple):
    """A number in a record of a zip file: its offset in the record, and its format for `struct`."""

    offset: int
    form: str


# Fields of a member's entry in the central directory.
ENTRY_LENGTH = 46
VERSION_NEEDED = Field(6, "<H")
FLAGS = Field(8, "<H")
METHOD = Field(10, "<H")
CHECKSUM = Field(16, "<I")
PACKED_SIZE = Field(20, "<I")
SIZE = Field(24, "<I")
EXTRA_LENGTH = Field(30, "<H")
PLACE = Field(42, "<I")
ENCRYPTED = 1  # in FLAGS
# The header in front of a member's data has the fields from VERSION_NEEDED to EXTRA_LENGTH, two bytes earlier.
HEADER_LENGTH = 30
EARLIER = 2
# Fields of the record at the end.
END_LENGTH = 22
DIRECTORY_SIZE = Field(12, "<I")
DIRECTORY_PLACE = Field(16, "<I")
NOT_HERE = 2**32 - 1  # in a field whose number is in the entry's ZIP64 part


# --- The sound dataset -----------------------------------------------------------------------------------------------


@lru_cache(1)
def frames() -> dict[str, bytes]:
    """Return the sound dataset's frames by name."""
    rng = np.random.default_rng(0)
    return {name: encode_png(rng.integers(0, 256, [3, SIDE, SIDE], dtype=np.uint8)) for name in hostile_indexes.names()}


def members() -> dict[str, bytes]:
    """Return the sound dataset's files by name."""
    return {**frames(), INDEX: hostile_indexes.dumped(hostile_indexes.index())}


def write_folder(root: Path, changed: dict[str, bytes] | None = None) -> Path:
    """Write the sound dataset as a folder, some files of which are replaced."""
    for name, data in (members() | (changed or {})).items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root / "data"


def write_zip(root: Path, extra: Iterable[tuple[str | zipfile.ZipInfo, bytes]] = ()) -> Path:
    """Write the sound dataset as a zip; `extra` members come last, in place of those of the same name."""
    path = root / "data.zip"
    extra_names = {item if isinstance(item, str) else item.filename for item, _ in extra}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members().items():
            if name not in extra_names:
                archive.writestr(name, data)
        for item, data in extra:
            archive.writestr(item, data)
    return path


# --- Zips ------------------------------------------------------------------------------------------------------------


def with_bytes(change: Callable[[bytearray], bytes | None]) -> Make:
    """Return the maker of a zip whose bytes `change` changes in place, or replaces by what it returns."""

    def make(root: Path) -> Path:
        path = write_zip(root)
        data = bytearray(path.read_bytes())
        path.write_bytes(change(data) or data)
        return path

    return make


def cut(start: int = 0, end: int | None = None) -> Make:
    """Return the maker of a zip of which only the bytes from `start` to `end` are left."""
    return with_bytes(lambda data: data[start:end])


def cut_to(part: int) -> Make:
    """Return the maker of a zip of which the first 1 / `part` is left."""
    return with_bytes(lambda data: data[: len(data) // part])


def entry_of(data: bytearray, name: str) -> int:
    """Return where the central directory describes a member."""
    return data.rindex(name.encode()) - ENTRY_LENGTH


def with_number(name: str, field: Field, value: int) -> Make:
    """Return the maker of a zip with one number changed in a member's entry."""
    return with_bytes(lambda data: struct.pack_into(field.form, data, entry_of(data, name) + field.offset, value))


def with_end(field: Field, value: int) -> Make:
    """Return the maker of a zip with one number changed in the record at its end."""
    return with_bytes(lambda data: struct.pack_into(field.form, data, len(data) - END_LENGTH + field.offset, value))


def with_zip64(name: str, values: dict[Field, int]) -> Make:
    """Return the maker of a zip in which 64-bit numbers take the place of some in a member's entry."""

    def change(data: bytearray) -> None:
        entry = entry_of(data, name)
        for field in values:
            struct.pack_into("<I", data, entry + field.offset, NOT_HERE)
        part = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values.values())
        struct.pack_into(EXTRA_LENGTH.form, data, entry + EXTRA_LENGTH.offset, len(part))
        behind_name = entry + ENTRY_LENGTH + len(name)
        data[behind_name:behind_name] = part
        end = len(data) - END_LENGTH
        (size,) = struct.unpack_from(DIRECTORY_SIZE.form, data, end + DIRECTORY_SIZE.offset)
        struct.pack_into(DIRECTORY_SIZE.form, data, end + DIRECTORY_SIZE.offset, size + len(part))

    return with_bytes(change)


@lru_cache(1)
def packed_zeros() -> tuple[bytes, int]:
    """Return BOMB_SIZE zeros, deflated, and their checksum."""
    checksum = 0
    for _ in range(BOMB_SIZE // MIB):
        checksum = zlib.crc32(bytes(MIB), checksum)
    return deflated_zeros(BOMB_SIZE // MIB), checksum


def bomb(name: str, size: int) -> Make:
    """Return the maker of a zip with a member that unpacks to BOMB_SIZE bytes, but whose entry gives `size`."""

    def make(root: Path) -> Path:
        packed, checksum = packed_zeros()
        path = write_zip(root, [(name, packed)])
        data = bytearray(path.read_bytes())
        header = data.index(name.encode() + packed[:16]) - HEADER_LENGTH
        for record in (entry_of(data, name), header - EARLIER):
            struct.pack_into(METHOD.form, data, record + METHOD.offset, zipfile.ZIP_DEFLATED)
            struct.pack_into(CHECKSUM.form, data, record + CHECKSUM.offset, checksum)
            struct.pack_into(SIZE.form, data, record + SIZE.offset, size)
        path.write_bytes(data)
        return path

    return make


def with_member(name: str, content: Callable[[], bytes], method: int = zipfile.ZIP_STORED) -> Make:
    """Return the maker of a zip with a member of this content, packed by this method."""

    def make(root: Path) -> Path:
        item = zipfile.ZipInfo(name)
        item.compress_type = method
        return write_zip(root, [(item, content())])

    return make


def with_odd_name(name: str) -> Make:
    """Return the maker of a zip with one member more, whose name is kept as it is."""

    def make(root: Path) -> Path:
        item = zipfile.ZipInfo("x")
        item.filename = name
        return write_zip(root, [(item, b"x")])

    return make


def with_link(name: str) -> Make:
    """Return the maker of a zip in which a member is a symbolic link to /etc/passwd."""

    def make(root: Path) -> Path:
        item = zipfile.ZipInfo(name)
        item.create_system = 3  # Unix
        item.external_attr = (stat.S_IFLNK | 0o777) << 16
        return write_zip(root, [(item, b"/etc/passwd")])

    return make


def zip_of_many(root: Path) -> Path:
    """Write a zip with 100,000 empty members more."""
    return write_zip(root, [(f"x/{number}", b"") for number in range(100_000)])


def zip_in_zip(root: Path) -> Path:
    """Write a zip in which a frame is the sound zip itself."""
    inner = write_zip(root).read_bytes()
    return write_zip(root, [(TARGET, inner)])


def zip_with_overlap(root: Path) -> Path:
    """Write a zip two members of which have one content, as zips do that unpack to more than they could hold."""

    def change(data: bytearray) -> None:
        (place,) = struct.unpack_from(PLACE.form, data, entry_of(data, NEIGHBOUR) + PLACE.offset)
        struct.pack_into(PLACE.form, data, entry_of(data, TARGET) + PLACE.offset, place)

    return with_bytes(change)(root)


def zip_with_name_twice(root: Path) -> Path:
    """Write a zip two members of which have one name."""
    path = write_zip(root)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo("b/x.png"), b"1")
        archive.filelist[-1].filename = TARGET
    return path


def with_random_damage(seed: int) -> Make:
    """Return the maker of a zip with random bytes changed; if `seed` is odd, all in the central directory."""

    def change(data: bytearray) -> None:
        rng = np.random.default_rng(seed)
        start = data.index(b"PK\1\2") if seed % 2 else 0
        for place in rng.integers(start, len(data), DAMAGED_BYTES):
            data[place] = rng.integers(256)

    return with_bytes(change)


# --- Folders ---------------------------------------------------------------------------------------------------------


def with_content(name: str, content: Callable[[], bytes]) -> Make:
    """Return the maker of a folder in which a file has another content."""
    return lambda root: write_folder(root, {name: content()})


def in_place_of(name: str, make_special: Callable[[Path], object]) -> Make:
    """Return the maker of a folder in which `make_special` makes something else in place of a file."""

    def make(root: Path) -> Path:
        path = write_folder(root)
        (path / name).unlink()
        make_special(path / name)
        return path

    return make


def in_place_of_all(name: str, make_special: Callable[[Path], object]) -> Make:
    """Return the maker of something else of this name in place of the whole dataset."""

    def make(root: Path) -> Path:
        make_special(root / name)
        return root / name

    return make


def folder_with_linked_frame(root: Path) -> Path:
    """Write a folder in which a frame is a link to a sound one outside."""
    (root / "outside.png").write_bytes(frames()[TARGET])
    return in_place_of(TARGET, link_to("../../outside.png"))(root)


def folder_with_linked_clip(root: Path) -> Path:
    """Write a folder in which a clip's folder is a link to one outside."""
    path = write_folder(root)
    (path / "a").rename(root / "outside")
    (path / "a").symlink_to(root / "outside")
    return path


def folder_with_odd_names(root: Path) -> Path:
    """Write a folder with files of unprintable names that the index does not list."""
    path = write_folder(root)
    for name in (b"\xff\xfe.txt", b"\x1b[2J.txt", b"two\nlines.txt"):
        with open(os.path.join(os.fsencode(path), name), "wb"):
            pass
    return path
