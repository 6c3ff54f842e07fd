"""JSON that is too large to be held as objects: one long list in it is handed on item by item as it is read."""

import codecs
import json
import re
from collections.abc import Callable, Iterable

from dnnlib.files import without_repeats

WHITESPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder(object_pairs_hook=without_repeats)
MAX_ITEM = 2**20  # characters of an item of the list
CUT = re.compile(r"[-+.0-9eE]*\Z")  # what may be missing of a number if the text read so far ends so
MARKS = (b",", b":", b"[", b"{")  # one of which every value follows
STREAMED = object()  # stands for the list that was handed on


def parse_stream(
    pieces: Iterable[bytes],
    streamed: str,
    take: Callable[[object], None],
    *,
    max_values: int,
) -> object:
    """Parse JSON text as `dnnlib.files.parse_json` does, handing on the items of a list of the outermost object.

    Args:
        pieces: the text.
        streamed: the list's name in the object. If the value of that name is no list, it is kept as others are.
        take: gets each item.
        max_values: how many values the text may have.

    Returns:
        The value, with STREAMED in place of the list, unless that is empty.

    Raises:
        ValueError: in words, if the text is no JSON, too large or too deep, or names a value twice.
    """
    text = _Text(pieces, max_values)
    if text.next() != "{":
        value = text.value()
    else:
        text.place += 1
        found: list[tuple[str, object]] = []
        follows = "}" if text.next() == "}" else ","
        text.place += follows == "}"
        while follows == ",":
            if text.next() != '"':
                raise ValueError("a name in quotes is missing")
            name = str(text.value())
            text.mark(":")
            if name == streamed and text.next() == "[":
                found.append((name, STREAMED if text.items(take) else []))
            else:
                found.append((name, text.value()))
            follows = text.mark(",}")
        value = without_repeats(found)
    if text.next():
        raise ValueError("there is more behind its end")
    return value


class _Text:
    """The part of a text that is read and not yet used: `text` from `place` on."""

    def __init__(self, pieces: Iterable[bytes], max_values: int):
        self.text = ""
        self.place = 0
        self._pieces = iter(pieces)
        self._ended = False
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._max_values = self._values_left = max_values

    def next(self) -> str:
        """Go on to what is no space; return its first character, or nothing at the end."""
        while True:
            match = WHITESPACE.match(self.text, self.place)
            assert match is not None
            self.place = match.end()
            if self.place < len(self.text) or self._ended:
                return self.text[self.place : self.place + 1]
            self._read_on()

    def mark(self, marks: str) -> str:
        """Go past the next character, and return it. ValueError if it is none of these."""
        mark = self.next()
        if not mark or mark not in marks:
            raise ValueError(f"one of {marks} is missing")
        self.place += 1
        return mark

    def items(self, take: Callable[[object], None]) -> bool:
        """Go past a list, and hand on its items; return whether there are any."""
        self.mark("[")
        if self.next() == "]":
            self.place += 1
            return False
        follows = ","
        while follows == ",":
            self.next()
            take(self.value(MAX_ITEM))
            follows = self.text[self.place : self.place + 1]
            if follows == "," and self.text[self.place + 1 : self.place + 2]:
                self.place += 1  # the quick way
            else:
                follows = self.mark(",]")
        return True

    def value(self, most: int | None = None) -> object:
        """Go past a value, of at most about this many characters, and return it."""
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.place)
                if self._ended or not CUT.match(self.text, end):
                    self.place = end
                    return value
            except json.JSONDecodeError:
                left = len(self.text) - self.place
                if self._ended or (most is not None and left > most):
                    raise
            except RecursionError:
                raise ValueError("nested too deeply") from None
            self._read_on(len(self.text) - self.place)

    def _read_on(self, least: int = 0) -> None:
        """Read a piece, or as many as hold `least` bytes: a long value is tried again at twice its length."""
        parts = [self.text[self.place :]]
        count = 0
        while not self._ended and count <= least:
            piece = next(self._pieces, None)
            self._ended = piece is None
            piece = piece or b""
            self._values_left -= sum(piece.count(mark) for mark in MARKS)
            if self._values_left < 0:
                raise ValueError(f"more than {self._max_values} values")
            parts.append(self._decode(piece, self._ended))
            count += len(piece)
        self.text = "".join(parts)
        self.place = 0
