"""What is inside a checkpoint, in lines: a tree of its values and tensors, and their totals."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from torch_utils.pickles.machine import InertTensor, Name, Record

MAX_DEPTH = 16  # of containers in containers; ours have 5, EG3D's 8
MAX_TEXT = 100  # characters of a value or name; a file may hold anything
LONGEST_LIST = 12  # plain values that are shown of a list
PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"  # EG3D's classes, which bring their source text
MODULE_PARTS = ("_parameters", "_buffers", "_modules")  # of a torch module's attributes


@dataclass
class Totals:
    """Counted while lines are made; `look` bytes of values may still be looked at."""

    look: int
    tensors: int = 0
    values: int = 0
    bytes: int = 0
    nan: int = 0
    infinite: int = 0
    dtypes: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.most_common())
        return (
            f"total: {self.tensors} tensors ({kinds or 'none'}), {self.values:,} values, {self.bytes:,} bytes, "
            f"{self.nan:,} NaN, {self.infinite:,} infinite"
        )


def report(payload: dict[str, Any], look: int) -> Iterator[str]:
    """The lines of a checkpoint's payload. Containers that come again (or hold themselves) are shown once.

    Args:
        payload: plain values, containers, tensors, and what `inert_pickle.read` makes of other objects.
        look: bytes of tensors of which NaN and infinities are counted; those of tensors behind are not.

    Raises:
        one of `inert_pickle.FAULTS`: an inert tensor's file is damaged.
    """
    totals = Totals(look)
    yield from _tree(payload, "", totals, set())
    yield str(totals)


def _tree(node: dict | list | tuple | Record, indent: str, totals: Totals, seen: set[int]) -> Iterator[str]:
    seen.add(id(node))
    for key, value in _entries(node):
        name = indent + text(key)
        if isinstance(value, (torch.Tensor, InertTensor)):
            yield f"{name}  {_tensor(value, totals)}"
        elif not isinstance(value, (dict, list, tuple, Record)):
            yield f"{name}: {text(value)}"
        elif isinstance(value, (list, tuple)) and all(_is_number_or_text(item) for item in value):
            yield f"{name}: {_list(value)}"
        elif not isinstance(value, Record) and not value:
            yield f"{name}: empty"
        elif id(value) in seen or len(indent) > 2 * MAX_DEPTH:
            yield f"{name}: not shown {'again' if id(value) in seen else 'so deep down'}"
        else:
            yield f"{name}{_summary(value)}"
            yield from _tree(value, indent + "  ", totals, seen)


def _entries(node: dict | list | tuple | Record) -> list[tuple[Any, Any]]:
    """What is in a container; in a module's record, its parameters, buffers and modules in place of these three."""
    if isinstance(node, dict):
        return list(node.items())
    if not isinstance(node, Record):
        return list(enumerate(node))
    state = _state(node)
    if not isinstance(state, dict):
        parts = {"arguments": node.arguments, "state": state, "items": node.items, "entries": node.entries}
        return [(key, value) for key, value in parts.items() if value not in (None, (), [], {})]
    found: list[tuple[Any, Any]] = []
    for key, value in [*state.items(), *node.entries.items()]:
        inside = value.entries if isinstance(value, Record) else value
        found += inside.items() if key in MODULE_PARTS and isinstance(inside, dict) else [(key, value)]
    return found


def _meta(record: Record) -> dict[Any, Any]:
    """How EG3D describes an object of a persistent class; {} for any other record."""
    if record.name == PERSISTENT and isinstance(record.arguments, tuple) and len(record.arguments) == 1:
        meta = record.arguments[0]
        meta = meta.entries if isinstance(meta, Record) else meta
        return meta if isinstance(meta, dict) else {}
    return {}


def _state(record: Record) -> Any:
    return _meta(record).get("state", record.state)


def _is_number_or_text(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _list(values: list | tuple) -> str:
    shown = ", ".join(text(value) for value in values[:LONGEST_LIST])
    return f"[{shown}, ... {len(values):,} in all]" if len(values) > LONGEST_LIST else f"[{shown}]"


def _summary(node: dict | list | tuple | Record) -> str:
    """Of a record, what it would be; of the tensors that are right in a container: `: 61 tensors, 12,345 values`."""
    if isinstance(node, Record):
        source = _meta(node).get("module_src")
        if isinstance(source, str):
            return f": class {text(_meta(node).get('class_name'))}, source text of {len(source):,} characters"
        return f": {text(node.name)}, not called"
    tensors = [
        value
        for value in (node.values() if isinstance(node, dict) else node)
        if isinstance(value, (torch.Tensor, InertTensor))
    ]
    if not tensors:
        return ":"
    sizes = [_size(tensor) for tensor in tensors]
    return f": {len(tensors)} tensors, {sum(n for n, _ in sizes):,} values, {sum(n for _, n in sizes):,} bytes"


def _size(tensor: torch.Tensor | InertTensor) -> tuple[int, int]:
    """Numbers and bytes."""
    if isinstance(tensor, InertTensor):
        return tensor.nbytes // tensor.dtype.itemsize, tensor.nbytes
    return tensor.numel(), tensor.numel() * tensor.element_size()


def _tensor(tensor: torch.Tensor | InertTensor, totals: Totals) -> str:
    """`float32 [512, 3]  6,144 bytes`, and what is not finite."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    count, size = _size(tensor)
    totals.tensors += 1
    totals.values += count
    totals.bytes += size
    totals.dtypes[dtype] += 1
    said = f"{dtype} {list(tensor.shape)}  {size:,} bytes"
    if size > totals.look:
        return f"{said}, values not looked at"
    totals.look -= size
    tensor = tensor.tensor() if isinstance(tensor, InertTensor) else tensor
    if not is_plain(tensor):
        return f"{said}, values not looked at"
    nan, infinite = non_finite(tensor)
    totals.nan += nan
    totals.infinite += infinite
    return said + (f", {nan:,} NaN" if nan else "") + (f", {infinite:,} infinite" if infinite else "")


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether every value of a tensor lies in memory once: not sparse, quantised or a small storage seen as a large."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and not tensor.is_quantized
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def non_finite(tensor: torch.Tensor) -> tuple[int, int]:
    """Number of NaNs and of infinities."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0, 0
    if tensor.element_size() == 1:  # 8-bit floats know few operations
        tensor = tensor.float()
    return int(tensor.isnan().sum()), int(tensor.isinf().sum())


def text(value: Any) -> str:
    """A value in one line of printable characters, cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * MAX_TEXT:
        return f"a whole number of {value.bit_length():,} bits"
    if isinstance(value, Name):
        return f"the name {text(value.text)}"
    if isinstance(value, (dict, list, tuple, set, Record)):  # whose repr may be endless
        return f"a {type(value).__name__.lower()}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    shown = value if isinstance(value, str) else repr(value)
    shown = shown[:MAX_TEXT] + (f"... ({len(shown):,} characters)" if len(shown) > MAX_TEXT else "")
    return shown if shown.isprintable() else ascii(shown)
