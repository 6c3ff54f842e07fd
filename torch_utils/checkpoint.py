"""Checkpoints: written whole or not at all, read without running code from them.

A checkpoint is a `torch.save` file of {format: 'pv3d', kind, version, payload}. The payload holds only plain Python
values (None, bool, int, float, str; lists, tuples and dicts of them) and tensors, so that `weights_only` can read it
anywhere.
"""

import contextlib
import errno
import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, require_file, storage_error
from torch_utils.pickles import reader
from torch_utils.pickles.machine import InertTensor, Malformed
from torch_utils.pickles.report import text

FORMAT = "pv3d"
VERSION = 1
KINDS = {"snapshot": "a network snapshot (network-snapshot-*.pkl)", "state": "a training state (training-state-*.pt)"}
MAX_DEPTH = 64  # of containers in containers; ours have 8
# Texts and tensors of a file are together no larger than so many times the file: tensors may share a storage.
MAX_GROWTH = 8


def save(path: str | os.PathLike, payload: dict[str, Any], kind: str) -> None:
    """Write a checkpoint atomically. Tensors are stored as they are, from any device, without their gradient history.

    Args:
        path: the file; its folder is made if need be.
        payload: plain values and tensors under string keys.
        kind: 'snapshot' or 'state'.

    Raises:
        TypeError: the payload holds something else; the message says where. UserError: no space, no permission.
    """
    _check_kind(kind)
    content = {"format": FORMAT, "kind": kind, "version": VERSION, "payload": _plain(payload, "payload")}
    with atomic_path(path) as temporary:
        try:
            # Through a Python file: torch's own writer says "unexpected pos" where the disk is full.
            with open(temporary, "wb") as file:
                torch.save(content, file)
        except RuntimeError as error:
            cause = error.__cause__ or error.__context__
            raise (isinstance(cause, OSError) and storage_error(cause, path)) or error from cause


def load(path: str | os.PathLike, kind: str, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """Read the payload that `save` wrote as this `kind`, with its tensors on `map_location`.

    Whatever the file says, nothing in it is run, it costs memory in proportion to its size, and what comes back is a
    tree of plain values and tensors that lie in memory.

    Raises:
        UserError: the file is missing, not a checkpoint, damaged, of another kind or of another version.
    """
    _check_kind(kind)
    path = require_file(path, "checkpoint")
    found, payload = _read(path)
    if found != kind:
        actual = KINDS.get(found, f"of the unknown kind {text(found)!r}")
        raise UserError(f"{path} is {actual}, but {KINDS[kind]} is needed: give the path of such a file.")
    return _on(payload, torch.device(map_location))


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """Kind and payload of what `save` wrote, with tensors on the CPU."""
    with _readable(path):
        with open(path, "rb") as file:
            if (start := file.read(2)) != b"PK":
                raise _not_ours(path) if start else _damaged(path)
        return _unwrapped(reader.parse(path), path)


def _unwrapped(content: Any, path: Path) -> tuple[str, dict[str, Any]]:
    """Kind and payload, as `_read`, of what is in a file."""
    if type(content) is not dict or content.get("format") != FORMAT or type(content.get("kind")) is not str:
        raise _not_ours(path)
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} has checkpoint version {text(content.get('version'))}, but this code reads "
            f"version {VERSION}: use the release that wrote it, or make the checkpoint again."
        )
    if type(content.get("payload")) is not dict:
        raise _not_ours(path)
    return content["kind"], _Payload(MAX_GROWTH * path.stat().st_size).plain(content["payload"])


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read becomes a UserError."""
    try:
        yield
    except Malformed as error:
        raise _not_ours(path) from error
    except reader.FAULTS as error:
        raise _damaged(path) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to where a damaged file says
            raise _damaged(path) from error
        raise UserError(
            f"Cannot read the checkpoint {path} ({error.strerror}): check the file and its permissions."
        ) from error


class _Payload:
    """Turns what `inert_pickle` read into plain values. Raises Malformed for what `save` does not write.

    Args:
        most: bytes of all texts and tensors together.
    """

    def __init__(self, most: int):
        self.left = most
        self.seen: set[int] = set()

    def plain(self, value: Any, depth: int = 0) -> Any:
        """The value, which holds no container twice, with tensors in place of inert ones."""
        kind = type(value)
        if value is None or kind in (bool, float):
            return value
        if kind in (int, str):
            self.spend(value.bit_length() // 8 if kind is int else len(value))
            return value
        if kind is InertTensor:
            self.spend(value.nbytes)
            return value.tensor()
        if kind not in (dict, list, tuple):
            raise Malformed("an object")
        if depth > MAX_DEPTH or id(value) in self.seen:
            raise Malformed("containers without end")
        if value:  # there is only one empty tuple
            self.seen.add(id(value))
        if kind is not dict:
            return kind([self.plain(item, depth + 1) for item in value])
        if any(type(key) not in (int, str) for key in value):
            raise Malformed("an unusual key")
        return {self.plain(key): self.plain(item, depth + 1) for key, item in value.items()}

    def spend(self, size: int) -> None:
        """Counts what is made, up to a limit."""
        self.left -= size
        if self.left < 0:
            raise Malformed("more than the file can hold")


def _on(value: Any, device: torch.device) -> Any:
    """Nested containers with their tensors on a device."""
    if isinstance(value, dict):
        return {key: _on(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_on(item, device) for item in value)
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"Unknown checkpoint kind {kind!r}: use one of {', '.join(KINDS)}.")


def _not_ours(path: Path) -> UserError:
    return UserError(f"{path} is not a checkpoint of this software, or it is damaged: give a file that train.py wrote.")


def _damaged(path: Path) -> UserError:
    return UserError(f"The checkpoint {path} is damaged or was cut short: copy it again, or use an earlier one.")


def _plain(value: Any, where: str) -> Any:
    """A copy of nested containers with detached CPU tensors; TypeError names the first thing that is not plain."""
    kind = type(value)  # exactly: numpy.float64 is a subclass of float, and must not get in
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (dict, OrderedDict):
        for key in value:
            if type(key) not in (int, str):
                raise TypeError(f"{where} has the key {key!r} of type {type(key).__name__}: use int or str.")
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if kind in (list, tuple):
        return kind(_plain(item, f"{where}[{index}]") for index, item in enumerate(value))
    if kind in (torch.Tensor, torch.nn.Parameter) and value.layout == torch.strided:
        return _own_storage(value.detach().cpu())
    raise TypeError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, which a checkpoint cannot hold: "
        "convert it to plain values or a tensor."
    )


def _own_storage(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, copied if it is a view: torch.save would write all of the storage behind it."""
    if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
        return tensor
    return tensor.clone()
