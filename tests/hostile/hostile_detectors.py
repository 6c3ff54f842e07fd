"""Hostile files of detectors: weights (state dictionaries) and scripts of torch."""

import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detectors import weights
from tests.helpers.tiny import seeded
from tests.hostile.outcomes import SOUND, UNREADABLE, Case, CheckpointOutcome
from tests.hostile.pickle_makers import MARK, NAME, Make, touch, write
from tests.hostile.zip_makers import BZIP2, Member, bomb, raw_zip

FIRST = "0.weight"  # the weight that is changed

Members = list[Member]
# From a good script's members and the file that a call may make, to the members of a hostile one.
Change = Callable[[Members, Path], Members]


def small_network() -> nn.Module:
    """Return a network to put weights into."""
    with seeded(0):
        return nn.Sequential(nn.Conv3d(3, 4, 1, bias=False), nn.BatchNorm3d(4)).eval()


# --- Weights: name, a function from good ones to what is saved, what is expected -------------------------------------

State = dict[Any, Any]


def first(change: Callable[[torch.Tensor], Any]) -> Callable[[State], State]:
    """Return the function that changes one weight."""
    return lambda state: state | {FIRST: change(state[FIRST])}


def without_first(state: State) -> State:
    """Leave one weight out."""
    return {name: value for name, value in state.items() if name != FIRST}


STATES: list[tuple[str, Callable[[State], Any], CheckpointOutcome]] = [
    ("good", lambda state: state, SOUND),
    ("nan", first(lambda weight: weight * math.nan), UNREADABLE),
    ("shape", first(lambda weight: torch.zeros(4, 3)), UNREADABLE),
    ("whole", first(lambda weight: weight.long()), UNREADABLE),
    ("complex", first(lambda weight: weight.cfloat()), UNREADABLE),
    ("text", first(lambda weight: "x"), UNREADABLE),
    ("nested", lambda state: {"state": state}, UNREADABLE),
    ("list", lambda state: [state], UNREADABLE),
    ("missing", without_first, UNREADABLE),
    ("more", lambda state: state | {"x\ny": torch.zeros(3)}, UNREADABLE),
    ("key", lambda state: state | {3: state[FIRST]}, UNREADABLE),
    ("views", lambda state: state | dict.fromkeys(map(str, range(1000)), torch.zeros(10_000)), UNREADABLE),
    ("spread", first(lambda weight: torch.zeros(1).expand(4, 3, 1, 1, 1)), UNREADABLE),
]


def state_with(change: Callable[[State], Any]) -> Make:
    """Return the maker of changed weights."""

    def make(root: Path) -> Path:
        torch.save(change(dict(small_network().state_dict())), root / NAME)
        return root / NAME

    return make


# --- Scripts: name, a change of a good one's members, what is expected -----------------------------------------------

MODULE = b"c__torch__\nA\n)\x81"  # an object of a script's class
NESTED = MODULE + b"}(X\x01\x00\x00\x00a" + MODULE + b"}("
DOUBLED = MODULE + b"}(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00ubq\x000"
LONG_NAME = b"X" + struct.pack("<I", 2**20) + b"a" * 2**20


def with_pickle(data: Callable[[Path], bytes]) -> Change:
    """Return the change of the pickle to a function of the mark."""

    def change(members: Members, mark: Path) -> Members:
        new = data(mark)
        return [member._replace(data=new) if member.name.endswith("/data.pkl") else member for member in members]

    return change


def opcodes(data: bytes) -> Change:
    """Return the change of the pickle to these instructions of protocol 2."""
    return with_pickle(lambda mark: b"\x80\x02" + data)


def module_with_call(mark: Path) -> bytes:
    """Return a pickle of a module whose state comes from a call."""
    call = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR"
    return b"\x80\x02" + MODULE + b"}(X\x01\x00\x00\x00a" + call + b"ub."


def far_strides(members: Members, mark: Path) -> Members:
    """Let a weight reach beyond its storage."""
    return [member._replace(data=member.data.replace(b"K\x04K\x03", b"K\x04K\xff")) for member in members]


def without_storages(members: Members, mark: Path) -> Members:
    """Leave the weights' numbers out."""
    return [member for member in members if "/data/" not in member.name]


def with_code(data: bytes, **entry: Any) -> Change:
    """Return the change that adds a file of code; `entry` is what its entry says of it."""
    return lambda members, mark: [*members, Member("hostile/code/a.py", data, **entry)]


def with_bomb(size: int) -> Change:
    """Return the change that adds a bomb as code, whose entry gives `size`."""
    return lambda members, mark: [*members, bomb("hostile/code/a.py", size)]


SCRIPTS: list[tuple[str, Change, CheckpointOutcome]] = [
    ("good", lambda members, mark: members, SOUND),
    ("call", with_pickle(lambda mark: pickle.dumps(touch(mark), 2)), UNREADABLE),
    ("module with a call", with_pickle(module_with_call), UNREADABLE),
    ("module in itself", opcodes(MODULE + b"q\x00}X\x01\x00\x00\x00ah\x00sb."), UNREADABLE),
    ("modules that double", opcodes(MODULE + b"q\x000" + DOUBLED * 60 + b"h\x00."), UNREADABLE),
    ("deep modules", opcodes(NESTED * 2000 + b"."), UNREADABLE),
    ("no module", opcodes(b"N."), UNREADABLE),
    ("long names", opcodes(MODULE + b"}" + LONG_NAME + b"Nsb."), UNREADABLE),
    ("far", far_strides, UNREADABLE),
    ("no storages", without_storages, UNREADABLE),
    ("code bomb", with_bomb(size=2**30), UNREADABLE),
    ("code that tells a small size", with_bomb(size=100), UNREADABLE),
    ("code in bzip2", with_code(b"BZh91AY", method=BZIP2, size=100, crc=0), UNREADABLE),
    ("code encrypted", with_code(b"x", flags=1), UNREADABLE),
    ("code", with_code(b"eps : Final[float] = 1e-5\neps : Final[float] = 1e-3"), UNREADABLE),
    ("endless epsilon", with_code(b"eps : Final[float] = " + b"1" * 10**6), UNREADABLE),
]


def script_with(change: Change) -> Make:
    """Return the maker of a changed script."""

    def make(root: Path) -> Path:
        torch.jit.save(torch.jit.trace(small_network(), torch.zeros(1, 3, 1, 1, 1)), str(root / NAME))
        with zipfile.ZipFile(root / NAME) as archive:
            members = [Member(name, archive.read(name)) for name in archive.namelist()]
        return write(raw_zip(change(members, root / MARK)), root)

    return make


# --- Files under the name of a public detector: name, a function of the mark that gives the content, what is expected -

DETECTORS: list[tuple[str, Callable[[Path], Any], CheckpointOutcome]] = [
    ("call", lambda mark: {"a": touch(mark)}, UNREADABLE),
    ("other network", lambda mark: {"weight": torch.zeros(3)}, UNREADABLE),
    ("list", lambda mark: [1], UNREADABLE),
]


def detector_with(content: Callable[[Path], Any]) -> Make:
    """Return the maker of a file under the name that is asked for."""

    def make(root: Path) -> Path:
        path = root / weights.I3D.file
        torch.save(content(root / MARK), path)
        return path

    return make


CASES = [
    *(Case(f"state: {name}", state_with(change), expected) for name, change, expected in STATES),
    *(Case(f"script: {name}", script_with(change), expected) for name, change, expected in SCRIPTS),
    *(Case(f"detector: {name}", detector_with(content), expected) for name, content, expected in DETECTORS),
]
