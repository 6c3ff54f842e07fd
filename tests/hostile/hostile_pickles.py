"""Hostile pickles in the containers that checkpoints are: what any reader of checkpoints may meet."""

import io
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.hostile.outcomes import SHOWN, UNREADABLE, Case, CheckpointOutcome
from tests.hostile.pickle_makers import (
    Call,
    Content,
    file_of,
    file_with_mark,
    in_legacy,
    in_zip,
    newest_pickled,
    pickled,
    storage,
    tensor,
    torch_zip,
    touch,
)
from tests.hostile.zip_makers import raw_zip

HUGE = 2**60

# --- Calls: of what, a function of the file that the call makes, what is expected ------------------------------------


def touch_in_python(mark: Path) -> str:
    """Return a line of Python that makes the file `mark`."""
    return f"open({str(mark)!r}, 'w').close()"


def pickled_touch(mark: Path) -> bytes:
    """Return a pickle that makes the file `mark`."""
    return pickle.dumps(touch(mark))


rebuild_from_type = torch._tensor._rebuild_from_type_v2
load_storage = torch.storage._load_from_bytes

CALLS: list[tuple[str, Callable[[Path], Any], CheckpointOutcome]] = [
    ("os.system", touch, UNREADABLE),
    ("eval", lambda mark: Call(eval, touch_in_python(mark)), UNREADABLE),
    ("exec", lambda mark: Call(exec, touch_in_python(mark)), UNREADABLE),
    ("open", lambda mark: Call(open, str(mark), "w"), UNREADABLE),
    ("getattr", lambda mark: Call(Call(getattr, Call(__import__, "os"), "system"), f"touch {mark}"), UNREADABLE),
    ("subprocess", lambda mark: Call(subprocess.Popen, ["touch", str(mark)]), UNREADABLE),
    ("pickle in a pickle", lambda mark: Call(pickle.loads, pickled_touch(mark)), UNREADABLE),
    ("torch.load", lambda mark: Call(torch.load, Call(io.BytesIO, pickled_touch(mark))), UNREADABLE),
    ("torch storage bytes", lambda mark: Call(load_storage, pickled_touch(mark)), UNREADABLE),
    ("from a type", lambda mark: Call(rebuild_from_type, exec, dict, (touch_in_python(mark),), {}), UNREADABLE),
    ("as a state", lambda mark: Call(io.BytesIO, more=(touch(mark),)), UNREADABLE),
    ("as items", lambda mark: Call(list, more=(None, iter([touch(mark)]))), UNREADABLE),
    ("as entries", lambda mark: Call(dict, more=(None, None, iter([("a", touch(mark))]))), UNREADABLE),
    ("as a state setter", lambda mark: Call(str, touch_in_python(mark), more=({}, None, None, exec)), UNREADABLE),
    ("as a key", lambda mark: {touch(mark): 1}, UNREADABLE),
    ("nested reducers", lambda mark: Call(list, Call(map, exec, Call(list, [touch_in_python(mark)]))), UNREADABLE),
]
# The containers that every call comes in, and those that only some come in.
CONTAINERS = {"pickle": pickled, "newest pickle": newest_pickled, "zip": in_zip, "legacy": in_legacy}
WHOLLY_TRIED = ("pickle", "zip")
TRIED_EVERYWHERE = ("os.system", "torch.load")


def in_container(call: Callable[[Path], Any], container: Callable[[Any], bytes]) -> Callable[[Path], bytes]:
    """Return the function of the mark that gives the file's content."""
    return lambda mark: container(call(mark))


def call_cases() -> list[Case]:
    """Return the calls in their containers."""
    return [
        Case(f"{kind}: {name}", file_with_mark(in_container(call, container)), expected)
        for kind, container in CONTAINERS.items()
        for name, call, expected in CALLS
        if kind in WHOLLY_TRIED or name in TRIED_EVERYWHERE
    ]


# --- Instructions: name, the pickle's text (TOUCH: a shell's command that makes the mark), what is expected -----------

INSTRUCTIONS = [
    ("inst", "(S'TOUCH'\nios\nsystem\n.", UNREADABLE),
    ("obj", "(cos\nsystem\nS'TOUCH'\no.", UNREADABLE),
    ("old global", "cos\nsystem\n(S'TOUCH'\ntR.", UNREADABLE),
    ("text reference", "Pos.system\n.", UNREADABLE),
    ("build of a class", "cio\nBytesIO\n)R}S'__setstate__'\ncos\nsystem\nsbS'TOUCH'\nb.", UNREADABLE),
    ("registry 1", "\x80\x02\x82\x01)R.", UNREADABLE),
    ("registry 2", "\x80\x02\x83\x01\x01)R.", UNREADABLE),
    ("registry 4", "\x80\x02\x84\x01\x00\x00\x00)R.", UNREADABLE),
    ("odd reference", "\x80\x02K\x01Q.", UNREADABLE),
    ("reference to itself", "\x80\x02]q\x00h\x00aQ.", UNREADABLE),
    ("buffer", "\x80\x05\x97\x98.", UNREADABLE),
    ("dotted name", "\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x011\x85R.", UNREADABLE),
]


def with_touch(text: str) -> Callable[[Path], bytes]:
    """Return the function of the mark that gives the pickle."""
    return lambda mark: text.replace("TOUCH", f"touch {mark}").encode("latin1")


# --- Bombs: name, the pickle's text, what is expected ----------------------------------------------------------------

U64 = struct.pack("<Q", HUGE).decode("latin1")
BOMBS = [
    ("deep lists", "]" * 50_000 + "a" * 49_999 + ".", UNREADABLE),
    ("deep tuples as a key", "})" + "\x85" * 50_000 + "K\x01s.", UNREADABLE),
    ("tuples that double, as a key", "})" + "2\x86" * 100 + "K\x01s.", UNREADABLE),
    ("laughs", "]" + "2\x86" * 200 + ".", UNREADABLE),
    ("lists of ten", "]q\x000" + ("](" + "h\x00" * 10 + "eq\x000") * 40 + "h\x00.", UNREADABLE),
    ("far memo", "Nr\xff\xff\xff\x7f.", UNREADABLE),
    ("a list in itself", "]q\x00h\x00a.", UNREADABLE),
    ("a dictionary in itself", "}q\x00K\x01h\x00s.", UNREADABLE),
    ("marks", "(" * 300_000 + ".", UNREADABLE),
    ("dictionaries", "(" + "}" * 1_000_000 + "l.", UNREADABLE),
    ("calls", "cos\nsystem\nq\x00(" + "h\x00)R" * 300_000 + "l.", UNREADABLE),
    ("whole number", "\x8b\xff\xff\xff\x7fx.", UNREADABLE),
    ("text", "\x8d" + U64 + "x.", UNREADABLE),
    ("bytes", "\x8e" + U64 + "x.", UNREADABLE),
    ("array of bytes", "\x96" + U64 + "x.", UNREADABLE),
    ("frame", "\x95" + U64 + "N.", UNREADABLE),
    ("digits", "I" + "9" * 1_000_000 + "\n.", UNREADABLE),
    ("never ends", "N" * 2_000_000, UNREADABLE),
]
SLOW_BOMBS = ("calls", "marks", "dictionaries", "never ends")  # take a second to refuse


def bomb_pickle(text: str) -> bytes:
    """Return a pickle of protocol 4."""
    return b"\x80\x04" + text.encode("latin1")


def bomb_cases() -> list[Case]:
    """Return the bombs as they are, and the quick ones in a zip."""

    def plain(text: str) -> Content:
        return lambda: bomb_pickle(text)

    def zipped(text: str) -> Content:
        return lambda: raw_zip(torch_zip(bomb_pickle(text)))

    quick = [row for row in BOMBS if row[0] not in SLOW_BOMBS]
    return [
        *(Case(f"bomb: {name}", file_of(plain(text)), expected) for name, text, expected in BOMBS),
        *(Case(f"zipped bomb: {name}", file_of(zipped(text)), expected) for name, text, expected in quick),
    ]


# --- Tensors: name, the weights of a snapshot, what is expected ------------------------------------------------------


def untyped() -> Call:
    """Return a tensor larger than its storage, whose type is not the storage's."""
    numbers = storage(torch.UntypedStorage, 16)
    return Call(torch._utils._rebuild_tensor_v3, numbers, 0, (HUGE,), (1,), False, {}, torch.uint16)


def sparse() -> Call:
    """Return a sparse tensor of 2^120 numbers."""
    size = (HUGE, HUGE)
    return Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, (tensor(), tensor(), size, False))


def meta() -> Call:
    """Return a tensor of 2^60 numbers that has none."""
    return Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (HUGE,), (1,), False)


def quantised() -> Call:
    """Return a quantised tensor larger than its storage."""
    scale = (torch.per_tensor_affine, 1.0, 0)
    return Call(torch._utils._rebuild_qtensor, storage(), 0, (HUGE,), (1,), scale, False, {})


def wrapped() -> Call:
    """Return a tensor of a wrapper's class, of 2^60 numbers."""
    about = (torch.float32, (HUGE,), (1,), 0, torch.strided, "cpu", False)
    return Call(torch._utils._rebuild_wrapper_subclass, torch.Tensor, *about)


def views() -> dict[str, Call]:
    """Return 3000 tensors that are the same four megabytes."""
    return {str(number): tensor(shape=(2**20,), of=storage(count=2**20, key="1")) for number in range(3000)}


TENSORS = [
    ("numel", tensor(shape=(HUGE,)), UNREADABLE),
    ("storage", tensor(shape=(2**40,), of=storage(count=2**40)), UNREADABLE),
    ("negative shape", tensor(shape=(-4,)), UNREADABLE),
    ("negative stride", tensor(3, stride=(-1,)), UNREADABLE),
    ("negative offset", tensor(-1), UNREADABLE),
    ("outside", tensor(4), UNREADABLE),
    ("far stride", tensor(stride=(HUGE,)), UNREADABLE),
    ("spread", tensor(shape=(2**33,), stride=(0,)), UNREADABLE),
    ("real shape", tensor(shape=(4.0,)), UNREADABLE),
    ("many dimensions", tensor(shape=(1,) * 100, stride=(1,) * 100), UNREADABLE),
    ("negative storage", tensor(of=storage(count=-4)), UNREADABLE),
    ("storage of no type", tensor(of=storage(kind=os.system)), UNREADABLE),
    ("storage of no name", tensor(of=storage(key=["0"])), UNREADABLE),
    ("missing storage", tensor(of=storage(key="7")), UNREADABLE),
    ("storage outside", tensor(of=storage(key="../../../../etc/passwd")), UNREADABLE),
    ("two types of one storage", [tensor(), tensor(of=storage(torch.IntStorage))], UNREADABLE),
    ("untyped", untyped(), UNREADABLE),
    ("bytearray", Call(bytearray, 2**33), UNREADABLE),
    ("large tensor", Call(torch.Tensor, 2**33), UNREADABLE),
    ("sparse", sparse(), UNREADABLE),
    ("meta", meta(), UNREADABLE),
    ("quantised", quantised(), UNREADABLE),
    ("wrapped", wrapped(), UNREADABLE),
    ("views", views(), UNREADABLE),
]


def as_weights(value: Any) -> Content:
    """Return the content of a snapshot with these weights and two storages."""
    return lambda: in_zip({"weights": value}, {"0": bytes(16), "1": bytes(2**22)})


# --- Values: name, the progress of a snapshot, what is expected ------------------------------------------------------


def list_in_itself() -> list:
    """Return a list that holds itself."""
    loop: list = []
    loop.append(loop)
    return loop


def laughs() -> list:
    """Return lists that are shared so that there are 10^60 leaves."""
    nested: list = []
    for _ in range(60):
        nested = [nested] * 10
    return nested


VALUES = [
    ("loop", list_in_itself(), UNREADABLE),
    ("laughs", laughs(), UNREADABLE),
    ("text that comes again", ["x" * 2**20] * 10_000, UNREADABLE),
    ("set", {1, 2}, UNREADABLE),
    ("bytes", b"x", UNREADABLE),
    ("complex", 1j, UNREADABLE),
    ("name", os.system, UNREADABLE),
    ("dtype", torch.float32, UNREADABLE),
    ("key", {(1, 2): 3}, UNREADABLE),
    ("whole number", 1 << 100_000, SHOWN),
    ("nan", float("nan"), SHOWN),
]


def as_progress(value: Any) -> Content:
    """Return the content of a snapshot with this progress."""
    return lambda: in_zip({"progress": value})


# --- All -------------------------------------------------------------------------------------------------------------

CASES = [
    *call_cases(),
    *(
        Case(f"instruction: {name}", file_with_mark(with_touch(text)), expected)
        for name, text, expected in INSTRUCTIONS
    ),
    *bomb_cases(),
    *(Case(f"tensor: {name}", file_of(as_weights(value)), expected) for name, value, expected in TENSORS),
    *(Case(f"value: {name}", file_of(as_progress(value)), expected) for name, value, expected in VALUES),
]
SLOW = {f"bomb: {name}" for name in SLOW_BOMBS}
