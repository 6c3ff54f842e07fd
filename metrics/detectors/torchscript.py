"""Tensors out of a TorchScript file, without running any of its code.

`torch.jit.load` compiles and runs what a file says, and a checksum that would vouch for the one public file is not
published. So the file is read as what it is on the disk: a zip of storages, and a pickle that says how they make up
modules. The unpickler here knows modules (as plain records), tensors and lists, and refuses everything else; nothing
that a file names is ever imported or called. The network is the one written here, and the file must have its layers:
under its names, behind a common prefix if need be, or else under other names in its order; anything else is refused.
"""

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dnnlib.errors import UserError
from metrics.detectors.weights import COUNTER, Source, readable

DTYPES = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
          "LongStorage": torch.int64, "IntStorage": torch.int32, "BoolStorage": torch.bool}
EPSILON = re.compile(rb"\beps : Final\[float\] = ([0-9.e+-]+)")       # of a BatchNorm, in the text of its class


class Record:
    """A module of the file: its attributes by name."""

    def __init__(self):
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module without attributes")
        self.attributes = state

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
        """All tensors under dotted names, in the file's order."""
        for name, value in self.attributes.items():
            if isinstance(value, torch.Tensor):
                yield prefix + name, value
            elif isinstance(value, Record):
                yield from value.tensors(f"{prefix}{name}.")


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()


def _unchanged(value: Any) -> Any:
    return value


class _Unpickler(pickle.Unpickler):
    """Knows what the pickle of a TorchScript file consists of."""

    KNOWN = {("torch._utils", "_rebuild_tensor_v2"): _tensor, ("collections", "OrderedDict"): OrderedDict,
             **{("torch.jit._pickle", f"build_{kind}list"): _unchanged for kind in ("int", "double", "bool", "tensor")},
             **{("torch", name): dtype for name, dtype in DTYPES.items()}}

    def __init__(self, archive: zipfile.ZipFile, root: str):
        super().__init__(io.BytesIO(archive.read(f"{root}data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return Record
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is not known")
        return self.KNOWN[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"{kind!r} is not known")
        values = torch.frombuffer(bytearray(self.archive.read(f"{self.root}data/{key}")), dtype=dtype)
        return values[:count]


def read_script(source: Source, path: Path) -> tuple[dict[str, torch.Tensor], float | None]:
    """Tensors of a TorchScript file by dotted name, and the one epsilon that its BatchNorms state (None: none does).

    Raises:
        UserError: the file is damaged or no TorchScript.
    """
    with readable(source, path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next((name for name in names if name.endswith("data.pkl")), "").removesuffix("data.pkl")
        if f"{root}constants.pkl" not in names:
            raise ValueError("not TorchScript")
        module = _Unpickler(archive, root).load()
        state = dict(module.tensors())
        code = b"".join(archive.read(name) for name in names if name.endswith(".py"))
        stated = {float(number) for number in EPSILON.findall(code)}
        if len(stated) > 1:
            raise ValueError("BatchNorms differ")
    return state, stated.pop() if stated else None


def rename(state: dict[str, torch.Tensor], network: nn.Module, source: Source, path: Path) -> dict[str, torch.Tensor]:
    """The tensors under the network's own names; UserError if the file's layers are not the network's."""
    layers = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    own = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(COUNTER)}
    first = next(iter(own))
    prefix = next((name.removesuffix(first) for name in layers if name.endswith(first)), None)
    if prefix is not None:
        return {name.removeprefix(prefix): tensor for name, tensor in layers.items()}
    if [_layer(*item) for item in layers.items()] != [_layer(*item) for item in own.items()]:
        raise UserError(f"{path} holds the weights of another network than {source.network}, or under names that are "
                        f"not known: replace it by {source.file}, {source.origin}.")
    return dict(zip(own, layers.values(), strict=True))


def _layer(name: str, tensor: torch.Tensor) -> tuple[str, torch.Size]:
    """What a tensor is, whatever its module is called."""
    return name.rpartition(".")[2], tensor.shape
