"""Hostile `dataset.json` files: rows of a name, a function that returns the file's bytes, and what is expected."""

import json
from collections.abc import Callable
from typing import Any

from tests.hostile.outcomes import BROKEN, FINE, FLAGGED, LISTED, REFUSED, DatasetOutcome
from training.cameras import canonical_label

CLIPS, LENGTH, SIDE = ("a", "b"), 16, 32
CAMERA = canonical_label().tolist()
ZEROS = [*[0] * 24, 1]  # no camera
TARGET = 5  # the label that is changed
PLACEHOLDER = "@"

Content = Callable[[], bytes]


# --- The sound index -------------------------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of the sound dataset's frames."""
    return [f"{clip}/{number:05d}.png" for clip in CLIPS for number in range(LENGTH)]


def index() -> dict[str, Any]:
    """Return the sound index."""
    return {"labels": [[name, list(CAMERA)] for name in names()], "clips": {clip: {"fps": 25.0} for clip in CLIPS}}


def dumped(value: Any) -> bytes:
    """Return a value as JSON, with NaN and lone surrogates where Python's has them."""
    return json.dumps(value).encode()


def nested(depth: int) -> str:
    """Return lists in lists, as JSON."""
    return "[" * depth + "]" * depth


# --- Functions that return the content of a hostile one --------------------------------------------------------------


def value(content: Any) -> Content:
    """Return the content that is any value in place of the index."""
    return lambda: dumped(content)


def keys(**changes: Any) -> Content:
    """Return the sound index with some of its keys replaced."""
    return lambda: dumped(index() | changes)


def more_labels(*labels: Any) -> Content:
    """Return the sound index with more labels."""
    return lambda: dumped(index() | {"labels": [*index()["labels"], *labels]})


def label(changed: Any) -> Content:
    """Return the sound index with one label replaced."""

    def content() -> bytes:
        labels = index()["labels"]
        labels[TARGET] = changed
        return keys(labels=labels)()

    return content


def camera(changed: Any) -> Content:
    """Return the sound index with one camera replaced."""
    return label([names()[TARGET], changed])


def number(text: str) -> Content:
    """Return the sound index with one number of a camera replaced by a text of JSON."""
    changed = [*CAMERA[:3], PLACEHOLDER, *CAMERA[4:]]
    return lambda: camera(changed)().replace(dumped(PLACEHOLDER), text.encode())


def frame(name: str) -> Content:
    """Return the sound index with one frame more, of this name."""
    return more_labels([name, CAMERA])


def clip(description: Any) -> Content:
    """Return the sound index with the first clip's description replaced."""
    return keys(clips={"a": description, "b": {"fps": 25.0}})


def fps(text: str) -> Content:
    """Return the sound index with the first clip's frame rate replaced by a text of JSON."""
    return lambda: clip({"fps": PLACEHOLDER})().replace(dumped(PLACEHOLDER), text.encode())


def identity(text: str) -> Content:
    """Return the sound index with an identity of the first clip, a text of JSON."""
    description = {"fps": 25.0, "identity": PLACEHOLDER}
    return lambda: clip(description)().replace(dumped(PLACEHOLDER), text.encode())


# --- The rows --------------------------------------------------------------------------------------------------------

ROWS: list[tuple[str, Content, DatasetOutcome]] = [
    # The text.
    ("empty", lambda: b"", REFUSED),
    ("not UTF-8", lambda: b"\xff\xfe{}\x00", REFUSED),
    ("latin-1", lambda: '{"é": 1}'.encode("latin-1"), REFUSED),
    ("cut short", lambda: dumped(index())[:-100], REFUSED),
    ("zeros", lambda: bytes(10**6), REFUSED),
    ("a pickle", lambda: b"\x80\x04N.", REFUSED),
    ("100000 brackets", lambda: nested(100_000).encode(), REFUSED),
    ("100000 braces", lambda: b'{"a":' * 100_000, REFUSED),
    ("an open string", lambda: b'"' + b"a" * 10**6, REFUSED),
    ("100 MB of text", lambda: b" " * 10**8 + dumped(index()), REFUSED),
    ("100 MB of numbers", lambda: b"[" + b"0," * (5 * 10**7) + b"0]", REFUSED),
    ("8 MB of lists", lambda: b"[" + b"[]," * (8 * 10**6 // 3) + b"0]", REFUSED),
    ("a byte order mark", lambda: b"\xef\xbb\xbf" + dumped(index()), FINE),
    # Types.
    ("None", value(None), REFUSED),
    ("1", value(1), REFUSED),
    ("'text'", value("text"), REFUSED),
    ("[]", value([]), REFUSED),
    ("True", value(True), REFUSED),
    ("inf", value(1e400), REFUSED),
    ("labels None", keys(labels=None), REFUSED),
    ("labels 1", keys(labels=1), REFUSED),
    ("labels text", keys(labels="text"), REFUSED),
    ("labels {}", keys(labels={}), REFUSED),
    ("labels []", keys(labels=[]), REFUSED),
    ("labels [1]", keys(labels=[1]), REFUSED),
    ("labels [[]]", keys(labels=[[]]), REFUSED),
    ("labels ['ab']", keys(labels=["ab"]), REFUSED),
    ("labels [['a']]", keys(labels=[["a"]]), REFUSED),
    ("labels [[1, [1.0, 0.0, 0.0, 0.0, 0.0,", keys(labels=[[1, CAMERA]]), REFUSED),
    ("labels [[None, 1]]", keys(labels=[[None, 1]]), REFUSED),
    ("labels [[['a'], [1.0, 0.0, 0.0, 0.0, ", keys(labels=[[["a"], CAMERA]]), REFUSED),
    ("one label 1", label(1), REFUSED),
    ("one label ab", label("ab"), REFUSED),
    ("one label ['a/00000.png']", label(["a/00000.png"]), REFUSED),
    ("one label None", label(None), REFUSED),
    ("clips 1", keys(clips=1), LISTED),
    ("clips text", keys(clips="text"), LISTED),
    ("clips [1]", keys(clips=[1]), LISTED),
    ("clips [{'a': 1}]", keys(clips=[{"a": 1}]), LISTED),
    ("clips null", keys(clips=None), FINE),
    ("clip None", clip(None), FLAGGED),
    ("clip 1", clip(1), FLAGGED),
    ("clip text", clip("text"), FLAGGED),
    ("clip [1]", clip([1]), FLAGGED),
    ("clip that is not there", keys(clips={"c": {}, **index()["clips"]}), FLAGGED),
    ("no clip described", keys(clips={}), FINE),
    ("more keys", keys(more={"a": [1, {"b": None}]}, __class__="os.system"), FINE),
    # Cameras.
    ("camera None", camera(None), LISTED),
    ("camera 1", camera(1), LISTED),
    ("camera text", camera("text"), LISTED),
    ("camera []", camera([]), LISTED),
    ("camera {}", camera({}), LISTED),
    ("camera of 24 numbers", camera(CAMERA[:24]), LISTED),
    ("camera [1.0, 0.0, 0.0, 0.0, 0.0, -1.0", camera([*CAMERA, 0]), LISTED),
    ("camera [[1.0, 0.0, 0.0, 0.0, 0.0, -1.", camera([CAMERA]), LISTED),
    ("camera [[1], [2, 3]]", camera([[1], [2, 3]]), LISTED),
    ("camera {'0': 1}", camera({"0": 1}), LISTED),
    ("camera ['x', 'x', 'x', 'x', 'x', 'x',", camera(["x"] * 25), LISTED),
    ("camera [None, None, None, None, None,", camera([None] * 25), LISTED),
    ("camera [{}, {}, {}, {}, {}, {}, {}, {", camera([{}] * 25), LISTED),
    ("number 10000000000000000000", number("1" + "0" * 400), LISTED),
    ("number -1000000000000000000", number("-1" + "0" * 400), LISTED),
    ("number 1e400", number("1e400"), LISTED),
    ("number NaN", number("NaN"), LISTED),
    ("number Infinity", number("Infinity"), LISTED),
    ("number -Infinity", number("-Infinity"), LISTED),
    ("number 1e300", number("1e300"), LISTED),
    ("number 3.5e38", number("3.5e38"), LISTED),
    ("number [1]", number("[1]"), LISTED),
    ("number {}", number("{}"), LISTED),
    ("number null", number("null"), LISTED),
    ("number [[[[[[[[[[[[[[[[[[[[", number(nested(100)), LISTED),
    ("number 11111111, long", number("1" * 5000), REFUSED),
    ("number [[[[[[[[, long", number(nested(100_000)), REFUSED),
    ("camera not rigid", camera([2 * number for number in CAMERA]), FLAGGED),
    ("camera of zeros", camera([0] * 25), FLAGGED),
    ("camera of 1e37", camera([1e37] * 25), FLAGGED),
    # Frame rates and identities.
    ("fps 0", fps("0"), FLAGGED),
    ("fps -25", fps("-25"), FLAGGED),
    ("fps 10000000000000000000", fps("1" + "0" * 400), FLAGGED),
    ("fps 1e400", fps("1e400"), FLAGGED),
    ("fps NaN", fps("NaN"), FLAGGED),
    ("fps -Infinity", fps("-Infinity"), FLAGGED),
    ("fps null", fps("null"), FLAGGED),
    ('fps "25"', fps('"25"'), FLAGGED),
    ("fps [25]", fps("[25]"), FLAGGED),
    ("fps {}", fps("{}"), FLAGGED),
    ("fps 1e300", fps("1e300"), FLAGGED),
    ("identity 500 deep", identity(nested(500)), FINE),
    ("identity 900 deep", identity(nested(900)), FINE),
    ("identity of a megabyte", clip({"fps": 25.0, "identity": "x" * 10**6}), FINE),
    # Names of frames.
    ("name '../../../../etc/passwd'", frame("../../../../etc/passwd"), LISTED),
    ("name '/etc/passwd'", frame("/etc/passwd"), LISTED),
    ("name 'a/../../x.png'", frame("a/../../x.png"), LISTED),
    (r"name 'a\\x.png'", frame("a\\x.png"), LISTED),
    ("name 'C:/x.png'", frame("C:/x.png"), LISTED),
    ("name ''", frame(""), LISTED),
    (r"name 'a/\x00.png'", frame("a/\0.png"), LISTED),
    (r"name 'a/\ud800.png'", frame("a/\ud800.png"), LISTED),
    (r"name 'a/\x1b[2J.png'", frame("a/\x1b[2J.png"), LISTED),
    (r"name 'a/two\nlines.png'", frame("a/two\nlines.png"), LISTED),
    ("name '..'", frame(".."), LISTED),
    ("a missing frame", frame("a/99999.png"), BROKEN),
    ("a frame twice", frame("a/00000.png"), FLAGGED),
    ("a frame 10000 times", lambda: more_labels(*[["a/00000.png", CAMERA]] * 10_000)(), FLAGGED),
    ("a frame of two cameras", more_labels(["a/00000.png", ZEROS]), LISTED),
    ("a name of a megabyte", frame("a/" + "x" * 10**6 + ".png"), LISTED),
    ("a folder as a frame", frame("a"), LISTED),
    ("the index as a frame", frame("dataset.json"), LISTED),
]
