"""Hostile safetensors, statistics and detectors' files.

`cases` maps a name, which begins with the kind, to (build, commands that may end well); build(root) gives the path.
"""

import hashlib
import io
import json
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detectors import weights
from metrics.frechet import FeatureMoments
from metrics.statistics_files import Source, Statistics, save_statistics
from tests.hostile.hostile_pickles import DEFLATED, HUGE, MARK, NAME, Call, Member, bomb, raw_zip
from training.checkpoints.safetensors import export_snapshot

ASKED = ("i3d", "5139ceaf", "fvd5k_16f")
INSPECT = frozenset({"inspect"})
Build = Callable[[Path], Path]
Cases = dict[str, tuple[Build, frozenset[str]]]


def small() -> nn.Module:
    """A network to put weights into."""
    return nn.Sequential(nn.Conv3d(3, 4, 1, bias=False), nn.BatchNorm3d(4)).eval()


def cases(good: Path) -> Cases:
    """All of them; `good` is a sound snapshot. Those called `<kind>: good` are sound, too."""
    return {**_safetensors(good), **_statistics(), **_references(), **_states(), **_scripts(), **_detectors()}


def _raw(name: str, data: bytes, root: Path) -> Path:
    (root / name).write_bytes(data)
    return root / name


def _pair(good: Path, tensors: Callable[[bytes], bytes], options: Callable[[dict], Any], root: Path) -> Path:
    """An export with its tensors' file or its JSON file changed; the checksum is right."""
    path = root / "hostile.safetensors"
    export_snapshot(good, path)
    path.write_bytes(tensors(path.read_bytes()))
    header = json.loads(path.with_suffix(".json").read_text())
    header["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    changed = options(header)
    path.with_suffix(".json").write_text(changed if isinstance(changed, str) else json.dumps(header))
    return path


def _header(change: Callable[[dict], Any]) -> Callable[[bytes], bytes]:
    """Function that changes the header of a safetensors file."""

    def changed(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        found = change(header)
        text = found if isinstance(found, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return changed


def _safetensors(good: Path) -> Cases:
    bank = "camera_bank"
    tensors = {
        "good": lambda data: data,
        "length": lambda data: struct.pack("<Q", HUGE) + data[8:],
        "long header": lambda data: struct.pack("<Q", len(data)) + data[8:],
        "cut": lambda data: data[:-100],
        "cut header": lambda data: data[:50],
        "empty": lambda data: b"",
        "text": lambda data: b"hello",
        "more": lambda data: data + b"x",
        "deep": _header(lambda header: b"[" * 100_000),
        "list": _header(lambda header: b"[]"),
        "long": _header(lambda header: b'{"a": "' + b"x" * 2**23 + b'"}'),
        "many": _header(lambda header: b"[" + b"{}," * 2**21 + b"{}]"),
        "shape": _header(lambda header: header[bank].update(shape=[2**40, 25])),
        "overflow": _header(lambda header: header[bank].update(shape=[2**62, 4])),
        "negative": _header(lambda header: header[bank].update(shape=[-3, 16, 25])),
        "real": _header(lambda header: header[bank].update(shape=[3.0, 16, 25])),
        "type": _header(lambda header: header[bank].update(dtype="F31")),
        "type a list": _header(lambda header: header[bank].update(dtype=["F32"])),
        "places": _header(lambda header: header[bank].update(data_offsets=[0, 2**50])),
        "backwards": _header(lambda header: header[bank].update(data_offsets=[4800, 0])),
        "no entry": _header(lambda header: header.update({bank: None})),
    }
    options: dict[str, Callable[[dict], Any]] = {
        "json deep": lambda header: "[" * 100_000,
        "json long": lambda header: "[" + "1," * 2**22 + "1]",
        "json digits": lambda header: '{"format": ' + "9" * 100_000 + "}",
        "json nan": lambda header: '{"a": NaN}',
        "json empty": lambda header: "",
        "json noise": lambda header: "\x00\x01",
        "json list": lambda header: "[1]",
        "version": lambda header: header.update(version={"a\n": 1}),
        "config": lambda header: header.update(config=3),
        "config huge": lambda header: header["config"]["generator"].update(z_dim=10**12),
        "progress": lambda header: header.update(progress="far"),
        "bank": lambda header: header.update(camera_bank=[1]),
        "weights": lambda header: header.update(weights={"G_ema": 1}),
        "kimg": lambda header: header.update(progress={"kimg": 1e300}),
        "no progress": lambda header: header.pop("progress") and None,
    }
    found = {name: partial(_pair, good, change, lambda header: None) for name, change in tensors.items()}
    found |= {name: partial(_pair, good, lambda data: data, change) for name, change in options.items()}
    harmless = {
        "version",
        "config",
        "config huge",
        "progress",
        "bank",
        "weights",
        "kimg",
        "no progress",
        "json nan",
        "json list",
    }

    def replaced(make: Callable[[Path], None], root: Path) -> Path:
        path = _pair(good, lambda data: data, lambda header: None, root)
        beside = path.with_suffix(".json")
        beside.unlink()
        make(beside)
        return path

    bears = {
        f"safetensors: {name}": (build, INSPECT if name in harmless else frozenset()) for name, build in found.items()
    }
    # A tensor may be called as the options say it is not one: `import` refuses or takes the tensor.
    for name in ("bank", "weights"):
        bears[f"safetensors: {name}"] = found[name], frozenset({"inspect", "read_in"})
    odd = {"pipe": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": os.mkdir}
    for name, make in odd.items():
        bears[f"safetensors: json a {name}"] = partial(replaced, make), INSPECT
    return bears


def _npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def _shape(shape: str, kind: str = "<f8", data: bytes = bytes(40)) -> bytes:
    return _npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", data)


def _statistics() -> Cases:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))

    def archive(change: Callable[[dict[str, bytes], Path], Any], root: Path) -> Path:
        path = root / "hostile.npz"
        save_statistics(path, Statistics(Source(*ASKED, "fingerprint"), FeatureMoments.of(features), features))
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        changed = change(members, root)
        path.write_bytes(
            changed if isinstance(changed, bytes) else raw_zip([Member(name, data) for name, data in members.items()])
        )
        return path

    def array(name: str, value: Any) -> Callable[[dict[str, bytes], Path], None]:
        def change(members: dict[str, bytes], root: Path) -> None:
            stream = io.BytesIO()
            np.save(stream, value(root) if callable(value) else value, allow_pickle=True)
            members[f"{name}.npy"] = stream.getvalue()

        return change

    def raw(name: str, data: bytes) -> Callable[[dict[str, bytes], Path], None]:
        return lambda members, root: members.update({f"{name}.npy": data})

    def header(**changes: Any) -> Callable[[dict[str, bytes], Path], None]:
        source = {"detector": "i3d", "checksum": "5139ceaf", "protocol": "fvd5k_16f", "dataset": "x"}
        whole = {"format": "pv3d-feature-statistics", "version": 1, "source": source} | changes
        return array("header", np.array(json.dumps(whole)))

    def objects(root: Path) -> np.ndarray:
        return np.array([Call(os.system, f"touch {root / MARK}")] * 5, object)

    changes = {
        "good": lambda members, root: None,
        "objects": array("total", objects),
        "objects as header": array("header", objects),
        "objects as number": array("num", objects),
        "bomb": lambda members, root: raw_zip(
            [
                *(Member(name, data) for name, data in members.items() if name != "outer.npy"),
                Member("outer.npy", bomb(1024), DEFLATED, 2**30, 0),
            ]
        ),
        "small bomb": lambda members, root: raw_zip([Member("header.npy", bomb(1024), DEFLATED, 200, 0)]),
        "shape": raw("total", _shape("(1099511627776,)")),
        "overflow": raw("total", _shape(f"({HUGE}, {HUGE})")),
        "negative": raw("total", _shape("(-5,)")),
        "real": raw("total", _shape("(5.0,)")),
        "bool": raw("total", _shape("(True, 5)")),
        "nested": raw("total", _npy("(" * 90 + ")" * 90)),
        "code": raw("total", _npy("__import__('os').system('touch was_run')")),
        "type": raw("total", _shape("(5,)", "x")),
        "text": raw("total", _shape("(10,)", "<U1")),
        "void": raw("total", _shape("(5,)", "|V8")),
        "dates": raw("total", _shape("(5,)", "<M8[s]")),
        "complex": raw("total", _shape("(5,)", "<c8")),
        "no header": raw("total", b""),
        "version": raw("total", _npy("{}", version=b"\x09\x00")),
        "nan": array("total", np.full(5, math.nan)),
        "infinite": array("outer", np.full((5, 5), math.inf)),
        "number": array("num", np.array(math.nan)),
        "numbers": array("num", np.arange(5)),
        "no number": array("num", np.array(-1)),
        "features": array("features", np.full((12, 5), 1j)),
        "features of text": array("features", np.full((12, 5), "a")),
        "json deep": array("header", np.array("[" * 100_000)),
        "json long": array("header", np.array("1," * 2**21)),
        "json a list": array("header", np.array("[1]")),
        "source a list": header(source=[1]),
        "source of numbers": header(source={"detector": 1, "checksum": 2, "protocol": 3, "dataset": 4}),
        "source of lines": header(
            source={"detector": "a\nError: b\x1b[2J" + "x" * 10**5, "checksum": "", "dataset": "", "protocol": ""}
        ),
        "version a list": header(version=[1] * 1000),
        "other version": header(version="\n" * 1000),
        "two of one name": lambda members, root: raw_zip([Member(name, data) for name, data in members.items()] * 2),
        "names that go up": lambda members, root: raw_zip(
            [Member(f"../{name}", data) for name, data in members.items()]
        ),
    }
    return {f"statistics: {name}": (partial(archive, change), frozenset()) for name, change in changes.items()}


def _references() -> Cases:
    eye = np.eye(5)

    def build(change: Callable[[Path], Any], root: Path) -> Path:
        content = {"num_items": 12, "num_features": 5, "raw_mean": np.zeros(5), "raw_cov": eye}
        return _raw(NAME, pickle.dumps(content | change(root), protocol=4), root)

    changes: dict[str, Callable[[Path], Any]] = {
        "good": lambda root: {},
        "call": lambda root: {"raw_mean": Call(os.system, f"touch {root / MARK}")},
        "state": lambda root: {"raw_mean": Call(np.ndarray, (5,), more=(Call(os.system, f"touch {root / MARK}"),))},
        "shape": lambda root: {
            "raw_mean": Call(
                np._core.multiarray._reconstruct,
                np.ndarray,
                (0,),
                b"b",
                more=((1, (2**50,), np.dtype("f8"), False, bytes(40)),),
            )
        },
        "negative": lambda root: (
            {
                "raw_mean": Call(
                    np._core.multiarray._reconstruct,
                    np.ndarray,
                    (0,),
                    b"b",
                    more=((1, (-5,), np.dtype("f8"), False, bytes(40)),),
                )
            }
            | {"num_features": 9}
        ),
        "objects": lambda root: {"raw_cov": np.array([None] * 25, object).reshape(5, 5)},
        "huge": lambda root: {"num_items": 1 << 20_000},
        "text": lambda root: {"num_items": "12"},
        "nan": lambda root: {"raw_cov": eye * math.nan},
        "memory": lambda root: {"raw_mean": Call(bytearray, 2**33)},
    }
    return {f"reference: {name}": (partial(build, change), frozenset()) for name, change in changes.items()}


def _saved(change: Callable[[dict], Any], root: Path) -> Path:
    state = dict(small().state_dict())
    changed = change(state)
    torch.save(state if changed is None else changed, root / NAME)
    return root / NAME


def _states() -> Cases:
    first = "0.weight"
    changes: dict[str, Callable[[dict], Any]] = {
        "good": lambda state: None,
        "nan": lambda state: state.update({first: state[first] * math.nan}),
        "shape": lambda state: state.update({first: torch.zeros(4, 3)}),
        "whole": lambda state: state.update({first: state[first].long()}),
        "complex": lambda state: state.update({first: state[first].cfloat()}),
        "text": lambda state: state.update({first: "x"}),
        "nested": lambda state: {"state": state},
        "list": lambda state: [state],
        "missing": lambda state: {name: value for name, value in state.items() if name != first},
        "more": lambda state: state.update({"x\ny": torch.zeros(3)}),
        "key": lambda state: state.update({3: state[first]}),
        "views": lambda state: state.update(dict.fromkeys(map(str, range(1000)), torch.zeros(10_000))),
        "spread": lambda state: state.update({first: torch.zeros(1).expand(4, 3, 1, 1, 1)}),
    }
    return {f"state: {name}": (partial(_saved, change), frozenset()) for name, change in changes.items()}


def _scripts() -> Cases:
    def build(change: Callable[[list[Member], Path], list[Member]], root: Path) -> Path:
        torch.jit.save(torch.jit.trace(small(), torch.zeros(1, 3, 1, 1, 1)), str(root / NAME))
        with zipfile.ZipFile(root / NAME) as archive:
            members = [Member(name, archive.read(name)) for name in archive.namelist()]
        return _raw(NAME, raw_zip(change(members, root)), root)

    def pickled(make: Callable[[Path], bytes]) -> Callable[[list[Member], Path], list[Member]]:
        return lambda members, root: [
            member._replace(data=make(root)) if member.name.endswith("/data.pkl") else member for member in members
        ]

    def replaced(old: bytes, new: bytes) -> Callable[[list[Member], Path], list[Member]]:
        return lambda members, root: [member._replace(data=member.data.replace(old, new)) for member in members]

    def code(**about: Any) -> Callable[[list[Member], Path], list[Member]]:
        return lambda members, root: [*members, Member("hostile/code/a.py", **about)]

    module = b"c__torch__\nA\n)\x81"
    nested = b"\x80\x02" + module + b"}(" + b"X\x01\x00\x00\x00a" + module + b"}("
    changes = {
        "good": lambda members, root: members,
        "call": pickled(lambda root: pickle.dumps(Call(os.system, f"touch {root / MARK}"), 2)),
        "module with a call": pickled(
            lambda root: (
                b"\x80\x02"
                + module
                + b"}(X\x01\x00\x00\x00acos\nsystem\n(S'touch "
                + str(root / MARK).encode()
                + b"'\ntRub."
            )
        ),
        "module in itself": pickled(lambda root: b"\x80\x02" + module + b"q\x00}X\x01\x00\x00\x00ah\x00sb."),
        "modules that double": pickled(
            lambda root: (
                b"\x80\x02"
                + module
                + b"q\x000"
                + (module + b"}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00ubq\x000") * 60
                + b"h\x00."
            )
        ),
        "deep modules": pickled(lambda root: nested * 2000 + b"."),
        "no module": pickled(lambda root: b"\x80\x02N."),
        "long names": pickled(
            lambda root: b"\x80\x02" + module + b"}X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"Nsb."
        ),
        "far": replaced(b"K\x04K\x03", b"K\x04K\xff"),
        "no storages": lambda members, root: [member for member in members if "/data/" not in member.name],
        "code bomb": code(data=bomb(1024), method=DEFLATED, size=2**30, crc=0),
        "code that tells a small size": code(data=bomb(1024), method=DEFLATED, size=100, crc=0),
        "code in bzip2": code(data=b"BZh91AY", method=12, size=100, crc=0),
        "code encrypted": code(data=b"x", flags=1),
        "code": code(data=b"eps : Final[float] = 1e-5\neps : Final[float] = 1e-3"),
        "endless epsilon": code(data=b"eps : Final[float] = " + b"1" * 10**6),
    }
    return {f"script: {name}": (partial(build, change), frozenset()) for name, change in changes.items()}


def _detectors() -> Cases:
    """A file under the name that is asked for."""

    def build(content: Callable[[Path], Any], root: Path) -> Path:
        torch.save(content(root), root / weights.I3D.file)
        return root / weights.I3D.file

    changes = {
        "call": lambda root: {"a": Call(os.system, f"touch {root / MARK}")},
        "other network": lambda root: {"weight": torch.zeros(3)},
        "list": lambda root: [1],
    }
    return {f"detector: {name}": (partial(build, change), frozenset()) for name, change in changes.items()}
