"""Hostile exports: a safetensors file, and the JSON file of options beside it, one of them changed."""

import hashlib
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hostile.hostile_pickles import HUGE
from tests.hostile.outcomes import IMPORTED, SHOWN, SOUND, UNREADABLE, Case, CheckpointOutcome
from tests.hostile.pickle_makers import Make
from tests.hostile.special_files import link_to
from training.checkpoints.safetensors import export_snapshot

NAME = "hostile.safetensors"
BANK = "camera_bank"  # the tensor whose entry is changed
LENGTH = 8  # bytes of the header's length, with which the file begins


# --- The tensors' file: name, a change of its bytes, what is expected ------------------------------------------------


def with_length(data: bytes, length: int) -> bytes:
    """Return the file whose header says to be so long."""
    return struct.pack("<Q", length) + data[LENGTH:]


def with_header(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return the change of the file that changes the text of its header."""

    def changed(data: bytes) -> bytes:
        length = int.from_bytes(data[:LENGTH], "little")
        text = change(data[LENGTH : LENGTH + length])
        return struct.pack("<Q", len(text)) + text + data[LENGTH + length :]

    return changed


def as_header(text: bytes) -> Callable[[bytes], bytes]:
    """Return the change of the file that gives its header another text."""
    return with_header(lambda old: text)


def with_bank(**changes: Any) -> Callable[[bytes], bytes]:
    """Return the change of the file that changes what its header says of one tensor."""

    def changed(text: bytes) -> bytes:
        header = json.loads(text)
        header[BANK] |= changes
        return json.dumps(header).encode()

    return with_header(changed)


def without_entry(text: bytes) -> bytes:
    """Put null in place of what a header says of one tensor."""
    return json.dumps(json.loads(text) | {BANK: None}).encode()


def with_own(text: Any) -> Callable[[bytes], bytes]:
    """Return the change of the file that gives its metadata another text in place of the snapshot's options."""

    def changed(header: bytes) -> bytes:
        return json.dumps(json.loads(header) | {"__metadata__": {"format": "pt", "pv3d": text}}).encode()

    return with_header(changed)


TENSORS: list[tuple[str, Callable[[bytes], bytes], CheckpointOutcome]] = [
    ("good", lambda data: data, SOUND),
    ("length", lambda data: with_length(data, HUGE), UNREADABLE),
    ("long header", lambda data: with_length(data, len(data)), UNREADABLE),
    ("cut", lambda data: data[:-100], UNREADABLE),
    ("cut header", lambda data: data[:50], UNREADABLE),
    ("empty", lambda data: b"", UNREADABLE),
    ("text", lambda data: b"hello", UNREADABLE),
    ("more", lambda data: data + b"x", UNREADABLE),
    ("deep", as_header(b"[" * 100_000), UNREADABLE),
    ("list", as_header(b"[]"), UNREADABLE),
    ("long", as_header(b'{"a": "' + b"x" * 2**23 + b'"}'), UNREADABLE),
    ("many", as_header(b"[" + b"{}," * 2**21 + b"{}]"), UNREADABLE),
    ("shape", with_bank(shape=[2**40, 25]), UNREADABLE),
    ("overflow", with_bank(shape=[2**62, 4]), UNREADABLE),
    ("negative", with_bank(shape=[-3, 16, 25]), UNREADABLE),
    ("real", with_bank(shape=[3.0, 16, 25]), UNREADABLE),
    ("type", with_bank(dtype="F31"), UNREADABLE),
    ("type a list", with_bank(dtype=["F32"]), UNREADABLE),
    ("places", with_bank(data_offsets=[0, 2**50]), UNREADABLE),
    ("backwards", with_bank(data_offsets=[4800, 0]), UNREADABLE),
    ("no entry", with_header(without_entry), UNREADABLE),
    ("own deep", with_own("[" * 100_000), IMPORTED),  # `import` reads the same from the JSON file
    ("own number", with_own(7), IMPORTED),
    ("own other", with_own('{"format": "pv3d-snapshot", "version": 1}'), IMPORTED),
    ("own list", with_own("[1]"), IMPORTED),
]


# --- The options' file: name, a function of the options that returns the file's text, what is expected ---------------


def with_options(**changes: Any) -> Callable[[dict], str]:
    """Return the function that changes some options."""
    return lambda options: json.dumps(options | changes)


def with_huge_network(options: dict) -> str:
    """Change the width of the network."""
    options["config"]["generator"]["z_dim"] = 10**12
    return json.dumps(options)


def without_progress(options: dict) -> str:
    """Take the progress away."""
    del options["progress"]
    return json.dumps(options)


OPTIONS: list[tuple[str, Callable[[dict], str], CheckpointOutcome]] = [
    ("json deep", lambda options: "[" * 100_000, UNREADABLE),
    ("json long", lambda options: "[" + "1," * 2**22 + "1]", UNREADABLE),
    ("json digits", lambda options: '{"format": ' + "9" * 100_000 + "}", UNREADABLE),
    ("json nan", lambda options: '{"a": NaN}', SHOWN),
    ("json empty", lambda options: "", UNREADABLE),
    ("json noise", lambda options: "\x00\x01", UNREADABLE),
    ("json list", lambda options: "[1]", SHOWN),
    ("version", with_options(version={"a\n": 1}), SHOWN),
    ("config", with_options(config=3), SHOWN),
    ("config huge", with_huge_network, SHOWN),
    ("progress", with_options(progress="far"), SHOWN),
    ("bank", with_options(camera_bank=[1]), IMPORTED),  # what is called so is also a tensor
    ("weights", with_options(weights={"G_ema": 1}), IMPORTED),
    ("kimg", with_options(progress={"kimg": 1e300}), SHOWN),
    ("no progress", without_progress, SHOWN),
]

# --- No options' file: name, a function that makes something else in its place, what is expected ---------------------

SPECIAL_OPTIONS: list[tuple[str, Callable[[Path], object], CheckpointOutcome]] = [
    ("json a pipe", os.mkfifo, SHOWN),
    ("json a device", link_to("/dev/zero"), SHOWN),
    ("json a folder", os.mkdir, SHOWN),
]


# --- All -------------------------------------------------------------------------------------------------------------


def cases(good: Path) -> list[Case]:
    """Return all of them; `good` is a sound snapshot. The checksum that the options give is right."""

    def make(root: Path, change: Callable[[bytes], bytes], write: Callable[[dict], str]) -> Path:
        path = root / NAME
        export_snapshot(good, path)
        data = change(path.read_bytes())
        path.write_bytes(data)
        beside = path.with_suffix(".json")
        options = json.loads(beside.read_text()) | {"sha256": hashlib.sha256(data).hexdigest()}
        beside.write_text(write(options))
        return path

    def with_tensors(change: Callable[[bytes], bytes]) -> Make:
        return lambda root: make(root, change, json.dumps)

    def with_text(write: Callable[[dict], str]) -> Make:
        return lambda root: make(root, lambda data: data, write)

    def with_special(make_special: Callable[[Path], object]) -> Make:
        def replaced(root: Path) -> Path:
            path = with_text(json.dumps)(root)
            path.with_suffix(".json").unlink()
            make_special(path.with_suffix(".json"))
            return path

        return replaced

    return [
        *(Case(f"safetensors: {name}", with_tensors(change), expected) for name, change, expected in TENSORS),
        *(Case(f"safetensors: {name}", with_text(write), expected) for name, write, expected in OPTIONS),
        *(Case(f"safetensors: {name}", with_special(make), expected) for name, make, expected in SPECIAL_OPTIONS),
    ]
