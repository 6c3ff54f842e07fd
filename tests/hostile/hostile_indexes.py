"""Hostile `dataset.json` files: `CASES` maps a name to (outcome, content)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.hostile.outcomes import BROKEN, FINE, FLAGGED, LISTED, REFUSED, Outcome
from training.cameras import canonical_label

CLIPS, LENGTH, SIDE = ("a", "b"), 16, 32
CAMERA = canonical_label().tolist()
TARGET = 5  # the label that is changed


def names() -> list[str]:
    """Frames of the sound dataset."""
    return [f"{clip}/{number:05d}.png" for clip in CLIPS for number in range(LENGTH)]


def index() -> dict[str, Any]:
    """The sound index."""
    return {"labels": [[name, list(CAMERA)] for name in names()], "clips": {clip: {"fps": 25.0} for clip in CLIPS}}


def dumped(value: Any) -> bytes:
    """As JSON, with NaN and lone surrogates where Python's has them."""
    return json.dumps(value).encode()


def _raw(text: str, place: str = '"@"') -> Callable[[], bytes]:
    """The sound index with one number of a camera replaced by `text`."""

    def content() -> bytes:
        changed = index()
        changed["labels"][TARGET][1][3] = "@"
        return dumped(changed).replace(place.encode(), text.encode())

    return content


def _label(value: Any) -> Callable[[], bytes]:
    def content() -> bytes:
        changed = index()
        changed["labels"][TARGET] = value
        return dumped(changed)

    return content


def _camera(value: Any) -> Callable[[], bytes]:
    return _label([names()[TARGET], value])


def _named(name: str) -> Callable[[], bytes]:
    """A frame more, of this name."""

    def content() -> bytes:
        changed = index()
        changed["labels"].append([name, CAMERA])
        return dumped(changed)

    return content


def _clip(value: Any) -> Callable[[], bytes]:
    """The first clip's description replaced."""
    return lambda: dumped(index() | {"clips": {"a": value, "b": {"fps": 25.0}}})


def _with(**changes: Any) -> Callable[[], bytes]:
    return lambda: dumped(index() | changes)


def _fps(text: str) -> Callable[[], bytes]:
    return lambda: _clip({"fps": "@"})().replace(b'"@"', text.encode())


def _deep(depth: int) -> str:
    return "[" * depth + "]" * depth


def _non_rigid() -> list[float]:
    return [2 * value for value in CAMERA]


def _texts() -> Iterator[tuple[str, Outcome, Callable[[], bytes]]]:
    for name, content in (
        ("empty", b""),
        ("not UTF-8", b"\xff\xfe{}\x00"),
        ("latin-1", '{"é": 1}'.encode("latin-1")),
        ("cut short", dumped(index())[:-100]),
        ("zeros", bytes(10**6)),
        ("a pickle", b"\x80\x04N."),
        ("100000 brackets", _deep(100_000).encode()),
        ("100000 braces", b'{"a":' * 100_000),
        ("an open string", b'"' + b"a" * 10**6),
    ):
        yield name, REFUSED, lambda content=content: content
    yield "100 MB of text", REFUSED, lambda: b" " * 10**8 + dumped(index())
    yield "100 MB of numbers", REFUSED, lambda: b"[" + b"0," * (5 * 10**7) + b"0]"
    yield "8 MB of lists", REFUSED, lambda: b"[" + b"[]," * (8 * 10**6 // 3) + b"0]"
    yield "a byte order mark", FINE, lambda: b"\xef\xbb\xbf" + dumped(index())


def _types() -> Iterator[tuple[str, Outcome, Callable[[], bytes]]]:
    for value in (None, 1, "text", [], True, 1e400):
        yield f"{value!r}", REFUSED, lambda value=value: dumped(value)
    for value in (None, 1, "text", {}, [], [1], [[]], ["ab"], [["a"]], [[1, CAMERA]], [[None, 1]], [[["a"], CAMERA]]):
        yield f"labels {str(value)[:30]}", REFUSED, _with(labels=value)
    for value in (1, "ab", [names()[0]], None):
        yield f"one label {value}", REFUSED, _label(value)
    for value in (1, "text", [1], [{"a": 1}]):
        yield f"clips {value}", LISTED, _with(clips=value)
    yield "clips null", FINE, _with(clips=None)
    for value in (None, 1, "text", [1]):
        yield f"clip {value}", FLAGGED, _clip(value)
    yield "clip that is not there", FLAGGED, lambda: dumped(index() | {"clips": {"c": {}, **index()["clips"]}})
    yield "no clip described", FINE, _with(clips={})
    yield "more keys", FINE, _with(more={"a": [1, {"b": None}]}, __class__="os.system")


def _cameras() -> Iterator[tuple[str, Outcome, Callable[[], bytes]]]:
    for value in (
        None,
        1,
        "text",
        [],
        {},
        CAMERA[:24],
        [*CAMERA, 0],
        [CAMERA],
        [[1], [2, 3]],
        {"0": 1},
        ["x"] * 25,
        [None] * 25,
        [{}] * 25,
    ):
        yield f"camera {str(value)[:30]}", LISTED, _camera(value)
    for number in (
        "1" + "0" * 400,
        "-1" + "0" * 400,
        "1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e300",
        "3.5e38",
        "[1]",
        "{}",
        "null",
        _deep(100),
    ):
        yield f"number {number[:20]}", LISTED, _raw(number)
    for number in ("1" * 5000, _deep(100_000)):
        yield f"number {number[:8]}, long", REFUSED, _raw(number)
    for name, camera in (("not rigid", _non_rigid()), ("of zeros", [0] * 25), ("of 1e37", [1e37] * 25)):
        yield f"camera {name}", FLAGGED, _camera(camera)


def _clips() -> Iterator[tuple[str, Outcome, Callable[[], bytes]]]:
    for text in ("0", "-25", "1" + "0" * 400, "1e400", "NaN", "-Infinity", "null", '"25"', "[25]", "{}", "1e300"):
        yield f"fps {text[:20]}", FLAGGED, _fps(text)
    for depth in (500, 900):
        yield (
            f"identity {depth} deep",
            FINE,
            lambda depth=depth: _clip({"fps": 25.0, "identity": "@"})().replace(b'"@"', _deep(depth).encode()),
        )
    yield "identity of a megabyte", FINE, _clip({"fps": 25.0, "identity": "x" * 10**6})


def _names() -> Iterator[tuple[str, Outcome, Callable[[], bytes]]]:
    for name in (
        "../../../../etc/passwd",
        "/etc/passwd",
        "a/../../x.png",
        "a\\x.png",
        "C:/x.png",
        "",
        "a/\0.png",
        "a/\ud800.png",
        "a/\x1b[2J.png",
        "a/two\nlines.png",
        "..",
    ):
        yield f"name {name!r}", LISTED, _named(name)
    yield "a missing frame", BROKEN, _named("a/99999.png")
    yield "a frame twice", FLAGGED, _named(names()[0])
    again = [names()[0], [*[0] * 24, 1]]
    yield "a frame 10000 times", FLAGGED, lambda: dumped(index() | {"labels": index()["labels"] + [again] * 10_000})
    yield "a name of a megabyte", LISTED, _named("a/" + "x" * 10**6 + ".png")
    yield "a folder as a frame", LISTED, _named("a")
    yield "the index as a frame", LISTED, _named("dataset.json")


CASES = {
    name: (outcome, content) for part in (_texts, _types, _cameras, _clips, _names) for name, outcome, content in part()
}
