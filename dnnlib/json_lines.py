"""Files of one JSON object a line, which grow; a line that a killed process cut short counts as none."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import atomic_path, parse_json, storage_errors

MAX_LINE = 2**20  # bytes


def append(path: Path, lines: Iterable[str]) -> None:
    """Append lines, which come without their ends, behind whole ones: a last line that was cut short is ended first.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    text = "".join(f"{line}\n" for line in lines)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        start = "\n" if _is_torn(path) else ""
        with open(path, "a", encoding="utf-8") as file:
            file.write(start + text)


def require_lines(path: Path) -> None:
    """Raise UserError if `path` is an ordinary file that holds something else, which lines would spoil."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        first = file.read(MAX_LINE)
    line, end, _ = first.partition(b"\n")
    is_other = bool(first) and not first.startswith(b"{")
    is_no_object = bool(end) and _parse(line) is None
    if is_other or is_no_object:
        raise UserError(f"{path} is there, and holds no lines of JSON: choose another file.")


def read(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a file; lines that hold none are passed over."""
    values = [_parse(line) for line in path.read_bytes().splitlines()]
    return [value for value in values if value is not None]


def keep(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> bool:
    """Drop the lines that are not wanted or hold no object, if the file exists; return whether there were any."""
    if not path.exists():
        return False
    lines = path.read_bytes().splitlines(keepends=True)
    kept = []
    for line in lines:
        value = _parse(line)
        if value is not None and wanted(value):
            kept.append(line)
    if len(kept) == len(lines):
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"".join(kept))
    return True


def number(line: dict[str, Any], name: str) -> float:
    """Return a value of a line; NaN, which compares with nothing, if it is no number."""
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return value


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        value = parse_json(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_torn(path: Path) -> bool:
    """Return whether a file ends within a line; what is no ordinary file, such as a pipe, has no end."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with open(path, "rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"
