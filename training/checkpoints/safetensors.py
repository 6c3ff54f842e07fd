"""Snapshots as safetensors, for other programs: `NAME.safetensors` holds the tensors, `NAME.json` everything else.

Weights are called `<network>.<name in it>` (`G_ema.backbone.mapping.w_avg`), other tensors by their own name
(`camera_bank`). Both ways are exact to the bit. The JSON names the tensors' sha256, so that files of two snapshots are
not taken for one.
"""

import hashlib
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dnnlib.errors import UserError
from dnnlib.files import MAX_JSON_BYTES, atomic_path, parse_json, read_json, require_file, shown, write_json
from dnnlib.options import from_dict
from torch_utils import checkpoint
from torch_utils.pickles.machine import InertTensor, Malformed, Storage, is_whole
from training.checkpoints.snapshots import NAMES, config_of, parts
from training.config import Config, validate

FORMAT = "pv3d-snapshot"
VERSION = 1
SUFFIX = ".safetensors"
CHUNK_BYTES = 1 << 20
# Safetensors' names of types.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def export_snapshot(source: str | os.PathLike, dest: str | os.PathLike) -> None:
    """Writes a snapshot as `dest` (NAME.safetensors) and NAME.json beside it, each atomically.

    Raises:
        UserError: the source is no snapshot; dest has another suffix; no space, no permission; no `safetensors`.
    """
    dest, library = _named(dest), _require_safetensors()
    payload = parts(checkpoint.load(source, "snapshot"), source)
    config_of(payload, source)
    tensors, rest = _split(payload, Path(source))
    try:
        content = library.save(tensors, metadata={"format": "pt"})  # what other readers ask for
    except (LookupError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"{source} holds tensors that safetensors cannot ({shown(str(error))}).") from error
    header = {"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(content).hexdigest(), **rest}
    with atomic_path(dest) as temporary:  # here: its own writer hides a full disk
        temporary.write_bytes(content)
    write_json(dest.with_suffix(".json"), header)


def import_snapshot(source: str | os.PathLike, dest: str | os.PathLike) -> None:
    """Writes the snapshot that `export_snapshot` made two files of. Whoever opens it checks that its weights fit.

    Raises:
        UserError: a file is missing, damaged, not ours, of another version, or its pair is of another snapshot.
    """
    source, library = _named(source), _require_safetensors()
    require_file(source, "safetensors file")
    rest = _read_header(source)
    try:
        tensors = library.load_file(source)
    except Exception as error:  # its own SafetensorError, and whatever damage leads torch to
        raise UserError(f"{source} is damaged, or no safetensors file: export the snapshot again.") from error
    checkpoint.save(dest, parts(_join(tensors, rest, source), source), "snapshot")


def _require_safetensors():
    """safetensors for torch, an optional dependency; UserError without it."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise UserError(
            "Safetensors need the package of this name: install it with `pip install safetensors`."
        ) from error
    return safetensors.torch


def _named(path: str | os.PathLike) -> Path:
    if Path(path).suffix != SUFFIX:
        raise UserError(f"{path} does not end in {SUFFIX}: give such a name; its .json lies beside it.")
    return Path(path)


def _split(payload: dict[str, Any], path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """A snapshot's tensors by their names in the file, and the rest."""
    named = dict(payload)
    for network, weights in named.pop("weights").items():
        if not isinstance(weights, dict):
            raise UserError(f"{path} is a damaged snapshot: it holds no weights of {network}.")
        named |= {f"{network}.{name}": value for name, value in weights.items()}
    tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in named.items() if name not in tensors}
    wrong = [str(name) for name in rest if "." in str(name)]
    if wrong:
        raise UserError(f"{path} is a damaged snapshot: {shown(wrong[0])} is no tensor.")
    return {name: value.contiguous() for name, value in tensors.items()}, rest


def _join(tensors: dict[str, torch.Tensor], rest: dict[str, Any], path: Path) -> dict[str, Any]:
    """Inverse of `_split`."""
    payload: dict[str, Any] = {**rest, "weights": {}}
    for name, value in tensors.items():
        network, dot, own = name.partition(".")
        if dot and network not in NAMES:
            raise UserError(
                f"{path} holds {shown(name)}, which is of none of {', '.join(NAMES)}: export the snapshot again."
            )
        if dot:
            payload["weights"].setdefault(network, {})[own] = value
        else:
            payload[name] = value
    return payload


def _read_header(tensors: Path) -> dict[str, Any]:
    """What is not a tensor: the options, valid ones, and the progress."""
    path = tensors.with_suffix(".json")
    header = read_json(path)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UserError(f"{path} does not describe a snapshot: give files that `export` wrote.")
    if header.get("version") != VERSION:
        raise UserError(
            f"{path} has version {shown(repr(header.get('version')))}, but this code reads version "
            f"{VERSION}: export the snapshot again, or use the release that wrote it."
        )
    if header.get("sha256") != checksum(tensors):
        raise UserError(f"{path} belongs to other tensors than those in {tensors}: copy both files again.")
    rest = {name: value for name, value in header.items() if name not in ("format", "version", "sha256")}
    try:
        validate(from_dict(Config, rest.get("config")))
    except UserError as error:
        raise UserError(f"{path} does not fit this version: {error}") from error
    return rest


def checksum(path: Path) -> str:
    """sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def read_safetensors(path: Path) -> dict[str, Any]:
    """{tensors, json}: what is in an existing safetensors file, and in the JSON file beside it, if there is one.

    Raises:
        UserError: the JSON file is damaged. One of `inert_pickle.FAULTS`, or OSError: the file itself is.
    """
    with open(path, "rb") as file:
        tensors = _safetensors(path, file)
    beside = path.with_suffix(".json")
    return ({"json": read_json(beside)} if beside.is_file() else {}) | {"tensors": tensors}


def _safetensors(path: Path, file: BinaryIO) -> dict[str, InertTensor]:
    """The tensors of a safetensors file by name. Raises one of `inert_pickle.FAULTS`: it is damaged."""
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length
    if start > size:
        raise Malformed("a header longer than the file")
    header = parse_json(file.read(min(length, MAX_JSON_BYTES + 1)))
    if type(header) is not dict:
        raise Malformed("a header that is no dictionary")
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, (dtype, shape, first, last) in sorted(
        ((name, _described(entry)) for name, entry in header.items()), key=lambda item: item[1][2:]
    ):
        if first != end or last - first != math.prod(shape) * dtype.itemsize:
            raise Malformed("tensors that overlap, or of another size than is described")
        end = last
        storage = Storage(dtype, math.prod(shape), _part(path, start + first, last - first))
        stride = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        tensors[name] = InertTensor(storage, 0, tuple(shape), tuple(stride))
    if start + end != size:
        raise Malformed("other tensors than are described")
    return {name: tensors[name] for name in header}


def _described(entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """Type, shape, and where the bytes begin and end."""
    if type(entry) is not dict or type(entry.get("dtype")) is not str or entry["dtype"] not in DTYPES:
        raise Malformed("a tensor of unknown type")
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if type(shape) is not list or type(offsets) is not list or len(offsets) != 2 or len(shape) > 16:
        raise Malformed("a tensor of no shape or place")
    if not all(map(is_whole, (*shape, *offsets))):
        raise Malformed("sizes that are no whole numbers")
    return DTYPES[entry["dtype"]], shape, *offsets


def _part(path: Path, start: int, length: int):
    """Function that reads a part of a file."""

    def read_part() -> bytes:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read(length)

    return read_part
