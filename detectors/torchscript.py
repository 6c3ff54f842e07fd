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

import torch
from torch import nn

from detectors.weights import COUNTER, Source, read_tensors, readable
from dnnlib.errors import UserError
from dnnlib.files import read_at_most
from torch_utils.pickles import reader
from torch_utils.pickles.machine import InertTensor, Record

EPSILON = re.compile(rb"\beps : Final\[float\] = ([0-9.e+-]{1,40})")  # of a BatchNorm, in the text of its class
MODULES = "__torch__."  # what the names of a file's classes begin with
MAX_MODULES, MAX_DEPTH, MAX_NAME = 10_000, 32, 100  # I3D has about 300, 5 deep, of 20 characters
MAX_CODE_BYTES = 2**24  # of all of a file's code, unpacked; I3D's has about 2 ** 17


def read_script(source: Source, path: Path) -> tuple[dict[str, torch.Tensor], float | None]:
    """Tensors of a TorchScript file by dotted name, and the one epsilon that its BatchNorms state (None: none does).

    Raises:
        UserError: the file is damaged or no TorchScript.
    """
    with readable(source, path):
        with zipfile.ZipFile(path) as archive:
            members = reader.index(archive)
            if f"{reader.root_of(members)}constants.pkl" not in members:
                raise ValueError("not TorchScript")
            code = _code(archive, members)
        state = read_tensors(_tensors(reader.parse(path)), path)
        stated = {float(number) for number in EPSILON.findall(code)}
        if len(stated) > 1 or not all(0 < number < 1 for number in stated):
            raise ValueError("BatchNorms differ")
    return state, stated.pop() if stated else None


def _code(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> bytes:
    """The text of all classes, of which the larger ones are compressed."""
    texts: list[bytes] = []
    for name, info in members.items():
        if name.endswith(".py"):
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others unpack without end
                raise ValueError("an unusual compression")
            with archive.open(info) as file:
                texts.append(read_at_most(file, MAX_CODE_BYTES - sum(map(len, texts))))
    return b"".join(texts)


def _tensors(module: Record) -> dict[str, InertTensor]:
    """All tensors under a module's record by dotted name, in the file's order."""
    found: dict[str, InertTensor] = {}
    waiting, visited = [("", module, 0)], 0
    while waiting:
        prefix, value, depth = waiting.pop()
        if type(value) is InertTensor:
            found[prefix.rstrip(".")] = value
        elif type(value) is Record and value.name.startswith(MODULES):
            children = value.state
            visited += 1
            if type(children) is not dict or depth > MAX_DEPTH or len(children) + visited + len(waiting) > MAX_MODULES:
                raise ValueError("modules without attributes, or without end")
            if not all(type(name) is str and len(name) <= MAX_NAME for name in children):
                raise ValueError("attributes without a proper name")
            waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children.items())]
        elif not prefix:
            raise ValueError("no module")
    return found


def rename(state: dict[str, torch.Tensor], network: nn.Module, source: Source, path: Path) -> dict[str, torch.Tensor]:
    """The tensors under the network's own names; UserError if the file's layers are not the network's."""
    layers = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    own = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(COUNTER)}
    first = next(iter(own))
    prefix = next((name.removesuffix(first) for name in layers if name.endswith(first)), None)
    if prefix is not None:
        return {name.removeprefix(prefix): tensor for name, tensor in layers.items()}
    if [_layer(*item) for item in layers.items()] != [_layer(*item) for item in own.items()]:
        raise UserError(
            f"{path} holds the weights of another network than {source.network}, or under names that are "
            f"not known: replace it by {source.file}, {source.origin}."
        )
    return dict(zip(own, layers.values(), strict=True))


def _layer(name: str, tensor: torch.Tensor) -> tuple[str, torch.Size]:
    """What a tensor is, whatever its module is called."""
    return name.rpartition(".")[2], tensor.shape
