"""Snapshots as safetensors, for other programs: `NAME.safetensors` holds the tensors, `NAME.json` everything else.

The same options are in the metadata of the tensors' file, too, so that it is a snapshot by itself: one checksum knows
it, and a download needs no second file. The JSON file is for people and other programs. (`import` reads it, as it did
when exports had no such metadata.)

Weights are called `<network>.<name in it>` (`G_ema.backbone.mapping.w_avg`), other tensors by their own name
(`camera_bank`). Both ways are exact to the bit. The JSON names the tensors' sha256, so that files of two snapshots are
not taken for one.
"""

import hashlib
import json
import math
import os
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import (
    MAX_JSON_BYTES,
    atomic_path,
    file_checksum,
    parse_json,
    read_json,
    refuse_existing,
    require_file,
    shown,
    write_json,
)
from dnnlib.optional import optional_packages
from torch_utils import checkpoint
from torch_utils.pickles.dtypes import BY_SAFETENSORS
from torch_utils.pickles.machine import MAX_DIMENSIONS, InertTensor, Malformed, Storage, is_size
from training.checkpoints.snapshots import NAMES, StoredSnapshot

FORMAT = "pv3d-snapshot"
VERSION = 1
SUFFIX = ".safetensors"
METADATA = "__metadata__"  # the format's own place for texts by name
OWN = "pv3d"  # ours among them: the options as JSON
LENGTH_BYTES = 8  # of the header's length, with which a file begins


# --- Export -----------------------------------------------------------------------------------------------------------


def export_snapshot(source: str | os.PathLike, dest: str | os.PathLike) -> None:
    """Write a snapshot as `dest` (NAME.safetensors) and NAME.json beside it, each atomically.

    Raises:
        UserError: the source is no snapshot; dest has another suffix or is there already; no space, no permission; no
            `safetensors`.
    """
    dest = _named(dest)
    for path in (dest, dest.with_suffix(".json")):
        refuse_existing(path)
    library = _require_safetensors()
    source = Path(source)
    snapshot = StoredSnapshot.of(checkpoint.load(source, "snapshot"), source)
    tensors, rest = _split(snapshot)
    described = {"format": FORMAT, "version": VERSION, **rest}
    try:
        # "pt" is what other readers ask for.
        content = library.save(tensors, metadata={"format": "pt", OWN: json.dumps(described)})
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{source} holds tensors that safetensors cannot ({shown(str(error))}).") from error
    header = {**described, "sha256": hashlib.sha256(content).hexdigest()}
    with atomic_path(dest) as temporary:  # here: its own writer hides a full disk
        temporary.write_bytes(content)
    write_json(dest.with_suffix(".json"), header)


def _require_safetensors() -> ModuleType:
    """Return safetensors for torch, an optional dependency. UserError without it."""
    with optional_packages("Safetensors", "safetensors"):
        import safetensors.torch
    return safetensors.torch


def _named(path: str | os.PathLike) -> Path:
    """Return the path of a safetensors file. UserError if it is not called so."""
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UserError(f"{path} does not end in {SUFFIX}: give such a name; its .json lies beside it.")
    return path


def _split(snapshot: StoredSnapshot) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return a snapshot's tensors by their names in the file, and the rest."""
    named = snapshot.payload()
    for network, weights in named.pop("weights").items():
        if not isinstance(weights, dict):
            raise UserError(f"{snapshot.path} is a damaged snapshot: it holds no weights of {network}.")
        for name, value in weights.items():
            if not isinstance(value, torch.Tensor):
                raise UserError(f"{snapshot.path} is a damaged snapshot: {shown(f'{network}.{name}')} is no tensor.")
            named[f"{network}.{name}"] = value
    tensors = {name: value.contiguous() for name, value in named.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in named.items() if name not in tensors}
    return tensors, rest


# --- Import -----------------------------------------------------------------------------------------------------------


def import_snapshot(source: str | os.PathLike, dest: str | os.PathLike) -> None:
    """Write the snapshot that `export_snapshot` made two files of. Whoever opens it checks that its weights fit.

    Raises:
        UserError: a file is missing, damaged, not ours, of another version, or its pair is of another snapshot.
    """
    source = _named(source)
    library = _require_safetensors()
    require_file(source, "safetensors file")
    rest = _read_header(source)
    try:
        tensors = library.load_file(source)
    except Exception as error:  # its own SafetensorError, and whatever damage leads torch to
        raise UserError(f"{source} is damaged, or no safetensors file: export the snapshot again.") from error
    snapshot = StoredSnapshot.of(_joined(tensors, rest, source), source)
    checkpoint.save(dest, snapshot.payload(), "snapshot")


def _read_header(tensors: Path) -> dict[str, Any]:
    """Return what is not a tensor: the options and the progress."""
    path = tensors.with_suffix(".json")
    header = _described(read_json(path), path)
    if header.get("sha256") != file_checksum(tensors):
        raise UserError(f"{path} belongs to other tensors than those in {tensors}: copy both files again.")
    return _rest(header)


def _described(header: Any, path: Path) -> dict[str, Any]:
    """Return what describes a snapshot. UserError if it does not, or is of another version."""
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} does not describe a snapshot: give files that `export` wrote.")
    version = header.get("version")
    if version != VERSION:
        raise UserError(
            f"{path} has version {shown(repr(version))}, but this code reads version {VERSION}: "
            "export the snapshot again, or use the release that wrote it."
        )
    return header


def _rest(header: dict[str, Any]) -> dict[str, Any]:
    """Return what a header says of the snapshot."""
    return {name: value for name, value in header.items() if name not in ("format", "version", "sha256")}


def _joined(tensors: dict[str, torch.Tensor], rest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a snapshot's payload: the inverse of `_split`."""
    weights: dict[str, dict[str, torch.Tensor]] = {}
    payload = {**rest, "weights": weights}
    for name, value in tensors.items():
        network, dot, own_name = name.partition(".")
        if not dot:
            payload[name] = value
            continue
        if network not in NAMES:
            raise UserError(
                f"{path} holds {shown(name)}, which is of none of {', '.join(NAMES)}: export the snapshot again."
            )
        weights.setdefault(network, {})[own_name] = value
    return payload


# --- Reading a file without the library -------------------------------------------------------------------------------


def is_safetensors(path: Path) -> bool:
    """Return whether a file, whatever its name, begins as one of safetensors does and no pickle, zip or tar."""
    with open(path, "rb") as file:
        start = file.read(LENGTH_BYTES + 1)
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    return start[LENGTH_BYTES:] == b"{" and LENGTH_BYTES + length <= path.stat().st_size


def read_payload(path: Path) -> dict[str, Any]:
    """Return the payload of the snapshot in a safetensors file, with its tensors in memory. Nothing in it is run.

    Raises:
        UserError: it holds no snapshot of ours, one without its options, or the JSON file beside it says otherwise.
            One of `dnnlib.files.FAULTS`, or OSError: the file is damaged.
    """
    text = _metadata(path).get(OWN)
    if text is None:
        raise UserError(
            f"{path} does not say what its tensors are: only exports of this software do; one of an earlier version, "
            "with its JSON file, becomes a snapshot by `checkpoint_tool.py import`."
        )
    rest = _rest(_described(parse_json(text.encode()), path))
    beside = path.with_suffix(".json")
    if path.suffix == SUFFIX and os.path.lexists(beside) and _read_header(path) != rest:
        raise UserError(f"{beside} says otherwise than {path} itself: copy both again, or remove it.")
    tensors = {name: value.tensor() for name, value in _read_tensors(path).items()}
    return _joined(tensors, rest, path)


def _metadata(path: Path) -> dict[str, str]:
    """Return the texts by name of a safetensors file."""
    _, header = _read_own_header(path)
    texts = header.get(METADATA, {})
    if type(texts) is not dict or not all(type(text) is str for text in texts.values()):
        raise Malformed("metadata that are no texts")
    return texts


def read_safetensors(path: Path) -> dict[str, Any]:
    """Return {tensors, json}: what is in a safetensors file, and in the JSON file beside it, if there is one.

    Raises:
        UserError: the JSON file is damaged. One of `dnnlib.files.FAULTS`, or OSError: the file itself is.
    """
    tensors = _read_tensors(path)
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {"tensors": tensors}
    return {"json": read_json(beside), "tensors": tensors}


def _read_tensors(path: Path) -> dict[str, InertTensor]:
    """Return the tensors of a safetensors file by name."""
    start, header = _read_own_header(path)
    header.pop(METADATA, None)
    described = {name: _description(entry) for name, entry in header.items()}
    tensors = {}
    end = 0
    for name in sorted(described, key=lambda name: described[name][2:]):
        dtype, shape, first, last = described[name]
        count = math.prod(shape)
        if first != end or last - first != count * dtype.itemsize:
            raise Malformed("tensors that overlap, or of another size than is described")
        end = last
        numbers = partial(_read_part, path, start + first, last - first)
        storage = Storage(dtype, count, numbers)
        tensors[name] = InertTensor(storage, 0, tuple(shape), _dense_stride(shape))
    if start + end != path.stat().st_size:
        raise Malformed("other tensors than are described")
    return {name: tensors[name] for name in header}


def _read_own_header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the numbers begin, and what stands before them."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        start = LENGTH_BYTES + length
        if start > path.stat().st_size:
            raise Malformed("a header longer than the file")
        header = parse_json(file.read(min(length, MAX_JSON_BYTES + 1)))
    if type(header) is not dict:
        raise Malformed("a header that is no dictionary")
    return start, header


def _dense_stride(shape: list[int]) -> tuple[int, ...]:
    """Return the stride of a tensor whose last axis lies together in memory, then the last but one."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _description(entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """Return type, shape, and where the bytes begin and end."""
    if type(entry) is not dict:
        raise Malformed("a tensor without a description")
    dtype = entry.get("dtype")
    if type(dtype) is not str or dtype not in BY_SAFETENSORS:
        raise Malformed("a tensor of unknown type")
    shape = entry.get("shape")
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS:
        raise Malformed("a tensor of no shape")
    offsets = entry.get("data_offsets")
    if type(offsets) is not list or len(offsets) != 2:
        raise Malformed("a tensor of no place")
    if not all(map(is_size, (*shape, *offsets))):
        raise Malformed("sizes that are no whole numbers")
    first, last = offsets
    return BY_SAFETENSORS[dtype], shape, first, last


def _read_part(path: Path, start: int, length: int) -> bytes:
    """Read a part of a file."""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(length)
