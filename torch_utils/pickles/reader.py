"""Reads other software's checkpoints without running anything in them: any pickle becomes inert records and tensors.

Three containers are known: files of torch.save (a zip, and the older sequence of pickles), and plain pickles, in which
every storage is itself a file of torch.save. Tensors are read when they are asked for; whatever a file says, it costs
time and memory in proportion to its size.
"""

import contextlib
import errno
import io
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import require_file
from torch_utils.pickles.machine import Machine, Malformed, Name, Storage, is_whole, refuse
from torch_utils.pickles.report import text

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle in a file of torch.save before 1.6
LEGACY_PROTOCOL = 1001
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "storage.UntypedStorage": torch.uint8,
}
# What reading a damaged or hostile file raises.
FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RecursionError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read(path: str | os.PathLike) -> Any:
    """What a file of torch.save or a pickle holds: plain values, containers, `Record`, `Name`, `InertTensor`.

    Sets become lists; keys of dictionaries that are no plain values become records.

    Raises:
        UserError: the file is missing, cannot be read, is damaged, or is none of these.
    """
    path = require_file(path, "checkpoint")
    with readable(path):
        return parse(path)


def parse(path: Path) -> Any:
    """As `read`, of an existing file. Raises one of FAULTS or OSError in place of UserError."""
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            return _read_zip(path)
        size = os.fstat(file.fileno()).st_size
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else io.BytesIO()
        return _read_pickles(data, size)


@contextlib.contextmanager
def readable(path: str | os.PathLike) -> Iterator[None]:
    """What goes wrong while a file or the tensors in it are read becomes a UserError."""
    try:
        yield
    except FAULTS as error:
        raise unreadable(path, error) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to where a damaged file says
            raise unreadable(path, error) from error
        raise UserError(f"Cannot read {path} ({error.strerror}): check the file and its permissions.") from error


def unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    """One sentence about a file whose pickle or tensors raised one of FAULTS."""
    reason = text(str(error)) or type(error).__name__
    return UserError(
        f"{path} is no checkpoint that can be read, or it is damaged ({reason}): copy it again, or give another file."
    )


def _read_zip(path: Path) -> Any:
    archive = zipfile.ZipFile(path)  # stays open for as long as a tensor wants it
    members = index(archive)
    root = root_of(members)
    order = members.get(f"{root}byteorder")
    if order is not None and stored(archive, order) != b"little":
        raise Malformed("numbers in another byte order")
    storages = _Storages(path.stat().st_size)

    def resolve(pid: Any) -> Storage:
        dtype, key, count = _storage_id(pid)
        info = members[f"{root}data/{key}"]
        return storages.get(key, dtype, count, lambda: stored(archive, info), info.file_size)

    return Machine(resolve).run(io.BytesIO(stored(archive, members[f"{root}data.pkl"])))


def index(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Members of a zip by name. Raises Malformed for what torch.save and numpy never write.

    That is a name that comes twice, of which programs take one or the other, or that leads out of the archive; or
    members that are together larger than the file.
    """
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise Malformed("two members of one name")
    if any(name.startswith("/") or ".." in name.split("/") for name in members):
        raise Malformed("a member outside of the archive")
    if sum(info.compress_size for info in members.values()) > os.path.getsize(archive.filename):
        raise Malformed("members that lie in one another")
    return members


def root_of(members: dict[str, zipfile.ZipInfo]) -> str:
    """What the names of all members of a file of torch.save begin with. Raises Malformed: it is none."""
    name = next((name for name in members if name == "data.pkl" or name.endswith("/data.pkl")), None)
    if name is None:
        raise Malformed("no file of torch.save")
    return name.removesuffix("data.pkl")


def stored(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The content of a member, of which torch.save compresses none, its checksum compared."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
        raise Malformed(f"{text(info.filename)} is compressed or encrypted")
    return archive.read(info)


class _Storages:
    """The storages of one file by key: together no larger than the file."""

    def __init__(self, size: int):
        self.left, self.known = size, {}

    def get(self, key: str, dtype: torch.dtype, count: int, read: Callable[[], bytes], size: int) -> Storage:
        """The storage of that key, made if it is not known yet; `size` in bytes."""
        if key not in self.known:
            self.left -= size
            if size != count * dtype.itemsize or self.left < 0:
                raise Malformed(f"a storage of {count} numbers where there are {size} bytes")
            self.known[key] = Storage(dtype, count, read)
        if (self.known[key].dtype, self.known[key].count) != (dtype, count):
            raise Malformed(f"two descriptions of the storage {key}")
        return self.known[key]


def _storage_id(pid: Any) -> tuple[torch.dtype, str, int]:
    """Type, key and count of ('storage', type, key, place, count) with, in older files, None behind."""
    if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
        raise Malformed("an unknown reference")
    _, kind, key, _, count = pid[:5]
    dtype = DTYPES.get(kind.text.removeprefix("torch.")) if type(kind) is Name else None
    if dtype is None or type(key) is not str or not is_whole(count):
        raise Malformed("a storage of unknown type, name or size")
    return dtype, key, count


def _read_pickles(data: Any, size: int, nested: bool = False) -> Any:
    """A plain pickle, or the sequence of pickles that torch.save once wrote; `data` as a file of `size` bytes.

    A plain pickle may hold storages as files of that kind, together no larger than itself; in these (`nested`) there
    are no further ones.
    """
    left = size

    def unpack(inner: bytes) -> Any:
        nonlocal left
        left -= len(inner)
        if left < 0:
            raise Malformed("storages that are larger than the file")
        storage = _read_pickles(io.BytesIO(inner), len(inner), nested=True)
        if type(storage) is not Storage:
            raise Malformed("something else in place of a storage")
        return storage

    first = Machine(unpack=refuse if nested else unpack).run(data)
    return _read_legacy(data, size) if type(first) is int and first == LEGACY_MAGIC else first


def _read_legacy(data: Any, size: int) -> Any:
    """The rest of a file behind its magic number: a protocol, facts on the system, content, keys, the storages."""
    system = [Machine().run(data) for _ in range(2)]
    if system[0] != LEGACY_PROTOCOL or type(system[1]) is not dict or system[1].get("little_endian") is not True:
        raise Malformed("an unknown version of torch.save, or another byte order")
    described: dict[str, tuple[torch.dtype, int]] = {}
    found: dict[str, bytes] = {}
    storages = _Storages(size)

    def resolve(pid: Any) -> Storage:
        dtype, key, count = _storage_id(pid)
        described[key] = dtype, count
        return storages.get(key, dtype, count, lambda: found[key], count * dtype.itemsize)

    content = Machine(resolve).run(data)
    keys = Machine().run(data)
    if type(keys) is not list or any(type(key) is not str for key in keys) or sorted(keys) != sorted(described):
        raise Malformed("other storages than are described")
    for key in keys:
        dtype, count = described[key]
        if int.from_bytes(data.read(8), "little") != count:
            raise Malformed(f"another size of the storage {key} than is described")
        found[key] = data.read(count * dtype.itemsize)
    return content
