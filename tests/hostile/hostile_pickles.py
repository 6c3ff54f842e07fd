"""Hostile pickles and containers of pickles: what any reader of checkpoints may meet. `CASES` maps a name to build.

build(root) makes the file in a folder and returns its path. What would be run makes the file root / MARK.
"""

import builtins
import io
import os
import pickle
import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

MARK = "was_run"
NAME = "hostile.pkl"
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
HUGE = 2**60


class Call:
    """Pickles to a call of any function, with a state, items, or what else a reducer may return."""

    def __init__(self, function: Any, *arguments: Any, more: tuple = ()):
        self.reduced = (function, arguments, *more)

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.reduced

    def __call__(self) -> None:
        """What is called must look as if it could be."""


class Reference(NamedTuple):
    """Pickles to a persistent reference."""

    pid: Any


class Pickler(pickle._Pickler):
    """Python's, which bears deep and odd things."""

    def persistent_id(self, value: Any) -> Any:
        return value.pid if isinstance(value, Reference) else None


def dumped(value: Any, protocol: int = 2) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol).dump(value)
    return stream.getvalue()


class Member(NamedTuple):
    """Of a zip file, which may say anything of it."""

    name: str
    data: bytes
    method: int = STORED
    size: int | None = None  # unpacked; None: as it is stored
    crc: int | None = None
    flags: int = 0


def raw_zip(members: list[Member], overlap: bool = False) -> bytes:
    """A zip file of these; `overlap`: the first one's data is that of all."""
    body, index, places = b"", b"", []
    for member in members:
        name, crc = member.name.encode(), zlib.crc32(member.data) if member.crc is None else member.crc
        size = min(len(member.data) if member.size is None else member.size, 2**32 - 2)
        about = struct.pack(
            "<HHHHHIIIHH", 20, member.flags, member.method, 0, 33, crc, len(member.data), size, len(name), 0
        )
        places.append(0 if overlap else len(body))
        if not (overlap and body):
            body += b"PK\x03\x04" + about + name + member.data
        index += b"PK\x01\x02" + struct.pack("<H", 20) + about + struct.pack("<HHHII", 0, 0, 0, 0, places[-1]) + name
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(index), len(body), 0)
    return body + index + b"PK\x05\x06" + end


def bomb(megabytes: int) -> bytes:
    """Zeros, deflated: a flushed block of 16 MiB many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (megabytes // 16) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def torch_zip(content: bytes, storages: dict[str, bytes] | None = None, **pickle_member: Any) -> list[Member]:
    """What torch.save makes of a pickle."""
    return [
        Member("archive/data.pkl", content, **pickle_member),
        Member("archive/byteorder", b"little"),
        *(Member(f"archive/data/{key}", data) for key, data in (storages or {}).items()),
        Member("archive/version", b"3\n"),
    ]


def in_zip(content: Any, storages: dict[str, bytes] | None = None) -> bytes:
    """A file of torch.save with the header of a snapshot around it."""
    header = {"format": "pv3d", "kind": "snapshot", "version": 1, "payload": content}
    return raw_zip(torch_zip(dumped(header), storages))


def in_legacy(content: Any) -> bytes:
    """A file of torch.save before 1.6."""
    stream = io.BytesIO()
    torch.save(None, stream, _use_new_zipfile_serialization=False)
    begin = stream.getvalue()[: stream.getvalue().rindex(b"\x80\x02N.")]
    return begin + dumped(content) + dumped([])


def calls(mark: Path) -> dict[str, Any]:
    """Values whose unpickling would make the file `mark`."""
    touch, code = f"touch {mark}", f'open({str(mark)!r}, "w").close()'
    return {
        "os.system": Call(os.system, touch),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "open": Call(open, str(mark), "w"),
        "getattr": Call(Call(getattr, Call(__import__, "os"), "system"), touch),
        "subprocess": Call(subprocess.Popen, ["touch", str(mark)]),
        "pickle in a pickle": Call(pickle.loads, pickle.dumps(Call(os.system, touch))),
        "torch.load": Call(torch.load, Call(io.BytesIO, pickle.dumps(Call(os.system, touch)))),
        "torch storage bytes": Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.system, touch))),
        "from a type": Call(torch._tensor._rebuild_from_type_v2, exec, dict, (code,), {}),
        "as a state": Call(io.BytesIO, more=(Call(os.system, touch),)),
        "as items": Call(list, more=(None, iter([Call(os.system, touch)]))),
        "as entries": Call(dict, more=(None, None, iter([("a", Call(os.system, touch))]))),
        "as a state setter": Call(str, code, more=({}, None, None, exec)),
        "as a key": {Call(os.system, touch): 1},
        "nested reducers": Call(list, Call(map, builtins.exec, Call(list, [code]))),
    }


def written(data: Callable[[Path], bytes] | bytes, root: Path) -> Path:
    path = root / NAME
    path.write_bytes(data if isinstance(data, bytes) else data(root / MARK))
    return path


def _calls() -> dict[str, Callable[[Path], Path]]:
    """Each of `calls` in each container."""
    found = {}
    for kind, wrap in (
        ("pickle", dumped),
        ("newest pickle", partial(dumped, protocol=5)),
        ("zip", in_zip),
        ("legacy", in_legacy),
    ):
        for name in calls(Path(MARK)):
            if kind in ("pickle", "zip") or name in ("os.system", "torch.load"):
                found[f"{kind}: {name}"] = partial(written, lambda mark, name=name, wrap=wrap: wrap(calls(mark)[name]))
    return found


def _system(mark: Path, instructions: str) -> bytes:
    return instructions.replace("TOUCH", f"touch {mark}").encode("latin1")


INSTRUCTIONS = {
    "inst": "(S'TOUCH'\nios\nsystem\n.",
    "obj": "(cos\nsystem\nS'TOUCH'\no.",
    "old global": "cos\nsystem\n(S'TOUCH'\ntR.",
    "text reference": "Pos.system\n.",
    "build of a class": "cio\nBytesIO\n)R}S'__setstate__'\ncos\nsystem\nsbS'TOUCH'\nb.",
    "registry 1": "\x80\x02\x82\x01)R.",
    "registry 2": "\x80\x02\x83\x01\x01)R.",
    "registry 4": "\x80\x02\x84\x01\x00\x00\x00)R.",
    "odd reference": "\x80\x02K\x01Q.",
    "reference to itself": "\x80\x02]q\x00h\x00aQ.",
    "buffer": "\x80\x05\x97\x98.",
    "dotted name": "\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93\x8c\x011\x85R.",
}
U64 = struct.pack("<Q", HUGE).decode("latin1")
BOMBS = {
    "deep lists": "]" * 50_000 + "a" * 49_999 + ".",
    "deep tuples as a key": "})" + "\x85" * 50_000 + "K\x01s.",
    "tuples that double, as a key": "})" + "2\x86" * 100 + "K\x01s.",
    "laughs": "]" + "2\x86" * 200 + ".",
    "lists of ten": "]q\x000" + ("](" + "h\x00" * 10 + "eq\x000") * 40 + "h\x00.",
    "far memo": "Nr\xff\xff\xff\x7f.",
    "a list in itself": "]q\x00h\x00a.",
    "a dictionary in itself": "}q\x00K\x01h\x00s.",
    "marks": "(" * 300_000 + ".",
    "dictionaries": "(" + "}" * 1_000_000 + "l.",
    "calls": "cos\nsystem\nq\x00(" + "h\x00)R" * 300_000 + "l.",
    "whole number": "\x8b\xff\xff\xff\x7fx.",
    "text": "\x8d" + U64 + "x.",
    "bytes": "\x8e" + U64 + "x.",
    "array of bytes": "\x96" + U64 + "x.",
    "frame": "\x95" + U64 + "N.",
    "digits": "I" + "9" * 1_000_000 + "\n.",
    "never ends": "N" * 2_000_000,
}


def storage(kind: Any = torch.FloatStorage, count: Any = 4, key: Any = "0") -> Reference:
    return Reference(("storage", kind, key, "cpu", count))


def tensor(offset: Any = 0, shape: Any = (4,), stride: Any = (1,), of: Any = None) -> Call:
    """A tensor as torch.save describes it."""
    return Call(torch._utils._rebuild_tensor_v2, of or storage(), offset, shape, stride, False, {})


TENSORS = {
    "numel": tensor(shape=(HUGE,)),
    "storage": tensor(shape=(2**40,), of=storage(count=2**40)),
    "negative shape": tensor(shape=(-4,)),
    "negative stride": tensor(3, stride=(-1,)),
    "negative offset": tensor(-1),
    "outside": tensor(4),
    "far stride": tensor(stride=(HUGE,)),
    "spread": tensor(shape=(2**33,), stride=(0,)),
    "real shape": tensor(shape=(4.0,)),
    "many dimensions": tensor(shape=(1,) * 100, stride=(1,) * 100),
    "negative storage": tensor(of=storage(count=-4)),
    "storage of no type": tensor(of=storage(kind=os.system)),
    "storage of no name": tensor(of=storage(key=["0"])),
    "missing storage": tensor(of=storage(key="7")),
    "storage outside": tensor(of=storage(key="../../../../etc/passwd")),
    "two types of one storage": [tensor(), tensor(of=storage(torch.IntStorage))],
    "untyped": Call(
        torch._utils._rebuild_tensor_v3, storage(torch.UntypedStorage, 16), 0, (HUGE,), (1,), False, {}, torch.uint16
    ),
    "bytearray": Call(bytearray, 2**33),
    "large tensor": Call(torch.Tensor, 2**33),
    "sparse": Call(torch._utils._rebuild_sparse_tensor, torch.sparse_coo, (tensor(), tensor(), (HUGE, HUGE), False)),
    "meta": Call(torch._utils._rebuild_meta_tensor_no_storage, torch.float32, (HUGE,), (1,), False),
    "quantised": Call(
        torch._utils._rebuild_qtensor, storage(), 0, (HUGE,), (1,), (torch.per_tensor_affine, 1.0, 0), False, {}
    ),
    "wrapped": Call(
        torch._utils._rebuild_wrapper_subclass,
        torch.Tensor,
        torch.float32,
        (HUGE,),
        (1,),
        0,
        torch.strided,
        "cpu",
        False,
    ),
    "views": {str(i): tensor(shape=(2**20,), of=storage(count=2**20, key="1")) for i in range(3000)},
}


def endless(kind: str) -> list:
    """A list that holds itself, or one whose parts are shared so that it has 10 ** 60 leaves."""
    loop: list = []
    if kind == "loop":
        loop.append(loop)
        return loop
    for _ in range(60):
        loop = [loop] * 10
    return loop


VALUES = {
    "loop": endless("loop"),
    "laughs": endless("laughs"),
    "text that comes again": ["x" * 2**20] * 10_000,
    "set": {1, 2},
    "bytes": b"x",
    "complex": 1j,
    "name": os.system,
    "dtype": torch.float32,
    "key": {(1, 2): 3},
    "whole number": 1 << 100_000,
    "nan": float("nan"),
}


def good_zip(content: bytes = b"") -> list[Member]:
    return torch_zip(content or dumped({"format": "pv3d", "kind": "snapshot", "version": 1, "payload": {}}))


def _squeezed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _zips() -> dict[str, Callable[[], bytes]]:
    content, pad = good_zip()[0].data, b"x" * 2**20
    return {
        "bomb as pickle": lambda: raw_zip(
            [Member("archive/data.pkl", bomb(1024), DEFLATED, 2**30, 0), *good_zip()[1:]]
        ),
        "bomb that tells a small size": lambda: raw_zip(
            [Member("archive/data.pkl", bomb(1024), DEFLATED, 100, 0), *good_zip()[1:]]
        ),
        "bomb as storage": lambda: raw_zip(
            [
                *torch_zip(dumped({"payload": tensor(of=storage(count=2**28), shape=(2**28,))})),
                Member("archive/data/0", bomb(1024), DEFLATED, 2**30, 0),
            ]
        ),
        "bomb as byte order": lambda: raw_zip([good_zip()[0], Member("archive/byteorder", bomb(1024), DEFLATED, 6, 0)]),
        "compressed pickle": lambda: raw_zip(
            [Member("archive/data.pkl", _squeezed(content), DEFLATED, len(content), zlib.crc32(content))]
        ),
        "unknown compression": lambda: raw_zip(torch_zip(content, method=99)),
        "lzma": lambda: raw_zip(torch_zip(b"\x09\x04\x05\x00\x5d\xff\xff\xff\xff" + content, method=LZMA)),
        "encrypted": lambda: raw_zip(torch_zip(content, flags=1)),
        "says to be huge": lambda: raw_zip(torch_zip(content, size=2**32 - 2)),
        "wrong checksum": lambda: raw_zip(torch_zip(content, crc=1)),
        "two of one name": lambda: raw_zip([*good_zip(), good_zip(b"\x80\x02].")[0]]),
        "absolute names": lambda: raw_zip([Member(f"/tmp/{m.name}", m.data) for m in good_zip()]),
        "names that go up": lambda: raw_zip([Member(f"../../{m.name}", m.data) for m in good_zip()]),
        "one in another": lambda: raw_zip(
            [Member("archive/data.pkl", pad), *(Member(f"archive/data/{i}", pad, crc=0) for i in range(2000))],
            overlap=True,
        ),
        "other byte order": lambda: raw_zip([good_zip()[0], Member("archive/byteorder", b"big")]),
        "no pickle": lambda: raw_zip(good_zip()[1:]),
        "of a picture": lambda: raw_zip([Member("0.png", b"\x89PNG\r\n")]),
        "unknown storage": lambda: in_zip({"weights": tensor()}),
        "script": lambda: raw_zip([*good_zip(), Member("archive/constants.pkl", b"\x80\x02).")]),
    }


def special(kind: str, root: Path) -> Path:
    """What is no ordinary file."""
    path = root / NAME
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "link to nothing":
            path.symlink_to(root / "nothing")
        case "link to itself":
            path.symlink_to(path)
    return path


TEXTS = {
    "empty": b"",
    "text": b"hello\n",
    "page": b"<html><body>404</body></html>",
    "P alone": b"P",
    "PK alone": b"PK",
    "end of a zip": b"PK\x05\x06" + bytes(18),
    "zeros": bytes(100_000),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "noise": random.Random(0).randbytes(100_000),
    "zip of noise": b"PK\x03\x04" + random.Random(1).randbytes(9999),
}


def _pickle(text: str) -> bytes:
    return b"\x80\x04" + text.encode("latin1")


HARMLESS = {"value: whole number", "value: nan", "zip: script"}  # may be looked into, and is not good for more
LONG = {f"bomb: {name}" for name in ("calls", "marks", "dictionaries", "never ends")}  # take a second to refuse
CASES: dict[str, Callable[[Path], Path]] = {
    **_calls(),
    **{
        f"instruction: {name}": partial(written, partial(_system, instructions=text))
        for name, text in INSTRUCTIONS.items()
    },
    **{f"bomb: {name}": partial(written, _pickle(text)) for name, text in BOMBS.items()},
    **{
        f"zipped bomb: {name}": partial(written, lambda _, text=text: raw_zip(torch_zip(_pickle(text))))
        for name, text in BOMBS.items()
        if f"bomb: {name}" not in LONG
    },
    **{
        f"tensor: {name}": partial(
            written, lambda _, value=value: in_zip({"weights": value}, {"0": bytes(16), "1": bytes(2**22)})
        )
        for name, value in TENSORS.items()
    },
    **{
        f"value: {name}": partial(written, lambda _, value=value: in_zip({"progress": value}))
        for name, value in VALUES.items()
    },
    **{f"zip: {name}": partial(written, lambda _, make=make: make()) for name, make in _zips().items()},
    **{f"file: {name}": partial(written, data) for name, data in TEXTS.items()},
    **{
        f"file: {name}": partial(special, name)
        for name in ("folder", "pipe", "device", "link to nothing", "link to itself")
    },
}
