"""Tensors out of a TorchScript file, without running any of its code.

`torch.jit.load` compiles and runs what a file says, and a checksum that would vouch for the one public file is not
published. So the file is read as what it is on the disk: a zip of storages, and a pickle that says how they make up
modules, of which `torch_utils.pickles.reader` makes plain records. The network is the one written here, and the file
must have its layers: under its names, behind a common prefix if need be, or else under other names in its order;
anything else is refused.
"""

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectors.weights import Source, reading_weights, without_counters
from dnnlib.errors import UserError
from dnnlib.files import read_at_most
from torch_utils.pickles import reader
from torch_utils.pickles.machine import InertTensor, Record
from torch_utils.pickles.reader import members_by_name, read_tensors, root_of

EPSILON = re.compile(rb"\beps : Final\[float\] = ([0-9.e+-]{1,40})")  # of a BatchNorm, in the text of its class
MODULES = "__torch__."  # what the names of a file's classes begin with
MAX_MODULES = 10_000  # I3D has about 300
MAX_DEPTH = 32  # of modules in modules; I3D's are 5 deep
MAX_NAME = 100  # characters of an attribute's name; I3D's have 20
MAX_CODE_BYTES = 2**24  # of all of a file's code, unpacked; I3D's has about 2 ** 17


def read_script(source: Source, path: Path) -> tuple[dict[str, torch.Tensor], float | None]:
    """Read a TorchScript file: its tensors by dotted name, and the one epsilon that its BatchNorms state, if any does.

    Raises:
        UserError: the file is damaged or no TorchScript.
    """
    with reading_weights(source, path):
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = members_by_name(archive, size)
            if f"{root_of(members)}constants.pkl" not in members:
                raise ValueError("not TorchScript")
            code = _code(archive, members)
        tensors = _tensors(reader.read(path))
        state = read_tensors(tensors, size)
        epsilons = {float(number) for number in EPSILON.findall(code)}
        if len(epsilons) > 1 or not all(0 < epsilon < 1 for epsilon in epsilons):
            raise ValueError("BatchNorms differ")
    return state, next(iter(epsilons), None)


def _code(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> bytes:
    """Return the text of all classes, of which the larger ones are compressed."""
    code = b""
    for name, info in members.items():
        if not name.endswith(".py"):
            continue
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without end
            raise ValueError("an unusual compression")
        with archive.open(info) as file:
            code += read_at_most(file, MAX_CODE_BYTES - len(code))
    return code


def _tensors(module: Any) -> dict[str, InertTensor]:
    """Return all tensors under a module's record by dotted name, in the file's order."""
    if not _is_module(module):
        raise ValueError("no module")
    found: dict[str, InertTensor] = {}
    waiting = [("", module, 0)]
    visited = 0
    while waiting:
        prefix, value, depth = waiting.pop()
        if type(value) is InertTensor:
            found[prefix.removesuffix(".")] = value
        if not _is_module(value):
            continue
        visited += 1
        attributes = value.state
        if type(attributes) is not dict or depth > MAX_DEPTH:
            raise ValueError("modules without attributes, or without end")
        if len(attributes) + visited + len(waiting) > MAX_MODULES:
            raise ValueError("too many modules")
        if not all(type(name) is str and len(name) <= MAX_NAME for name in attributes):
            raise ValueError("attributes without a proper name")
        children = [(f"{prefix}{name}.", child, depth + 1) for name, child in attributes.items()]
        waiting += reversed(children)
    return found


def _is_module(value: Any) -> bool:
    return type(value) is Record and value.name.startswith(MODULES)


def rename(state: dict[str, torch.Tensor], network: nn.Module, source: Source, path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors under the network's own names. UserError if the file's layers are not the network's."""
    layers = without_counters(state)
    own = without_counters(network.state_dict())
    first = next(iter(own))
    for name in layers:
        if name.endswith(first):
            prefix = name.removesuffix(first)
            return {name.removeprefix(prefix): tensor for name, tensor in layers.items()}
    if [_layer(*item) for item in layers.items()] != [_layer(*item) for item in own.items()]:
        raise UserError(
            f"{path} holds the weights of another network than {source.network}, or under names that are "
            f"not known: replace it by {source.file}, {source.origin}."
        )
    return dict(zip(own, layers.values(), strict=True))


def _layer(name: str, tensor: torch.Tensor) -> tuple[str, torch.Size]:
    """Return what a tensor is, whatever its module is called."""
    return name.rpartition(".")[2], tensor.shape
