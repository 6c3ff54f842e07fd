"""What is inside a checkpoint, in lines: a tree of its values and tensors, and their totals."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

MAX_DEPTH = 16                           # of containers in containers; ours have 5
MAX_TEXT = 100                           # characters of a value or name; a file may hold anything
LONGEST_LIST = 12                        # plain values that are shown of a list


@dataclass
class Totals:
    """Counted while lines are made."""
    tensors: int = 0
    values: int = 0
    bytes: int = 0
    nan: int = 0
    infinite: int = 0
    dtypes: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.most_common())
        return (f"total: {self.tensors} tensors ({kinds or 'none'}), {self.values:,} values, {self.bytes:,} bytes, "
                f"{self.nan:,} NaN, {self.infinite:,} infinite")


def report(payload: dict[str, Any]) -> Iterator[str]:
    """The lines of a checkpoint's payload. Containers that come again (or hold themselves) are shown once."""
    totals = Totals()
    yield from _tree(payload, "", totals, set())
    yield str(totals)


def _tree(node: dict | list | tuple, indent: str, totals: Totals, seen: set[int]) -> Iterator[str]:
    seen.add(id(node))
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        name = indent + text(key)
        if isinstance(value, torch.Tensor):
            yield f"{name}  {_tensor(value, totals)}"
        elif not isinstance(value, (dict, list, tuple)):
            yield f"{name}: {text(value)}"
        elif isinstance(value, (list, tuple)) and all(_is_number_or_text(item) for item in value):
            yield f"{name}: {_list(value)}"
        elif not value:
            yield f"{name}: empty"
        elif id(value) in seen or len(indent) > 2 * MAX_DEPTH:
            yield f"{name}: {len(value)} entries, not shown {'again' if id(value) in seen else 'so deep down'}"
        else:
            yield f"{name}{_summary(value)}"
            yield from _tree(value, indent + "  ", totals, seen)


def _is_number_or_text(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _list(values: list | tuple) -> str:
    shown = ", ".join(text(value) for value in values[:LONGEST_LIST])
    return f"[{shown}, ... {len(values):,} in all]" if len(values) > LONGEST_LIST else f"[{shown}]"


def _summary(node: dict | list | tuple) -> str:
    """Of the tensors that are right in a container: `: 61 tensors, 12,345 values, 49,380 bytes`."""
    tensors = [value for value in (node.values() if isinstance(node, dict) else node)
               if isinstance(value, torch.Tensor)]
    if not tensors:
        return ":"
    return (f": {len(tensors)} tensors, {sum(x.numel() for x in tensors):,} values, "
            f"{sum(x.numel() * x.element_size() for x in tensors):,} bytes")


def _tensor(tensor: torch.Tensor, totals: Totals) -> str:
    """`float32 [512, 3]  6,144 bytes`, and what is not finite."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    size = tensor.numel() * tensor.element_size()
    totals.tensors += 1
    totals.values += tensor.numel()
    totals.bytes += size
    totals.dtypes[dtype] += 1
    said = f"{dtype} {list(tensor.shape)}  {size:,} bytes"
    if not is_plain(tensor):
        return f"{said}, values not looked at"
    nan, infinite = non_finite(tensor)
    totals.nan += nan
    totals.infinite += infinite
    return said + (f", {nan:,} NaN" if nan else "") + (f", {infinite:,} infinite" if infinite else "")


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether every value of a tensor lies in memory once: not sparse, quantised or a small storage seen as a large."""
    return (type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
            and tensor.device.type != "meta" and not tensor.is_quantized
            and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes())


def non_finite(tensor: torch.Tensor) -> tuple[int, int]:
    """Number of NaNs and of infinities."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0, 0
    if tensor.element_size() == 1:       # 8-bit floats know few operations
        tensor = tensor.float()
    return int(tensor.isnan().sum()), int(tensor.isinf().sum())


def text(value: Any) -> str:
    """A value in one line of printable characters, cut where it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 4 * MAX_TEXT:
        return f"a whole number of {value.bit_length():,} bits"
    shown = value if isinstance(value, str) else repr(value)
    shown = shown[:MAX_TEXT] + (f"... ({len(shown):,} characters)" if len(shown) > MAX_TEXT else "")
    return shown if shown.isprintable() else ascii(shown)
