"""The stack machine that runs a pickle without calling anything, and what it makes.

It knows a pickle's instructions, but a global name stays a name, and what a real unpickler would call with it becomes a
`Record` of the name and its arguments. Only ordered dictionaries, tensors and storages are understood, and made here.
Nothing recurses, and every instruction costs a step of a limited number.
"""

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

MAX_STEPS = 2**19  # instructions of a pickle and items it copies; large checkpoints need about 2 ** 17
MAX_DIMENSIONS = 16
KEY_TYPES = (str, int, float, bool, bytes, type(None))
# Types that torch.save writes as bytes; releases differ in which they have.
LATER_DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
}
VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
LITERALS = frozenset(
    name + size
    for name, sizes in {
        "INT": [""],
        "BININT": ["", "1", "2"],
        "LONG": ["", "1", "4"],
        "FLOAT": [""],
        "BINFLOAT": [""],
        "STRING": [""],
        "BINSTRING": [""],
        "SHORT_BINSTRING": [""],
        "BINBYTES": ["", "8"],
        "SHORT_BINBYTES": [""],
        "BYTEARRAY8": [""],
        "UNICODE": [""],
        "BINUNICODE": ["", "8"],
        "SHORT_BINUNICODE": [""],
    }.items()
    for size in sizes
)


class Malformed(ValueError):
    """A pickle says something that no checkpoint needs."""


@dataclass(frozen=True, slots=True)
class Name:
    """A global name of the file, such as `os.system`: never looked up."""

    text: str


@dataclass(eq=False, slots=True)
class Record:
    """What the file would have had called: the name, its arguments, and what was to be done to the result."""

    name: str
    arguments: Any = ()
    state: Any = None
    items: list = field(default_factory=list)
    entries: dict = field(default_factory=dict)


@dataclass(eq=False)
class Storage:
    """Numbers of a file, `count` of one type; `read` gives their bytes."""

    dtype: torch.dtype
    count: int
    read: Callable[[], bytes]

    @cached_property
    def values(self) -> torch.Tensor:
        """The numbers [count]. Raises one of FAULTS: the file has other bytes than it says."""
        data = self.read()
        if len(data) != self.count * self.dtype.itemsize:
            raise Malformed(f"a storage of {len(data)} bytes in place of {self.count} numbers")
        return torch.frombuffer(bytearray(data), dtype=self.dtype) if data else torch.empty(0, dtype=self.dtype)


@dataclass(eq=False, frozen=True, slots=True)
class InertTensor:
    """A tensor of the file: known by shape and type, read on demand. It lies inside its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of its numbers."""
        return self.storage.dtype

    @property
    def nbytes(self) -> int:
        """Of its numbers, as they are in memory if they are by themselves."""
        return math.prod(self.shape) * self.dtype.itemsize

    def tensor(self) -> torch.Tensor:
        """The tensor [*shape], a view of its storage. Raises one of FAULTS: the file is damaged."""
        return torch.as_strided(self.storage.values, self.shape, self.stride, self.offset)


def is_whole(number: Any) -> bool:
    """Whether this is an int from 0 on, of a size that arithmetic on sizes is safe with."""
    return type(number) is int and 0 <= number < 2**62


def refuse(what: Any) -> Storage:
    """For a Machine whose pickle must not refer to storages."""
    raise Malformed("a storage where there can be none")


class Machine:
    """Runs one pickle's instructions.

    Args:
        refer: gives the storage of a persistent reference.
        unpack: gives the storage whose file of torch.save is among the pickle's values.
    """

    def __init__(self, refer: Callable[[Any], Storage] = refuse, unpack: Callable[[bytes], Storage] = refuse):
        self.refer, self.unpack = refer, unpack
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # what was on the stack before each open mark
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self, stream: Any) -> Any:
        """The pickle's value; the stream then stands behind it. Raises Malformed, or MemoryError."""
        try:
            return self._run(stream)
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            ArithmeticError,
            RuntimeError,
            EOFError,
            struct.error,
        ) as error:
            raise Malformed(str(error) or type(error).__name__) from error

    def _run(self, stream: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            self.spend(1)
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name in LITERALS:
                self.stack.append(argument)
            elif opcode.name in VALUES:
                self.stack.append(VALUES[opcode.name])
            elif opcode.name in EMPTY:
                self.stack.append(EMPTY[opcode.name]())
            else:
                self.step(opcode.name, argument)
        raise Malformed("it ends too early")

    def step(self, name: str, argument: Any) -> None:
        """One instruction on what is there."""
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "DUP":
                self.stack.append(self.stack[-1])
            case "POP" if self.stack:
                self.stack.pop()
            case "POP" | "POP_MARK":
                self.marked()
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(self.take(int(name[-1])))
            case "TUPLE" | "LIST" | "FROZENSET" | "DICT":
                self.collect(name, self.marked())
            case "APPEND" | "SETITEM":
                self.fill(name, list(self.take(1 if name == "APPEND" else 2)))
            case "APPENDS" | "ADDITEMS" | "SETITEMS":
                self.fill(name, self.marked())
            case "BINPERSID":
                self.stack.append(self.refer(self.stack.pop()))
            case "BUILD":
                self.build(*self.take(1))
            case _:
                self.stack.append(self.make(name, argument))

    def make(self, name: str, argument: Any) -> Any:
        """A global name, or what would be made by calling one."""
        match name:
            case "GLOBAL":
                return _name(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                return _name(*self.take(2))
            case "REDUCE" | "NEWOBJ":
                return self.call(*self.take(2))
            case "NEWOBJ_EX":
                function, arguments, named = self.take(3)
                return self.call(function, (arguments, named))
            case "OBJ":
                function, *arguments = self.marked()
                return self.call(function, tuple(arguments))
            case "INST":
                return self.call(_name(*argument.split(" ", 1)), tuple(self.marked()))
        raise Malformed(f"the instruction {name}")

    def spend(self, steps: int) -> None:
        """Counts what is done, up to a limit."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise Malformed("it is too long")

    def marked(self) -> list[Any]:
        """Takes what is above the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def take(self, count: int) -> tuple[Any, ...]:
        """Takes the topmost values."""
        if len(self.stack) < count:
            raise Malformed("it takes what is not there")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def collect(self, kind: str, items: list[Any]) -> None:
        """Makes a container of what was above the mark."""
        if kind == "DICT":
            self.stack.append({})
            self.fill("SETITEMS", items)
        else:
            self.stack.append(tuple(items) if kind == "TUPLE" else items)

    def fill(self, kind: str, items: list[Any]) -> None:
        """Adds to the container on top of the stack, or to what stands for one."""
        target = self.stack[-1]
        if kind.startswith("SETITEM"):
            entries = target.entries if type(target) is Record else target
            if type(entries) is not dict or len(items) % 2:
                raise Malformed("entries for what is no dictionary")
            entries.update((_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))
        else:
            values = target.items if type(target) is Record else target
            if type(values) is not list:
                raise Malformed("items for what is no list")
            values.extend(items)

    def build(self, state: Any) -> None:
        """Notes the state of the record on top of the stack; attributes of a dictionary are dropped."""
        target = self.stack[-1]
        if type(target) is Record:
            target.state = state
        elif type(target) is not dict:
            raise Malformed("a state for what has none")

    def call(self, function: Any, arguments: Any) -> Any:
        """What stands for the result of a call."""
        if type(function) is not Name or type(arguments) is not tuple:
            raise Malformed("a call of what is no name")
        match function.text, arguments:
            case "collections.OrderedDict", ():
                return {}
            case "collections.OrderedDict", ([*pairs],):
                self.spend(len(pairs))
                return {_key(key): value for key, value in pairs}
            case "torch._utils._rebuild_tensor_v2", (storage, offset, shape, stride, *_):
                return _tensor(storage, offset, shape, stride)
            case "torch._utils._rebuild_tensor_v3", (storage, offset, shape, stride, _, _, dtype, *_):
                return _tensor(_retyped(storage, dtype), offset, shape, stride)
            case "torch._utils._rebuild_parameter", (InertTensor() as tensor, *_):
                return tensor
            case "torch.Size", (sizes,):
                return sizes
            case "torch.storage._load_from_bytes", (bytes() as data,):
                return self.unpack(data)
        return Record(function.text, arguments)


def _name(module: Any, name: Any) -> Name:
    if type(module) is not str or type(name) is not str:
        raise Malformed("a name that is no text")
    return Name(f"{module}.{name}")


def _key(key: Any) -> Any:
    """A key whose hash costs nothing: others, such as nested tuples, may take for ever."""
    return key if type(key) in KEY_TYPES else Record("key", (key,))


def _retyped(storage: Any, kind: Any) -> Storage:
    """The bytes of a storage without a type, as numbers of a type that has no storage of its own."""
    dtype = LATER_DTYPES.get(kind.text) if type(kind) is Name else None
    if type(storage) is not Storage or storage.dtype is not torch.uint8 or dtype is None:
        raise Malformed("numbers of an unknown type")
    if storage.count % dtype.itemsize:
        raise Malformed("a part of a number")
    return Storage(dtype, storage.count // dtype.itemsize, storage.read)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> InertTensor:
    """Raises Malformed unless the tensor lies inside its storage and is no larger."""
    if type(storage) is not Storage or not is_whole(offset) or type(shape) not in (tuple, list):
        raise Malformed("a tensor without a storage, an offset or a shape")
    if type(stride) not in (tuple, list) or len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise Malformed("a tensor whose strides do not fit its shape")
    if not all(map(is_whole, (*shape, *stride))):
        raise Malformed("a tensor whose sizes or strides are no whole numbers")
    size = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if size else offset - 1
    if last >= storage.count or size > storage.count:
        raise Malformed(f"a tensor of {size} numbers, the last at {last}, in a storage of {storage.count}")
    return InertTensor(storage, offset, tuple(shape), tuple(stride))
