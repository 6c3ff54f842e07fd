"""Checkpoints of other software and other forms, as far as looking into them needs: what they are, and their content.

Known are a torch file of the official PV3D, a pickle of EG3D, and a safetensors export with the JSON file beside it.
Nothing in them is run, and tensors are read on demand (`inert_pickle`).
"""

import math
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dnnlib.files import MAX_JSON_BYTES, parse_json, read_json
from torch_utils.inert_machine import InertTensor, Malformed, Record, Storage, is_whole

SAFETENSORS = ".safetensors"
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


def origin(content: Any) -> str | None:
    """Whose the content of a pickle or torch file is, if it is other software's that we know."""
    if type(content) is not dict:
        return None
    if type(content.get("G_ema")) is Record:
        return "EG3D pickle"
    model = content.get("model")
    if type(model) is dict and any(type(value) is InertTensor for value in model.values()):
        return "PV3D checkpoint"
    return None


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
