"""Checkpoints: written whole or not at all, read without running code from them (`torch_utils.pickles.reader`).

A checkpoint is a `torch.save` file of {format: "pv3d", kind, version, payload}. The payload holds only plain Python
values (None, bool, int, float, str; lists, tuples and dicts of them) and tensors, so that
`torch.load(path, weights_only=True)` can read it anywhere.
"""

import os
from collections import OrderedDict
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, reading, require_file, storage_error
from torch_utils.pickles import reader
from torch_utils.pickles.machine import InertTensor, Malformed
from torch_utils.pickles.report import as_text

FORMAT = "pv3d"
VERSION = 1
KINDS = {
    "snapshot": "a network snapshot (network-snapshot-*.pkl)",
    "state": "a training state (training-state-*.pt)",
    "latents": "a file of latents (latents.pt)",
    "inversion": "the state of an inversion (inversion-state.pt)",
}
MAX_DEPTH = 64  # of containers in containers; ours have 8
# Texts and tensors of a file are together no larger than so many times the file: tensors may share a storage.
MAX_GROWTH = 8


# --- Reading ----------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike, kind: str) -> dict[str, Any]:
    """Read the payload that `save` wrote as this `kind`, with its tensors on the CPU.

    Whatever the file says, nothing in it is run, it costs memory in proportion to its size, and what comes back is a
    tree of plain values and tensors that lie in memory.

    Raises:
        UserError: the file is missing, not a checkpoint, damaged, of another kind or of another version.
    """
    _require_known(kind)
    path = require_file(path, "checkpoint")
    with reading_checkpoint(path):
        found = unwrap(reader.read(path), path)
        if found is None:
            raise Malformed("it lacks the header of one")
    found_kind, payload = found
    require_kind(found_kind, kind, path)
    return payload


def reading_checkpoint(path: Path) -> AbstractContextManager[None]:
    """Raise a UserError for what goes wrong in the block, which reads a checkpoint and its tensors."""
    problem = f"The checkpoint {path} is damaged or was cut short, or it is not a checkpoint of this software"
    return reading(path, problem, "copy it again, or give another file")


def unwrap(content: Any, path: Path) -> tuple[str, dict[str, Any]] | None:
    """Return kind and payload of a checkpoint whose content `reader.read` returned; None if it is not one of ours.

    Raises:
        UserError: it is of another version. One of `dnnlib.files.FAULTS`: it is damaged.
    """
    if type(content) is not dict or content.get("format") != FORMAT or type(content.get("kind")) is not str:
        return None
    version = content.get("version")
    if version != VERSION:
        raise UserError(
            f"{path} has checkpoint version {as_text(version)}, but this code reads version {VERSION}: "
            "use the release that wrote it, or make the checkpoint again."
        )
    payload = content.get("payload")
    if type(payload) is not dict:
        raise Malformed("it lacks a payload")
    limit = MAX_GROWTH * path.stat().st_size
    return content["kind"], _PlainCopy(limit).of(payload)


def require_kind(found: str, needed: str, path: Path) -> None:
    """Raise a UserError unless the checkpoint is of the kind that is needed."""
    if found != needed:
        actual = KINDS.get(found, f"of the unknown kind {as_text(found)!r}")
        raise UserError(f"{path} is {actual}, but {KINDS[needed]} is needed: give the path of such a file.")


class _PlainCopy:
    """A copy of what `reader.read` returned, with tensors in place of inert ones.

    Args:
        limit: bytes of all texts and tensors together.
    """

    def __init__(self, limit: int):
        self.left = limit
        self.visited: set[int] = set()  # ids of containers

    def of(self, value: Any, depth: int = 0) -> Any:
        """Return the copy. Raises Malformed for what `save` does not write, such as a container that comes twice."""
        kind = type(value)
        if value is None or kind in (bool, float):
            return value
        if kind is int:
            self.count_bytes(value.bit_length() // 8)
            return value
        if kind is str:
            self.count_bytes(len(value))
            return value
        if kind is InertTensor:
            self.count_bytes(value.nbytes)
            return value.tensor()
        if kind not in (dict, list, tuple):
            raise Malformed("an object")
        if depth > MAX_DEPTH or id(value) in self.visited:
            raise Malformed("containers without end")
        if value:  # there is only one empty tuple
            self.visited.add(id(value))
        if kind is not dict:
            return kind([self.of(item, depth + 1) for item in value])
        if any(type(key) not in (int, str) for key in value):
            raise Malformed("an unusual key")
        return {self.of(key): self.of(item, depth + 1) for key, item in value.items()}

    def count_bytes(self, size: int) -> None:
        """Count what is copied. Raises Malformed when it is too much."""
        self.left -= size
        if self.left < 0:
            raise Malformed("more than the file can hold")


# --- Writing ----------------------------------------------------------------------------------------------------------


def save(path: str | os.PathLike, payload: dict[str, Any], kind: str) -> None:
    """Write a checkpoint atomically. Tensors are stored as they are, from any device, without their gradient history.

    Args:
        path: the file; its folder is made if need be.
        payload: plain values and tensors under string keys.
        kind: one of KINDS.

    Raises:
        TypeError: the payload holds something else; the message says where. UserError: no space, no permission.
    """
    _require_known(kind)
    content = {"format": FORMAT, "kind": kind, "version": VERSION, "payload": _plain(payload, "payload")}
    with atomic_path(path) as temporary:
        try:
            # Through a Python file: torch's own writer says "unexpected pos" where the disk is full.
            with open(temporary, "wb") as file:
                torch.save(content, file)
        except RuntimeError as error:
            cause = error.__cause__ or error.__context__
            if isinstance(cause, OSError):
                raise storage_error(cause, path) or error from cause
            raise


def _require_known(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"Unknown checkpoint kind {kind!r}: use one of {', '.join(KINDS)}.")


def _plain(value: Any, where: str) -> Any:
    """Copy nested containers, with detached CPU tensors. TypeError names the first thing that is not plain."""
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
    """Return the tensor, copied if it is a view: torch.save would write all of the storage behind it."""
    if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
        return tensor
    return tensor.clone()
