"""Hostile statistics: files of this project (npz), and pickles of the reference's."""

import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metrics.frechet import FeatureMoments
from metrics.statistics_files import Source, Statistics, save_statistics
from tests.hostile.hostile_pickles import HUGE
from tests.hostile.outcomes import SOUND, UNREADABLE, Case, CheckpointOutcome
from tests.hostile.pickle_makers import MARK, Call, Make, touch, write
from tests.hostile.zip_makers import Member, bomb, raw_zip

ASKED = ("i3d", "5139ceaf", "fvd5k_16f")  # detector, checksum and protocol that the statistics are wanted of
NAME = "hostile.npz"
FEATURES = 5
ITEMS = 12

Members = dict[str, bytes]
# From a good file's members and the file that a call may make, to the members of a hostile one.
Change = Callable[[Members, Path], list[Member]]


# --- Functions that return a change of a good file -------------------------------------------------------------------


def plain(members: Members) -> list[Member]:
    """Return the members as they are."""
    return [Member(name, data) for name, data in members.items()]


def good(members: Members, mark: Path) -> list[Member]:
    """Change nothing."""
    return plain(members)


def raw(name: str, data: bytes) -> Change:
    """Return the change of an array's bytes."""
    return lambda members, mark: plain(members | {f"{name}.npy": data})


def saved(value: np.ndarray) -> bytes:
    """Return an array as numpy saves it."""
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def array(name: str, value: Any) -> Change:
    """Return the change of an array to another one."""
    return raw(name, saved(np.asarray(value)))


def objects(name: str) -> Change:
    """Return the change of an array to one of objects whose unpickling makes a file."""
    return lambda members, mark: plain(members | {f"{name}.npy": saved(np.array([touch(mark)] * 5, object))})


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return the bytes of an array with this header."""
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def total(shape: str, kind: str = "<f8") -> Change:
    """Return the change of what an array of 40 bytes says of its shape and its type."""
    return raw("total", npy(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}", bytes(40)))


def header(**changes: Any) -> Change:
    """Return the change of some of a file's options."""
    source = {"detector": "i3d", "checksum": "5139ceaf", "protocol": "fvd5k_16f", "dataset": "x"}
    options = {"format": "pv3d-feature-statistics", "version": 2, "source": source} | changes
    return array("header", json.dumps(options))


def with_bomb(name: str, size: int) -> Change:
    """Return the change that puts a bomb, whose entry gives `size`, behind all else in place of an array."""

    def change(members: Members, mark: Path) -> list[Member]:
        others = {other: data for other, data in members.items() if other != name}
        return [*plain(others), bomb(name, size)]

    return change


def small_bomb(members: Members, mark: Path) -> list[Member]:
    """Leave nothing but a bomb that says to be small."""
    return [bomb("header.npy", size=200)]


def twice(members: Members, mark: Path) -> list[Member]:
    """Have every member two times."""
    return plain(members) * 2


def upwards(members: Members, mark: Path) -> list[Member]:
    """Let the members' names lead out of the folder."""
    return [Member(f"../{name}", data) for name, data in members.items()]


NUMBERS = {"detector": 1, "checksum": 2, "protocol": 3, "dataset": 4}
LINES = {"detector": "a\nError: b\x1b[2J" + "x" * 10**5, "checksum": "", "dataset": "", "protocol": ""}
CODE = "__import__('os').system('touch was_run')"

STATISTICS: list[tuple[str, Change, CheckpointOutcome]] = [
    ("good", good, SOUND),
    ("objects", objects("total"), UNREADABLE),
    ("objects as header", objects("header"), UNREADABLE),
    ("objects as number", objects("num"), UNREADABLE),
    ("bomb", with_bomb("outer.npy", size=2**30), UNREADABLE),
    ("small bomb", small_bomb, UNREADABLE),
    ("shape", total("(1099511627776,)"), UNREADABLE),
    ("overflow", total(f"({HUGE}, {HUGE})"), UNREADABLE),
    ("negative", total("(-5,)"), UNREADABLE),
    ("real", total("(5.0,)"), UNREADABLE),
    ("bool", total("(True, 5)"), UNREADABLE),
    ("nested", raw("total", npy("(" * 90 + ")" * 90)), UNREADABLE),
    ("code", raw("total", npy(CODE)), UNREADABLE),
    ("type", total("(5,)", "x"), UNREADABLE),
    ("text", total("(10,)", "<U1"), UNREADABLE),
    ("void", total("(5,)", "|V8"), UNREADABLE),
    ("dates", total("(5,)", "<M8[s]"), UNREADABLE),
    ("complex", total("(5,)", "<c8"), UNREADABLE),
    ("no header", raw("total", b""), UNREADABLE),
    ("version", raw("total", npy("{}", version=b"\x09\x00")), UNREADABLE),
    ("nan", array("total", np.full(5, math.nan)), UNREADABLE),
    ("infinite", array("outer", np.full((5, 5), math.inf)), UNREADABLE),
    ("number", array("num", math.nan), UNREADABLE),
    ("numbers", array("num", np.arange(5)), UNREADABLE),
    ("no number", array("num", -1), UNREADABLE),
    ("features", array("features", np.full((12, 5), 1j)), UNREADABLE),
    ("features of text", array("features", np.full((12, 5), "a")), UNREADABLE),
    ("json deep", array("header", "[" * 100_000), UNREADABLE),
    ("json long", array("header", "1," * 2**21), UNREADABLE),
    ("json a list", array("header", "[1]"), UNREADABLE),
    ("source a list", header(source=[1]), UNREADABLE),
    ("source of numbers", header(source=NUMBERS), UNREADABLE),
    ("source of lines", header(source=LINES), UNREADABLE),
    ("version a list", header(version=[1] * 1000), UNREADABLE),
    ("other version", header(version="\n" * 1000), UNREADABLE),
    ("two of one name", twice, UNREADABLE),
    ("names that go up", upwards, UNREADABLE),
]


def statistics_with(change: Change) -> Make:
    """Return the maker of a changed file."""

    def make(root: Path) -> Path:
        path = root / NAME
        features = torch.randn(ITEMS, FEATURES, generator=torch.Generator().manual_seed(0))
        save_statistics(path, Statistics(Source(*ASKED, "fingerprint"), FeatureMoments.of(features), features))
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        path.write_bytes(raw_zip(change(members, root / MARK)))
        return path

    return make


# --- The reference's pickles: name, a function of the mark that gives what is changed, what is expected --------------


def shaped(shape: tuple[int, ...]) -> Call:
    """Return a numpy array of 40 bytes whose pickle says to have another shape."""
    state = (1, shape, np.dtype("f8"), False, bytes(40))
    rebuild, *_ = np.empty(0).__reduce__()  # whichever of numpy's modules has it
    return Call(rebuild, np.ndarray, (0,), b"b", more=(state,))


REFERENCES: list[tuple[str, Callable[[Path], dict], CheckpointOutcome]] = [
    ("good", lambda mark: {}, SOUND),
    ("call", lambda mark: {"raw_mean": touch(mark)}, UNREADABLE),
    ("state", lambda mark: {"raw_mean": Call(np.ndarray, (5,), more=(touch(mark),))}, UNREADABLE),
    ("shape", lambda mark: {"raw_mean": shaped((2**50,))}, UNREADABLE),
    ("negative", lambda mark: {"raw_mean": shaped((-5,)), "num_features": 9}, UNREADABLE),
    ("objects", lambda mark: {"raw_cov": np.array([None] * 25, object).reshape(5, 5)}, UNREADABLE),
    ("huge", lambda mark: {"num_items": 1 << 20_000}, UNREADABLE),
    ("text", lambda mark: {"num_items": "12"}, UNREADABLE),
    ("nan", lambda mark: {"raw_cov": np.eye(FEATURES) * math.nan}, UNREADABLE),
    ("memory", lambda mark: {"raw_mean": Call(bytearray, 2**33)}, UNREADABLE),
]


def reference_with(changes: Callable[[Path], dict]) -> Make:
    """Return the maker of a changed pickle."""

    def make(root: Path) -> Path:
        moments = {"raw_mean": np.zeros(FEATURES), "raw_cov": np.eye(FEATURES)}
        content = {"num_items": ITEMS, "num_features": FEATURES} | moments | changes(root / MARK)
        return write(pickle.dumps(content, protocol=4), root)

    return make


CASES = [
    *(Case(f"statistics: {name}", statistics_with(change), expected) for name, change, expected in STATISTICS),
    *(Case(f"reference: {name}", reference_with(changes), expected) for name, changes, expected in REFERENCES),
]
