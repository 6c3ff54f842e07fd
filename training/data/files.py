"""A dataset's files: a folder or zip of `<clip>/<frame>.png|jpg` with `dataset.json`."""

import functools
import os
import re
import stat
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from dnnlib.columns import Columns
from dnnlib.content import checksums
from dnnlib.errors import UserError
from dnnlib.files import MAX_JSON_BYTES, MAX_JSON_VALUES, PIECE_BYTES, AnyPath, parse_json, require_file, shown
from dnnlib.json_stream import STREAMED, parse_stream
from dnnlib.names import is_leftover, listed, plain
from dnnlib.progress import Counter
from training.data.kept import KEPT_FILES, kept_columns, known_columns, settled_state
from training.data.zips import Directory, Members, digest_of, find_directory, read_directory

INDEX = "dataset.json"
LABELS = "labels"
DRIVE = re.compile("[A-Za-z]:")  # begins a path on Windows
MAKE_ONE = "make one with `python dataset_tool.py preprocess`, `convert` or `synth`"
# Bounds of what a dataset may ask for, whatever its headers say: an index of so much a file of the dataset beyond any
# JSON's bounds. A frame with its camera takes about 560 bytes and 30 values, so that those bounds alone let about 15000
# through: 10 minutes at 25 frames a second.
MAX_FILE_BYTES = 2**26
INDEX_BYTES_PER_FILE = 2048
INDEX_VALUES_PER_FILE = 64
MAX_NAME = 1024  # characters; file systems take 255 between two slashes
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

    def count(self) -> int:
        """Return how many files there are, but leftovers."""
        return sum(1 for _ in self.names())

    def names(self) -> Iterator[str]:
        """Yield all files but leftovers, as paths relative to the folder with `/`."""
        return (name for name in map(plain, self._walk()) if not is_leftover(name))

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
        return b"".join(self.pieces(name, most))

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        """Yield a file's bytes piece by piece; raise what `read` does."""
        target, found = self._find(name)
        mode = found.st_mode
        if stat.S_ISDIR(mode):
            raise KeyError(name)
        if os.path.commonpath([self._root, target]) != self._root:
            raise OSError("a link that leads out of the dataset")
        if not stat.S_ISREG(mode):
            raise OSError("a pipe, a socket or a device")
        with open(target, "rb") as file:
            count = 0
            while piece := file.read(PIECE_BYTES):
                count += len(piece)
                if count > most:
                    raise ValueError(f"more than {most} bytes")
                yield piece

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
    """Files in a zip, by plain names.

    UserError if it is no zip, or a name in it is unsafe or comes twice, or entries share their bytes.
    """

    key: str | None = None  # changes with the content; of large ones, about which columns are kept

    def __init__(self, path: Path):
        self.path = path
        try:
            self._open()
            directory = find_directory(self._file)
            # What is in a large one is known by its directory; the file's state tells of what changes elsewhere in it.
            if directory.members >= KEPT_FILES and (state := settled_state(self._file)):
                directory = find_directory(self._file)
                self.key = f"{digest_of(self._file, directory).hex()} {state}"
            build = partial(self._read_directory, directory)
            columns = kept_columns("members", self.key, build) if self.key else build()
        except DAMAGE as error:
            raise UserError(f"{path} is not a whole zip ({shown(str(error))}): copy or make it again.") from error
        self.members = Members(columns)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "key": self.key, "members": None if self.key else self.members}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.key is not None:
            self.members = Members(known_columns("members", self.key))
        self._open()

    def _open(self) -> None:
        """Open the file for this process and those that it forks: members are read by their place in it."""
        self._file = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def _read_directory(self, directory: Directory) -> Columns:
        """Read what the zip holds. UserError if something about its names is wrong, or it is too small."""
        title = f"Reading the directory of {self.path} once"
        silent = directory.members < KEPT_FILES
        with Counter(directory.members, title=title, unit="file", leave=False, silent=silent) as counter:
            columns = read_directory(self._file, directory, counter)
        members = Members(columns)
        for name in members.names():
            if fault := fault_of_name(name.removesuffix("/")):
                raise UserError(
                    f"{self.path} holds the unsafe path {shown(repr(name))} ({fault}): make the zip again with "
                    "relative paths inside it."
                )
        if again := members.repeated():
            raise UserError(f"{self.path} holds {shown(again[0])} {again[1]} times: make the zip again.")
        if columns["packed"].astype(float).sum() > os.fstat(self._file).st_size:
            raise UserError(f"{self.path} is smaller than what it says it holds: copy or make it again.")
        return columns

    def count(self) -> int:
        """Return how many files there are, leftovers included."""
        return len(self.members)

    def names(self) -> Iterator[str]:
        """Yield all files in the zip but leftovers, as paths."""
        return (name for name in self.members.names() if not name.endswith("/") and not is_leftover(name))

    def datasets_inside(self) -> list[str]:
        """List the folders inside, at any depth, that hold an index."""
        return [path.parent.as_posix() for path in map(PurePosixPath, listed(self.names())) if path.name == INDEX]

    def read(self, name: str, most: int = MAX_FILE_BYTES) -> bytes:
        """Read a file's bytes.

        Raises:
            KeyError: there is none of this name.
            one of DAMAGE: it cannot be read or is larger than `most` bytes.
        """
        return b"".join(self.pieces(name, most))

    def pieces(self, name: str, most: int) -> Iterator[bytes]:
        """Yield a file's bytes piece by piece; raise what `read` does."""
        return self.members.pieces(self._file, self.members.find(name), most)

    def size(self, name: str) -> int:
        """Return a file's number of bytes; -1 if there is none of this name."""
        return int(self.members.sizes(self.members.numbers([name]))[0])


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

Take = Callable[[str, object], None]  # gets a frame's plain path and its label, unchecked


def read_index(files: Files, take: Take) -> dict[str, Any]:
    """Read dataset.json; hand on its labels, and return the rest.

    Raises:
        UserError: it is missing, no JSON object, too large for so few files, or has no labels (so no cameras).
    """
    try:
        index = _parse_index(files, take)
    except KeyError:
        raise _no_index(files) from None
    except DAMAGE as error:  # json's and unicode's errors are ValueErrors
        raise UserError(
            f"{INDEX} of the dataset {files.path} is unreadable ({shown(str(error))}): {MAKE_ONE}."
        ) from error
    if not isinstance(index, dict):
        raise UserError(f'{INDEX} of the dataset {files.path} is not a JSON object with "labels": {MAKE_ONE}.')
    labels = index.pop(LABELS, None)
    if labels is not STREAMED:
        for entry in _entries(labels, files.path):
            take(*entry)
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


def _parse_index(files: Files, take: Take) -> object:
    """Parse an index's JSON, a large one label by label; the files are counted only for such a one."""
    size = files.size(INDEX)
    if size <= MAX_JSON_BYTES:
        return parse_json(files.read(INDEX, MAX_JSON_BYTES))
    count = files.count()
    pieces = files.pieces(INDEX, MAX_JSON_BYTES + count * INDEX_BYTES_PER_FILE)
    max_values = MAX_JSON_VALUES + count * INDEX_VALUES_PER_FILE
    title = f"Reading {INDEX} of {files.path} once" if isinstance(files, ZipFiles) else f"Reading {INDEX}"
    with Counter(size, title=title, unit="B", scaled=True, leave=False) as counter:
        return parse_stream(
            _counted(pieces, counter),
            LABELS,
            lambda entry: take(*_entry(entry, files.path)),
            max_values=max_values,
        )


def _counted(pieces: Iterable[bytes], counter: Counter) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        counter.update(len(piece))


def _entries(labels: object, path: Path) -> list[tuple[str, object]]:
    """Return the (frame path, label) entries of labels, a list or an object: plain paths, labels unchecked.

    UserError if there are none: such a dataset has no cameras.
    """
    if isinstance(labels, dict):
        labels = list(labels.items())
    if not labels:
        raise UserError(f'The dataset {path} has no cameras ("labels" in {INDEX} is missing or empty): {MAKE_ONE}.')
    return [_entry(entry, path) for entry in (labels if isinstance(labels, list) else [None])]


def _entry(entry: object, path: Path) -> tuple[str, object]:
    """Return an entry of the labels with its plain path. UserError if it is none."""
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str):
        return plain(entry[0]), entry[1]
    raise UserError(f'"labels" in {INDEX} of {path} must be a list of [path, 25 numbers]: {MAKE_ONE}.')
