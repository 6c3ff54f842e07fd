"""Pickles of anything, and the containers that checkpoints are. What would be run makes the file MARK."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.hostile.zip_makers import Member, raw_zip

MARK = "was_run"
NAME = "hostile.pkl"

Content = Callable[[], bytes]
Make = Callable[[Path], Path]


# --- Objects that pickle to anything ---------------------------------------------------------------------------------


class Call:
    """Pickles to a call of any function; `more`: the state, items and entries that a reducer may return."""

    def __init__(self, function: Any, *arguments: Any, more: tuple = ()):
        self.reduced = (function, arguments, *more)

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.reduced

    def __call__(self) -> None:
        """Do nothing: pickle wants what is called to be callable."""


class Reference(NamedTuple):
    """Pickles to a persistent reference."""

    pid: Any


class Pickler(pickle._Pickler):
    """Python's own pickler, which accepts what the one in C refuses."""

    def persistent_id(self, value: Any) -> Any:
        return value.pid if isinstance(value, Reference) else None


def touch(mark: Path) -> Call:
    """Return an object whose unpickling makes the file `mark` in a shell."""
    return Call(os.system, f"touch {mark}")


def storage(kind: Any = torch.FloatStorage, count: Any = 4, key: Any = "0") -> Reference:
    """Return a storage as torch.save refers to it."""
    return Reference(("storage", kind, key, "cpu", count))


def tensor(offset: Any = 0, shape: Any = (4,), stride: Any = (1,), of: Reference | None = None) -> Call:
    """Return a tensor as torch.save describes it."""
    return Call(torch._utils._rebuild_tensor_v2, of or storage(), offset, shape, stride, False, {})


# --- Containers ------------------------------------------------------------------------------------------------------


def pickled(value: Any, protocol: int = 2) -> bytes:
    """Return a plain pickle."""
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


def newest_pickled(value: Any) -> bytes:
    """Return a plain pickle of protocol 5."""
    return pickled(value, protocol=5)


def torch_zip(content: bytes, storages: dict[str, bytes] | None = None, **entry: Any) -> list[Member]:
    """Return the members of torch.save's file of a pickle; `entry` is what the entry of the pickle says of it."""
    data = [Member(f"archive/data/{key}", numbers) for key, numbers in (storages or {}).items()]
    return [
        Member("archive/data.pkl", content, **entry),
        Member("archive/byteorder", b"little"),
        *data,
        Member("archive/version", b"3\n"),
    ]


def snapshot_pickle(payload: Any) -> bytes:
    """Return the pickle of a snapshot with this payload."""
    return pickled({"format": "pv3d", "kind": "snapshot", "version": 1, "payload": payload})


def in_zip(payload: Any, storages: dict[str, bytes] | None = None) -> bytes:
    """Return the file of a snapshot with this payload, as torch.save makes it."""
    return raw_zip(torch_zip(snapshot_pickle(payload), storages))


def in_legacy(value: Any) -> bytes:
    """Return a file of torch.save before 1.6."""
    stream = io.BytesIO()
    torch.save(None, stream, _use_new_zipfile_serialization=False)
    empty = stream.getvalue()
    head = empty[: empty.rindex(pickled(None))]
    return head + pickled(value) + pickled([])


# --- Files -----------------------------------------------------------------------------------------------------------


def write(data: bytes, root: Path, name: str = NAME) -> Path:
    """Write a file in a folder; return its path."""
    (root / name).write_bytes(data)
    return root / name


def file_of(content: Content) -> Make:
    """Return the maker of a file with this content."""
    return lambda root: write(content(), root)


def file_with_mark(content: Callable[[Path], bytes]) -> Make:
    """Return the maker of a file whose content is a function of where MARK is to be made."""
    return lambda root: write(content(root / MARK), root)


def special_file(make_special: Callable[[Path], object]) -> Make:
    """Return the maker of what is no ordinary file."""

    def make(root: Path) -> Path:
        make_special(root / NAME)
        return root / NAME

    return make
