"""The stack machine that runs a pickle without calling anything, and the values that it makes.

It knows a pickle's instructions, but a global name stays a name, and what a real unpickler would call with it becomes a
`Record` of the name and its arguments. Only ordered dictionaries, tensors and storages are understood, and made here.
Nothing recurses, and every instruction costs a step of a limited number.
"""

import math
import pickletools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from torch_utils.pickles.dtypes import BY_TENSOR

MAX_STEPS = 2**19  # instructions of a pickle and items it copies; large checkpoints need about 2 ** 17
MAX_DIMENSIONS = 16
KEY_TYPES = (str, int, float, bool, bytes, type(None))
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "EMPTY_SET": list}
# Instructions that push their argument as it is: numbers, texts and bytes.
LITERALS = frozenset(
    [
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINUNICODE"),
        *("BINBYTES", "BINBYTES8", "SHORT_BINBYTES", "BYTEARRAY8"),
    ]
)
# What decoding an instruction, or running it on values of unexpected types, raises.
CONFUSIONS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    struct.error,
)


# --- Values of a file -------------------------------------------------------------------------------------------------


class Malformed(ValueError):
    """A file says something that no checkpoint needs."""


@dataclass(frozen=True, slots=True)
class Name:
    """A global name of the file, such as `os.system`: never looked up."""

    text: str


@dataclass(eq=False, slots=True)
class Record:
    """A call that the file asks for and that is not made: the name, its arguments, what to do to the result."""

    name: str
    arguments: Any = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


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
        if not data:
            return torch.empty(0, dtype=self.dtype)
        return torch.frombuffer(bytearray(data), dtype=self.dtype)


@dataclass(eq=False, frozen=True, slots=True)
class InertTensor:
    """A tensor of the file: known by shape and type, read on demand. It lies inside its storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """The type of its numbers."""
        return self.storage.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers in memory, if they do not share their storage."""
        return math.prod(self.shape) * self.dtype.itemsize

    def tensor(self) -> torch.Tensor:
        """Read the tensor [*shape], a view of its storage. Raises one of FAULTS: the file is damaged."""
        return torch.as_strided(self.storage.values, self.shape, self.stride, self.offset)


def is_size(number: Any) -> bool:
    """Whether this is an int from 0 on, small enough for safe arithmetic on sizes."""
    return type(number) is int and 0 <= number < 2**62


# --- The machine ------------------------------------------------------------------------------------------------------


def no_storage(reference: Any) -> Storage:
    """Refuse to find a storage, in a pickle that must not refer to any."""
    raise Malformed("a storage where there can be none")


class Machine:
    """A run of one pickle's instructions.

    Args:
        persistent_load: returns the storage of a persistent reference.
        load_from_bytes: returns the storage whose file of torch.save is among the pickle's values.
    """

    def __init__(
        self,
        persistent_load: Callable[[Any], Storage] = no_storage,
        load_from_bytes: Callable[[bytes], Storage] = no_storage,
    ):
        self.persistent_load = persistent_load
        self.load_from_bytes = load_from_bytes
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []  # what was on the stack before each open mark
        self.memo: dict[int, Any] = {}
        self.steps = 0

    def run(self, stream: Any) -> Any:
        """Return the pickle's value; the stream then stands behind it. Raises Malformed, or MemoryError."""
        try:
            return self._run(stream)
        except CONFUSIONS as error:
            raise Malformed(str(error) or type(error).__name__) from error

    def _run(self, stream: Any) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise Malformed("it is too long")
            if name == "STOP":
                return self.stack.pop()
            if name in LITERALS:
                self.push(argument)
            elif name in CONSTANTS:
                self.push(CONSTANTS[name])
            elif name in EMPTY:
                self.push(EMPTY[name]())
            else:
                self.execute(name, argument)
        raise Malformed("it ends too early")

    def execute(self, name: str, argument: Any) -> None:
        """Carry out one instruction on the stack."""
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.outer_stacks.append(self.stack)
                self.stack = []
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.push(self.memo[argument])
            case "DUP":
                self.push(self.stack[-1])
            case "POP" if self.stack:
                self.stack.pop()
            case "POP" | "POP_MARK":
                self.pop_to_mark()
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.push(self.pop(int(name[-1])))
            case "TUPLE":
                self.push(tuple(self.pop_to_mark()))
            case "LIST" | "FROZENSET":
                self.push(self.pop_to_mark())
            case "DICT":
                items = self.pop_to_mark()
                self.push({})
                self.set_entries(items)
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS" | "ADDITEMS":
                self.extend(self.pop_to_mark())
            case "SETITEM":
                self.set_entries(self.pop(2))
            case "SETITEMS":
                self.set_entries(self.pop_to_mark())
            case "BINPERSID":
                self.push(self.persistent_load(self.stack.pop()))
            case "BUILD":
                self.set_state(*self.pop(1))
            case _:
                self.push(self.make(name, argument))

    def make(self, name: str, argument: Any) -> Any:
        """Return a global name, or what stands for the result of calling one."""
        match name:
            case "GLOBAL":
                return _name(*argument.split(" ", 1))
            case "STACK_GLOBAL":
                return _name(*self.pop(2))
            case "REDUCE" | "NEWOBJ":
                return self.call(*self.pop(2))
            case "NEWOBJ_EX":
                function, arguments, named = self.pop(3)
                return self.call(function, (arguments, named))
            case "OBJ":
                function, *arguments = self.pop_to_mark()
                return self.call(function, tuple(arguments))
            case "INST":
                arguments = self.pop_to_mark()
                return self.call(_name(*argument.split(" ", 1)), tuple(arguments))
        raise Malformed(f"the instruction {name}")

    def push(self, value: Any) -> None:
        """Put a value on top of the stack."""
        self.stack.append(value)

    def pop_to_mark(self) -> list[Any]:
        """Take what is above the last mark off the stack, and the mark."""
        items = self.stack
        self.stack = self.outer_stacks.pop()
        return items

    def pop(self, count: int) -> tuple[Any, ...]:
        """Take the topmost values off the stack."""
        if len(self.stack) < count:
            raise Malformed("it takes what is not there")
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    def set_entries(self, items: Sequence[Any]) -> None:
        """Add keys and values, in turn, to the dictionary on top of the stack, or to the record of one."""
        target = self.stack[-1]
        entries = target.entries if type(target) is Record else target
        if type(entries) is not dict or len(items) % 2:
            raise Malformed("entries for what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            entries[_key(key)] = value

    def extend(self, items: Sequence[Any]) -> None:
        """Add items to the list on top of the stack, or to the record of one."""
        target = self.stack[-1]
        values = target.items if type(target) is Record else target
        if type(values) is not list:
            raise Malformed("items for what is no list")
        values.extend(items)

    def set_state(self, state: Any) -> None:
        """Note the state of the record on top of the stack; attributes of a dictionary are dropped."""
        target = self.stack[-1]
        if type(target) is Record:
            target.state = state
        elif type(target) is not dict:
            raise Malformed("a state for what has none")

    def call(self, function: Any, arguments: Any) -> Any:
        """Return what stands for the result of a call."""
        if type(function) is not Name or type(arguments) is not tuple:
            raise Malformed("a call of what is no name")
        match function.text, arguments:
            case "collections.OrderedDict", ():
                return {}
            case "collections.OrderedDict", ([*pairs],):
                self.steps += len(pairs)  # the next instruction finds too many
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
                return self.load_from_bytes(data)
        return Record(function.text, arguments)


# --- What it makes ----------------------------------------------------------------------------------------------------


def _name(module: Any, name: Any) -> Name:
    if type(module) is not str or type(name) is not str:
        raise Malformed("a name that is no text")
    return Name(f"{module}.{name}")


def _key(key: Any) -> Any:
    """Return a key whose hash costs nothing: hashing others, such as nested tuples, may take for ever."""
    return key if type(key) in KEY_TYPES else Record("key", (key,))


def _retyped(storage: Any, kind: Any) -> Storage:
    """Return a storage of bytes as numbers of a type that has no storage of its own."""
    dtype = BY_TENSOR.get(kind.text) if type(kind) is Name else None
    if type(storage) is not Storage or storage.dtype is not torch.uint8 or dtype is None:
        raise Malformed("numbers of an unknown type")
    if storage.count % dtype.itemsize:
        raise Malformed("a part of a number")
    return Storage(dtype, storage.count // dtype.itemsize, storage.read)


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any) -> InertTensor:
    """Return the tensor. Raises Malformed unless it lies inside its storage and is no larger."""
    if type(storage) is not Storage or not is_size(offset) or type(shape) not in (tuple, list):
        raise Malformed("a tensor without a storage, an offset or a shape")
    if type(stride) not in (tuple, list) or len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise Malformed("a tensor whose strides do not fit its shape")
    if not all(map(is_size, (*shape, *stride))):
        raise Malformed("a tensor whose sizes or strides are no whole numbers")
    size = math.prod(shape)
    last = offset - 1
    if size:
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if last >= storage.count or size > storage.count:
        raise Malformed(f"a tensor of {size} numbers, the last at {last}, in a storage of {storage.count}")
    return InertTensor(storage, offset, tuple(shape), tuple(stride))
