"""Writes a dataset, to a folder or to an uncompressed zip, that is there as a whole or not at all."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import AnyPath, atomic_folder, atomic_path, refuse_existing, shown
from training.data.files import INDEX
from training.data.zip_writer import ZipWriter


class Target(Protocol):
    """Where the files of a dataset go."""

    def put(self, name: str, data: bytes) -> None:
        """Store a file under its path inside the dataset."""

    def put_file(self, name: str, file: IO[bytes]) -> None:
        """Store what is in an open file."""


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """A clip on its way to the disk.

    Attributes:
        frames: encoded images in order, with their file names inside the clip's folder.
        cameras: float [F, 25], one a frame.
        extras: other files for the clip's folder (depth).
        side: of the frames in pixels, where it may be another one than that of other clips.
    """

    name: str
    frames: list[tuple[str, bytes]]
    cameras: np.ndarray
    fps: float
    identity: str | None = None
    extras: list[tuple[str, bytes]] = field(default_factory=list)
    side: int | None = None


class DatasetWriter:
    """A dataset that takes clips one by one; `write_dataset` makes it.

    Args:
        labels: an empty file to which the text of the index is written as clips come.
    """

    def __init__(self, target: Target, labels: IO[bytes]) -> None:
        self._target = target
        self._index = labels
        self._clips: dict[str, dict[str, Any]] = {}
        self._sides: dict[int | None, str] = {}  # with the first clip of each

    def add(self, clip: ClipRecord) -> None:
        """Write a clip's files and its cameras. UserError if its frames are of another size than others."""
        assert len(clip.frames) == len(clip.cameras), clip.name
        self._sides.setdefault(clip.side, clip.name)
        if len(self._sides) > 1:
            sizes = " and ".join(f"{side} ({shown(name)})" for side, name in self._sides.items())
            raise UserError(f"The clips have frames of different sides, {sizes}: give one for all with --resolution.")
        for name, data in clip.frames + clip.extras:
            self._target.put(f"{clip.name}/{name}", data)
        for (name, _), camera in zip(clip.frames, clip.cameras, strict=True):
            label = [f"{clip.name}/{name}", [float(value) for value in camera]]
            self._index.write(b", " if self._index.tell() else b'{"labels": [')
            self._index.write(json.dumps(label, allow_nan=False).encode())
        self._clips[clip.name] = {"fps": clip.fps}
        if clip.identity is not None:
            self._clips[clip.name]["identity"] = clip.identity

    def write_index(self) -> None:
        """Write the index. UserError if no clip came."""
        if not self._index.tell():
            raise UserError("There are no clips to write: check --source and --clips.")
        self._index.write(b'], "clips": ' + json.dumps(self._clips, allow_nan=False).encode() + b"}")
        self._target.put_file(INDEX, self._index)


@contextlib.contextmanager
def write_dataset(path: AnyPath) -> Iterator[DatasetWriter]:
    """Open a writer for a new dataset at `path`: a zip if the name ends in .zip, else a folder.

    Nothing appears at `path` before the block has ended well; if it raises, Ctrl-C included, nothing is left.

    Raises:
        UserError: something is there already, no space, no permission, or no clip was added.
    """
    path = Path(path)
    refuse_existing(path)
    open_target = _open_zip if path.suffix.lower() == ".zip" else _open_folder
    with open_target(path) as target, tempfile.TemporaryFile(dir=path.parent) as labels:
        writer = DatasetWriter(target, labels)
        yield writer
        writer.write_index()


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[Target]:
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as file,
        ZipWriter(file, path.parent) as target,
    ):
        yield target


@contextlib.contextmanager
def _open_folder(path: Path) -> Iterator[Target]:
    with atomic_folder(path) as folder:
        yield _Folder(folder)


class _Folder:
    """A folder that files go to."""

    def __init__(self, path: Path):
        self._path = path

    def put(self, name: str, data: bytes) -> None:
        self._made(name).write_bytes(data)

    def put_file(self, name: str, file: IO[bytes]) -> None:
        file.seek(0)
        with open(self._made(name), "wb") as copy:
            shutil.copyfileobj(file, copy)

    def _made(self, name: str) -> Path:
        """Return the path of a file to write, in a folder that is there."""
        target = self._path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
