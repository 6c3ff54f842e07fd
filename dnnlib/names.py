"""Names of files: the order that people mean, and the leftovers of operating systems, for every listing."""

import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import PurePath, PurePosixPath

from dnnlib.files import shown

ESCAPE = "surrogateescape"  # how Python keeps bytes of a file's name that are no text of the locale's
ESCAPED = re.compile("[\udc80-\udcff]+")
DIGITS = re.compile(r"([0-9]+)")
SLOPPY = re.compile(r"/\.?(/|$)|^\./")  # what a path may have and needs not
DECIMALS = re.compile(r"[0-9]\.([0-9]+)")
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*$")  # of a file's name
MAX_DIGITS = 18  # of a number that counts something
MAX_NAMED = 5  # names in a message
# What macOS and Windows leave in folders and zips, in lower case; names with a leading dot are all left out.
LEFTOVERS = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"})

NaturalKey = tuple[str, str]


def natural_key(name: str | PurePath) -> NaturalKey:
    """Return a key that sorts names with numbers as numbers: frame2 before frame10.

    Names whose numbers have equal numbers of digits keep the order that they have as text: a digit stands where it
    stands among all characters. Names that differ in leading zeros only are in the order of their text.
    """
    text = name.as_posix() if isinstance(name, PurePath) else name
    return DIGITS.sub(_marked, text), text


def _marked(number: re.Match) -> str:
    """Return a number as text that sorts by its value: a digit, how many digits follow, and these."""
    digits = number[0].lstrip("0")
    return f"0{chr(min(len(digits), sys.maxunicode))}{digits}"


def frame_numbers(names: Sequence[str]) -> list[int] | None:
    """Return the number of each name, such as a frame's: the one by which they differ, or their last if none does.

    None if the names differ by anything else, or have no number.
    """
    pieces = [DIGITS.split(SUFFIX.sub("", name)) for name in names]
    if len({len(parts) for parts in pieces}) != 1:
        return None
    columns = list(zip(*pieces, strict=True))
    values = [{part.lstrip("0") for part in column} for column in columns[1::2]]
    differing = [place for place, found in enumerate(values) if len(found) > 1] or [len(values) - 1]
    if len(differing) > 1 or not values or any(len(set(column)) > 1 for column in columns[::2]):
        return None
    numbers = columns[1::2][differing[0]]
    return [int(number) for number in numbers] if max(map(len, numbers)) <= MAX_DIGITS else None


def frame_name(number: int, count: int, suffix: str) -> str:
    """Return the name of a frame's file; in clips of `count` frames, names sort as frames do."""
    digits = max(3, len(str(count - 1)))
    return f"frame{number:0{digits}d}.{suffix}"


def is_order_doubtful(names: Sequence[str]) -> bool:
    """Return whether the natural order of names, such as a clip's frames', may be another one than that of the frames.

    So it may unless a number comes first in which all differ, or whole numbers are all that they differ by: with signs,
    decimals (0.5 is sorted before 0.15), words, two kinds of pictures in one folder.
    """
    stems = [SUFFIX.sub("", name) for name in names]
    parts = [DIGITS.split(stem, maxsplit=1) for stem in stems]
    if len({(part[0], len(part)) for part in parts}) == 1:
        first = {part[1].lstrip("0") for part in parts if len(part) > 1}
        if len(first) == len(names):
            return False
    if len({DIGITS.sub("0", stem) for stem in stems}) > 1 or len(set(stems)) < len(stems):
        return True
    return len({tuple(map(len, DECIMALS.findall(stem))) for stem in stems}) > 1


def order_notes(folders: Iterable[tuple[str, Sequence[str]]], what: str) -> list[str]:
    """Return a sentence if the order of the files in some folders is doubtful.

    Args:
        folders: each with the names of its files, in natural order.
        what: the folders are.
    """
    count = 0
    order = ""
    for folder, names in folders:
        if is_order_doubtful(names):
            count += 1
            order = order or shown(f"{folder} is read as {few(names)}")
    if not count:
        return []
    return [f"See whether files are in order in {count} {what}, whose names do more than number them: {order}."]


def few(names: Sequence[str]) -> str:
    """Return names for a message: all, or the first ones and how many more."""
    some = ", ".join(names[:MAX_NAMED])
    return some if len(names) <= MAX_NAMED else f"{some} and {len(names) - MAX_NAMED} more"


def not_taken(what: str, names: Sequence[str]) -> list[str]:
    """Return a sentence that counts and names what is not taken, if there is anything."""
    return [f"Not taken: {what} ({len(names)}): {shown(few(names))}."] if names else []


def plain(name: str) -> str:
    """Return a path inside a folder or zip as it is compared: without `./` and `//`, accents composed (NFC).

    macOS stores "é" as two characters (NFD), which look the same. In an ASCII locale Python lists its bytes as so many
    surrogates, which are put together again.
    """
    if not name or (name.isascii() and not SLOPPY.search(name)):
        return name
    text = ESCAPED.sub(lambda found: found[0].encode("utf-8", ESCAPE).decode("utf-8", ESCAPE), name)
    return unicodedata.normalize("NFC", PurePosixPath(text).as_posix())


def is_leftover(name: str | PurePath) -> bool:
    """Return whether a file is nobody's data: a part of its path is hidden, or one that macOS or Windows leave behind.

    Args:
        name: a path relative to the folder or zip that is listed, with `/`.
    """
    parts = name.parts if isinstance(name, PurePath) else PurePosixPath(name).parts
    return any(part.startswith(".") or part.lower() in LEFTOVERS for part in parts)


def listed(names: Iterable[str]) -> list[str]:
    """Return names in natural order, without leftovers."""
    return sorted((name for name in names if not is_leftover(name)), key=natural_key)
