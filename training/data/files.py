"""A dataset's files: a folder or zip of `<clip>/<frame>.png|jpg` with `dataset.json`."""

import contextlib
import functools
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from dnnlib.content import UNREADABLE, checksums
from dnnlib.errors import UserError
from dnnlib.files import MAX_JSON_BYTES, MAX_JSON_VALUES, AnyPath, parse_json, read_at_most, require_file, shown
from dnnlib.names import listed, plain

INDEX = "dataset.json"
DRIVE = re.compile("[A-Za-z]:")  # begins a path on Windows
MAKE_ONE = "make one with `python dataset_tool.py convert` or `synth`"
# Bounds of what a dataset may ask for, whatever its headers say: an index of so much a file of the dataset beyond any
# JSON's bounds. A frame with its camera takes about 560 bytes and 30 values, so that those bounds alone let about 15000
# through: 10 minutes at 25 frames a second.
MAX_FILE_BYTES = 2**26
INDEX_BYTES_PER_FILE = 2048
INDEX_VALUES_PER_FILE = 64
MAX_NAME = 1024  # characters; file systems take 255 between two slashes
UTF8_NAME = 0x800  # the flag of a zip's member whose name is in UTF-8; else it is in code page 437
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)

# --- A folder or a zip ------------------------------------------------------------------------------------------------


def fault_of_name(name: str) -> str | None:
    """Return why a name cannot be one inside a dataset; None if it stays inside on every system, and can be shown."""
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME:
        return f"it has more than {MAX_NAME} characters"
    if not name.isprintable():
        return "it has an unprintable character"
    if "\\" in name:
        return "it has a backslash"
    if name.startswith("/"):
        return "it begins with a slash"
    if DRIVE.match(name):
        return "it begins as a drive's name does"
    if ".." in name and ".." in PurePosixPath(name).parts:
        return "it leads outside"
    return None


class FolderFiles:
    """Files below a folder, by plain names. Links are followed as long as they stay inside."""

    def __init__(self, path: Path):
        self.path = path
        self._root = os.path.realpath(path)

    def names(self) -> list[str]:
        """List all files but leftovers, in natural order, as paths relative to the folder with `/`."""
        return listed(plain(name) for name in self._walk())

    def datasets_inside(self) -> list[str]:
        """List the folders right inside that hold an index."""
        return listed(path.parent.name for path in self.path.glob(f"*/{INDEX}"))

    def read(self, name: str, most: int = MAX_FILE_BYTES) -> bytes:
        """Read a file's bytes.

        Raises:
            KeyError: there is none of this name.
            one of DAMAGE: it cannot be read, is larger than `most` bytes, is a pipe or device (which are not opened),
                or a link that leads outside.
        """
        target, found = self._find(name)
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            raise KeyError(name)
        if os.path.commonpath([self._root, target]) != self._root:
            raise OSError("a link that leads out of the dataset")
        if not stat.S_ISREG(mode):
            raise OSError("a pipe, a socket or a device")
        with open(target, "rb") as file:
            return read_at_most(file, most)

    def size(self, name: str) -> int:
        """Return a file's number of bytes; -1 if there is none of this name."""
        try:
            _, found = self._find(name)
        except (KeyError, OSError):
            return -1
        return found.st_size

    def checksums(self, names: Sequence[str]) -> list[str]:
        """Return a text for each file that changes with its content, as `dnnlib.content.checksums` does."""
        return checksums(self.path, [self._spelling(name) for name in names])

    def _walk(self) -> Iterator[str]:
        """Yield the files below the folder as they are stored."""
        for folder, _, files in os.walk(self.path):
            relative = Path(folder).relative_to(self.path)
            yield from ((relative / name).as_posix() for name in files)

    def _find(self, name: str) -> tuple[str, os.stat_result]:
        """Return the real path of what has a name, and what it is. KeyError if there is none, OSError if refused."""
        target = os.path.realpath(self.path / self._spelling(name))
        try:
            return target, os.stat(target)
        except (FileNotFoundError, NotADirectoryError):
            raise KeyError(name) from None

    def _spelling(self, name: str) -> str:
        """Return how a file of this plain name is stored."""
        if name.isascii() or os.path.lexists(self.path / name):
            return name
        return self._spellings.get(name, name)

    @functools.cached_property
    def _spellings(self) -> dict[str, str]:
        """How files are stored whose accents are not composed, by plain name."""
        return {plain(name): name for name in self._walk() if name != plain(name)}


class ZipFiles:
    """Files in a zip, by plain names; every process opens it for itself: loader workers share no file position.

    UserError if it is no zip, or a name in it is unsafe or comes twice, or entries share their bytes.
    """

    def __init__(self, path: Path):
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        self._process = 0  # that opened it
        archive = self._open()
        members = [(_name_of(item), item) for item in archive.infolist()]
        for name, _ in members:
            if fault := fault_of_name(name):
                raise UserError(
                    f"{path} holds the unsafe path {shown(repr(name))} ({fault}): make the zip again with relative "
                    "paths inside it."
                )
        for name, count in Counter(f"{name}/" if item.is_dir() else name for name, item in members).items():
            if count > 1:
                raise UserError(f"{path} holds {shown(name)} {count} times: make the zip again.")
        self._spellings = {name: item.filename for name, item in members if name != item.filename and not item.is_dir()}
        if sum(item.compress_size for item in archive.infolist()) > path.stat().st_size:
            raise UserError(f"{path} is smaller than what it says it holds: copy or make it again.")

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_zip": None, "_process": 0}

    def _open(self) -> zipfile.ZipFile:
        if self._zip is not None and self._process == os.getpid():
            return self._zip
        try:
            archive = zipfile.ZipFile(self.path)
        except DAMAGE as error:
            raise UserError(f"{self.path} is not a whole zip ({shown(str(error))}): copy or make it again.") from error
        self._zip = archive
        self._process = os.getpid()
        return archive

    def names(self) -> list[str]:
        """List all files in the zip but leftovers, in natural order."""
        return listed(_name_of(item) for item in self._open().infolist() if not item.is_dir())

    def datasets_inside(self) -> list[str]:
        """List the folders inside, at any depth, that hold an index."""
        return [path.parent.as_posix() for path in map(PurePosixPath, self.names()) if path.name == INDEX]

    def read(self, name: str, most: int = MAX_FILE_BYTES) -> bytes:
        """Read a file's bytes.

        Raises:
            KeyError: there is none of this name.
            one of DAMAGE: it cannot be read or is larger than `most` bytes.
        """
        archive = self._open()
        item = archive.getinfo(self._spellings.get(name, name))
        if item.compress_type not in PLAIN:  # the others cannot be unpacked bit by bit
            raise ValueError("compressed by another method than deflate")
        with archive.open(item) as file:
            return read_at_most(file, most)

    def size(self, name: str) -> int:
        """Return a file's number of bytes; -1 if there is none of this name."""
        try:
            return self._open().getinfo(self._spellings.get(name, name)).file_size
        except KeyError:
            return -1

    def checksums(self, names: Sequence[str]) -> list[str]:
        """Return a text for each file that changes with its content; it is the one of a folder with the same files.

        The zip's directory has the CRC-32 of all; reading a file that has another one fails.
        """
        found = [self._open().NameToInfo.get(self._spellings.get(name, name)) for name in names]
        return [UNREADABLE if item is None else f"{item.CRC:08x}" for item in found]


def _name_of(item: zipfile.ZipInfo) -> str:
    """Return a member's plain name; macOS writes UTF-8 without saying so, and is taken for the PC's old code page."""
    name = item.filename
    if not name.isascii() and not item.flag_bits & UTF8_NAME:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return plain(name)


Files = FolderFiles | ZipFiles


def open_files(path: AnyPath) -> Files:
    """Open the files of the dataset at `path`. UserError if it is missing, or neither a folder nor a zip."""
    path = Path(path)
    if path.is_dir():
        return FolderFiles(path)
    if not path.exists():
        raise UserError(f"The dataset {path} does not exist: check the path, or {MAKE_ONE}.")
    if path.suffix.lower() != ".zip":
        raise UserError(f"The dataset {path} is neither a folder nor a .zip: {MAKE_ONE}.")
    return ZipFiles(require_file(path, "dataset"))


# --- The index --------------------------------------------------------------------------------------------------------


def read_index(files: Files) -> dict[str, Any]:
    """Read dataset.json as a dictionary. UserError if it is missing, no JSON object, or too large for so few files."""
    try:
        index = _parse_index(files)
    except KeyError:
        raise _no_index(files) from None
    except DAMAGE as error:  # json's and unicode's errors are ValueErrors
        raise UserError(
            f"{INDEX} of the dataset {files.path} is unreadable ({shown(str(error))}): {MAKE_ONE}."
        ) from error
    if not isinstance(index, dict):
        raise UserError(f'{INDEX} of the dataset {files.path} is not a JSON object with "labels": {MAKE_ONE}.')
    return index


def _no_index(files: Files) -> UserError:
    inside = files.datasets_inside()
    if not inside:
        return UserError(f"The dataset {files.path} has no {INDEX}: {MAKE_ONE}.")
    folder = shown(inside[0])
    if isinstance(files, FolderFiles):
        return UserError(f"{files.path} has no {INDEX}, but its folder {folder} has one: give {files.path / folder}.")
    return UserError(
        f"{files.path} has a folder around its content ({folder}/{INDEX}): zip what is inside that folder, or unpack "
        "the zip and give the folder."
    )


def _parse_index(files: Files) -> object:
    """Parse an index's JSON; the files are counted only for a large one."""
    count = len(files.names()) if files.size(INDEX) > MAX_JSON_BYTES else 0
    max_bytes = MAX_JSON_BYTES + count * INDEX_BYTES_PER_FILE
    max_values = MAX_JSON_VALUES + count * INDEX_VALUES_PER_FILE
    return parse_json(files.read(INDEX, max_bytes), max_bytes, max_values)


def labels_of(index: dict[str, Any], path: Path) -> list[tuple[str, object]]:
    """Return the (frame path, label) entries of an index, a list or an object: plain paths, labels unchecked.

    UserError if there are none: such a dataset has no cameras.
    """
    labels = index.get("labels")
    if isinstance(labels, dict):
        labels = list(labels.items())
    if not labels:
        raise UserError(f'The dataset {path} has no cameras ("labels" in {INDEX} is missing or empty): {MAKE_ONE}.')
    if not isinstance(labels, list) or not all(_is_entry(entry) for entry in labels):
        raise UserError(f'"labels" in {INDEX} of {path} must be a list of [path, 25 numbers]: {MAKE_ONE}.')
    return [(plain(entry[0]), entry[1]) for entry in labels]


def _is_entry(entry: object) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
