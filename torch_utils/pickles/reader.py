"""Reads pickles and files of torch.save without running anything in them, within bounds: any becomes inert records.

Three containers are known: files of torch.save (a zip; before torch 1.6, a sequence of pickles), and plain pickles, in
which every storage is itself a file of torch.save. Tensors are read when they are asked for. Whatever a file says, it
costs time and memory in proportion to its size.

Why `torch.load(weights_only=True)`, which runs nothing either, is not enough for files of unknown origin:

* Plain pickles, as EG3D writes its networks, it refuses; ours and PV3D's checkpoints it reads.
* A compressed member of the zip it unpacks, 1 MB to 1 GB in 15 seconds; torch.save compresses none, so none may be.
* Members that lie in one another it reads as often as they are named; here they fit into the file side by side.
* An old file's storages it allocates in the size that the file names; here that is compared with the file's.
* A `bytearray` of any length it makes on request; here no call is made, and literals lie in the file.
* Tensors larger than their storage (stride 0) it passes on, and the next operation fills them; here none is larger.
* Instructions, and copies of dictionaries, it runs without end; here there is a limited number.
"""

import io
import mmap
import zipfile
from pathlib import Path
from typing import Any

import torch

from dnnlib.files import shown
from torch_utils.pickles.dtypes import BY_STORAGE
from torch_utils.pickles.machine import InertTensor, Machine, Malformed, Name, Storage, is_size, no_storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle in a file of torch.save before 1.6
LEGACY_PROTOCOL = 1001
PIECE = 2**20  # numbers of a tensor that are looked at together


def read(path: Path) -> Any:
    """Return what a file of torch.save or a pickle holds: plain values, containers, `Record`, `Name`, `InertTensor`.

    Sets become lists; keys of dictionaries that are no plain values become records.

    Raises:
        one of `dnnlib.files.FAULTS`: the file is damaged, or is neither. OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(2)
        if start == b"":
            raise EOFError("the file is empty")
        if start == b"PK":
            return _read_zip(path)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _read_pickles(data, len(data))


# --- Zips -------------------------------------------------------------------------------------------------------------


def _read_zip(path: Path) -> Any:
    archive = zipfile.ZipFile(path)  # stays open for as long as a tensor wants it
    size = path.stat().st_size
    members = members_by_name(archive, size)
    root = root_of(members)
    byteorder = f"{root}byteorder"
    if byteorder in members and _stored(archive, members[byteorder]) != b"little":
        raise Malformed("numbers in another byte order")
    storages = _Storages(size)

    def persistent_load(reference: Any) -> Storage:
        dtype, key, count = _storage_reference(reference)
        info = members.get(f"{root}data/{key}")
        if info is None:
            raise Malformed(f"no storage {shown(key)}")
        described = Storage(dtype, count, lambda: _stored(archive, info))
        return storages.get(key, described, info.file_size)

    content = _stored(archive, members[f"{root}data.pkl"])
    machine = Machine(persistent_load)
    return machine.run(io.BytesIO(content))


def members_by_name(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members of a zip file of `size` bytes. Raises Malformed for what torch.save and numpy never write.

    That is a name that comes twice, of which programs take one or the other, or that leads out of the archive; or
    members that are together larger than the file.
    """
    found = archive.infolist()
    members = {info.filename: info for info in found}
    if len(members) != len(found):
        raise Malformed("two members of one name")
    for name in members:
        folders = name.split("/")
        if folders[0] == "" or ".." in folders:
            raise Malformed("a member outside of the archive")
    packed = sum(info.compress_size for info in found)
    if packed > size:
        raise Malformed("members that lie in one another")
    return members


def root_of(members: dict[str, zipfile.ZipInfo]) -> str:
    """Return what the names of all members of a file of torch.save begin with. Raises Malformed: it is none."""
    for name in members:
        if name == "data.pkl" or name.endswith("/data.pkl"):
            return name.removesuffix("data.pkl")
    raise Malformed("no file of torch.save")


def _stored(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the content of a member, of which torch.save compresses none, its checksum compared."""
    encrypted = info.flag_bits & 1
    if info.compress_type != zipfile.ZIP_STORED or encrypted or info.file_size != info.compress_size:
        raise Malformed(f"{shown(info.filename)} is compressed or encrypted")
    return archive.read(info)


# --- Storages ---------------------------------------------------------------------------------------------------------


class _Storages:
    """The storages of one file of `size` bytes by key: together no larger than the file."""

    def __init__(self, size: int):
        self.left = size
        self.known: dict[str, Storage] = {}

    def get(self, key: str, described: Storage, size: int) -> Storage:
        """Return the storage of that key, which is the one `described`, of `size` bytes, the first time."""
        if key not in self.known:
            count = described.count
            if size != count * described.dtype.itemsize:
                raise Malformed(f"a storage of {count} numbers where there are {size} bytes")
            self.left -= size
            if self.left < 0:
                raise Malformed("storages that are together larger than the file")
            self.known[key] = described
        known = self.known[key]
        if known.dtype != described.dtype or known.count != described.count:
            raise Malformed(f"two descriptions of the storage {key}")
        return known


def _storage_reference(reference: Any) -> tuple[torch.dtype, str, int]:
    """Return type, key and count of ('storage', type, key, place, count) with, in older files, None behind."""
    if type(reference) is not tuple or len(reference) not in (5, 6):
        raise Malformed("an unknown reference")
    word, kind, key, _, count, *view = reference
    if word != "storage" or view not in ([], [None]):
        raise Malformed("an unknown reference")
    dtype = BY_STORAGE.get(kind.text) if type(kind) is Name else None
    if dtype is None or type(key) is not str or not is_size(count):
        raise Malformed("a storage of unknown type, name or size")
    return dtype, key, count


# --- Pickles ----------------------------------------------------------------------------------------------------------


def _read_pickles(data: Any, size: int, nested: bool = False) -> Any:
    """Read a plain pickle, or the sequence of pickles that torch.save once wrote; `data` is a file of `size` bytes.

    A plain pickle may hold storages as files of that kind, together no larger than itself; in these (`nested`) there
    are no further ones.
    """
    left = size

    def load_from_bytes(inner: bytes) -> Storage:
        nonlocal left
        size = len(inner)
        left -= size
        if left < 0:
            raise Malformed("storages that are larger than the file")
        storage = _read_pickles(io.BytesIO(inner), size, nested=True)
        if type(storage) is not Storage:
            raise Malformed("something else in place of a storage")
        return storage

    machine = Machine(load_from_bytes=no_storage if nested else load_from_bytes)
    first = machine.run(data)
    if type(first) is int and first == LEGACY_MAGIC:
        return _read_legacy(data, size)
    return first


def _read_legacy(data: Any, size: int) -> Any:
    """Read the rest of a file behind its magic number: protocol, facts on the system, content, keys, storages."""
    protocol = Machine().run(data)
    system = Machine().run(data)
    if protocol != LEGACY_PROTOCOL:
        raise Malformed("an unknown version of torch.save")
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Malformed("numbers in another byte order")
    found: dict[str, bytes] = {}
    storages = _Storages(size)

    def persistent_load(reference: Any) -> Storage:
        dtype, key, count = _storage_reference(reference)
        described = Storage(dtype, count, lambda: found[key])
        return storages.get(key, described, count * dtype.itemsize)

    content = Machine(persistent_load).run(data)
    keys = Machine().run(data)
    if type(keys) is not list or len(keys) != len(storages.known):
        raise Malformed("other storages than are described")
    for key in keys:
        storage = storages.known[key]
        count = int.from_bytes(data.read(8), "little")
        if count != storage.count or key in found:
            raise Malformed("another size of a storage than is described")
        size = count * storage.dtype.itemsize
        found[key] = data.read(size)
    return content


# --- Tensors ----------------------------------------------------------------------------------------------------------


def read_tensors(state: dict[Any, Any], size: int) -> dict[str, torch.Tensor]:
    """Read tensors by name from a file of `size` bytes. They may share storages, but not so as to be larger than it.

    Raises:
        one of `dnnlib.files.FAULTS`: something is no tensor, has no proper name, or the file is damaged.
    """
    for name, value in state.items():
        if type(name) is not str or type(value) is not InertTensor:
            raise TypeError("not a state dict")
        size -= value.nbytes
        if size < 0:
            raise ValueError("tensors that are larger than the file")
    return {name: value.tensor() for name, value in state.items()}


def is_finite(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> bool:
    """Whether a tensor, read as numbers of `dtype` (None: its own), holds neither NaN nor infinity."""
    return non_finite(tensor, dtype) == (0, 0)


def non_finite(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> tuple[int, int]:
    """Count NaNs and infinities piece by piece: a mask, or a copy in another type, would take as much memory again.

    Args:
        dtype: count those that there are in numbers of this type; None: of the tensor's own.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0, 0
    if dtype is None and tensor.element_size() == 1:
        dtype = torch.float32  # 8-bit floats know few operations
    # Axes in the order in which they lie in memory, so that no copy is made to see the tensor as a row of numbers.
    axes = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    row = tensor.detach().permute(axes).reshape(-1)
    nan = 0
    infinite = 0
    for piece in row.split(PIECE):
        numbers = piece.to(dtype or piece.dtype)
        if not numbers.isfinite().all():
            nan += int(numbers.isnan().sum())
            infinite += int(numbers.isinf().sum())
    return nan, infinite
