"""What is inside a checkpoint, in lines: a tree of its values and tensors, and their totals."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import torch

from torch_utils.pickles.dtypes import dtype_name
from torch_utils.pickles.machine import InertTensor, Name, Record
from torch_utils.pickles.reader import non_finite

MAX_DEPTH = 16  # of containers in containers; checkpoints have up to 8
MAX_TEXT = 100  # characters of a value or name; a file may hold anything
LONGEST_LIST = 12  # plain values that are shown of a list
MODULE_PARTS = ("_parameters", "_buffers", "_modules")  # of a torch module's attributes

Container = dict | list | tuple | Record
Tensor = torch.Tensor | InertTensor
Describe = Callable[[Record], tuple[str, Any]]


def uncalled(record: Record) -> tuple[str, Any]:
    """Return the heading and the state of a call that was not made."""
    return f"{as_text(record.name)}, not called", record.state


def report(content: dict[str, Any], budget: int, describe: Describe = uncalled) -> Iterator[str]:
    """Yield the lines of a checkpoint's content. Containers that come again (or hold themselves) are shown once.

    Args:
        content: plain values, containers, tensors, and what `reader.read` makes of other objects.
        budget: bytes of tensors in which NaN and infinities are counted; those that come behind are not looked at.
        describe: returns the heading and the state of a record.

    Raises:
        one of `dnnlib.files.FAULTS`: an inert tensor's file is damaged.
    """
    tree = _Tree(budget, describe)
    yield from tree.lines(content, "")
    yield tree.totals()


class _Tree:
    """The lines under a container; what they show is counted on the way."""

    def __init__(self, budget: int, describe: Describe):
        self.budget = budget
        self.describe = describe
        self.visited: set[int] = set()  # ids of containers
        self.tensors = 0
        self.values = 0
        self.bytes = 0
        self.nan = 0
        self.infinite = 0
        self.dtypes: Counter[str] = Counter()

    def totals(self) -> str:
        """Return the last line."""
        dtypes = [f"{count} {dtype}" for dtype, count in self.dtypes.most_common()]
        kinds = ", ".join(dtypes) or "none"
        return (
            f"total: {self.tensors} tensors ({kinds}), "
            f"{self.values:,} values, {self.bytes:,} bytes, "
            f"{self.nan:,} NaN, {self.infinite:,} infinite"
        )

    def lines(self, node: Container, indent: str) -> Iterator[str]:
        """Yield a line for each entry of a container, and the lines of the containers in it."""
        self.visited.add(id(node))
        for key, value in self.entries(node):
            name = indent + as_text(key)
            if _is_tensor(value):
                yield f"{name}  {self.tensor(value)}"
            elif not isinstance(value, Container):
                yield f"{name}: {as_text(value)}"
            elif _is_plain_list(value):
                yield f"{name}: {_row(value)}"
            elif value == {}:
                yield f"{name}: empty"
            elif id(value) in self.visited:
                yield f"{name}: not shown again"
            elif len(indent) > 2 * MAX_DEPTH:
                yield f"{name}: not shown so deep down"
            else:
                yield f"{name}:{self.summary(value)}"
                yield from self.lines(value, indent + "  ")

    def entries(self, node: Container) -> list[tuple[Any, Any]]:
        """Return what is in a container; of a module, its parameters, buffers and modules in place of these three."""
        if isinstance(node, dict):
            return list(node.items())
        if not isinstance(node, Record):
            return list(enumerate(node))
        _, state = self.describe(node)
        if not isinstance(state, dict):
            parts = [
                ("arguments", node.arguments),
                ("state", state),
                ("items", node.items),
                ("entries", node.entries),
            ]
            return [part for part in parts if part[1] not in (None, (), [], {})]
        found: list[tuple[Any, Any]] = []
        for key, value in [*state.items(), *node.entries.items()]:
            inside = value.entries if isinstance(value, Record) else value
            if key in MODULE_PARTS and isinstance(inside, dict):
                found += inside.items()
            else:
                found.append((key, value))
        return found

    def summary(self, node: Container) -> str:
        """Return a record's heading; for other containers, how much is right in them: ` 61 tensors, 12,345 values`."""
        if isinstance(node, Record):
            heading, _ = self.describe(node)
            return f" {heading}"
        items = node.values() if isinstance(node, dict) else node
        tensors = [item for item in items if _is_tensor(item)]
        if not tensors:
            return ""
        number = len(tensors)
        values = sum(_count(tensor) for tensor in tensors)
        size = sum(_nbytes(tensor) for tensor in tensors)
        return f" {number} tensors, {values:,} values, {size:,} bytes"

    def tensor(self, tensor: Tensor) -> str:
        """Return a tensor's line, `float32 [512, 3]  6,144 bytes` and what is not finite, and count it."""
        dtype = dtype_name(tensor.dtype)
        size = _nbytes(tensor)
        self.tensors += 1
        self.values += _count(tensor)
        self.bytes += size
        self.dtypes[dtype] += 1
        shape = list(tensor.shape)
        line = f"{dtype} {shape}  {size:,} bytes"
        if size > self.budget:
            return f"{line}, values not looked at"
        self.budget -= size
        numbers = tensor.tensor() if isinstance(tensor, InertTensor) else tensor
        if not _is_plain(numbers):
            return f"{line}, values not looked at"
        nan, infinite = non_finite(numbers)
        self.nan += nan
        self.infinite += infinite
        if nan:
            line += f", {nan:,} NaN"
        if infinite:
            line += f", {infinite:,} infinite"
        return line


def _is_tensor(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor)


def _count(tensor: Tensor) -> int:
    """Return how many numbers a tensor has."""
    return _nbytes(tensor) // tensor.dtype.itemsize


def _nbytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's numbers, of which a sparse one has fewer in memory."""
    if isinstance(tensor, InertTensor):
        return tensor.nbytes
    return tensor.numel() * tensor.element_size()


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether every value of a tensor lies in memory once: not sparse, quantised or a small storage seen as a large."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout != torch.strided:
        return False
    if tensor.is_meta or tensor.is_quantized:
        return False
    storage = tensor.untyped_storage()
    return _nbytes(tensor) <= storage.nbytes()


# --- Single values ----------------------------------------------------------------------------------------------------


def _is_plain_list(value: Container) -> TypeGuard[list | tuple]:
    """Whether this is a list of numbers and texts."""
    if not isinstance(value, (list, tuple)):
        return False
    plain = (type(None), bool, int, float, str)
    return all(isinstance(item, plain) for item in value)


def _row(values: list | tuple) -> str:
    """Return the first values of a list in one line."""
    first = [as_text(value) for value in values[:LONGEST_LIST]]
    row = ", ".join(first)
    if len(values) > LONGEST_LIST:
        row += f", ... {len(values):,} in all"
    return f"[{row}]"


def as_text(value: Any) -> str:
    """Return a value in one line of printable characters, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 4 * MAX_TEXT:
        return f"a whole number of {value.bit_length():,} bits"
    if isinstance(value, Name):
        return f"the name {as_text(value.text)}"
    if isinstance(value, (dict, list, tuple, set, Record)):  # whose repr may be endless
        return f"a {type(value).__name__.lower()}"
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    whole = value if isinstance(value, str) else repr(value)
    line = whole[:MAX_TEXT]
    if len(whole) > MAX_TEXT:
        line += f"... ({len(whole):,} characters)"
    return line if line.isprintable() else ascii(line)
