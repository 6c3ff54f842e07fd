"""Writes a dataset, to a folder or to an uncompressed zip, that is there as a whole or not at all."""

import contextlib
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import AnyPath, atomic_folder, atomic_path, refuse_existing, shown
from training.data.files import INDEX

Put = Callable[[str, bytes], None]  # stores a file under its path inside the dataset


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
    """A dataset that takes clips one by one; `write_dataset` makes it."""

    def __init__(self, put: Put) -> None:
        self._put = put
        self._labels: list[list[Any]] = []  # [path, camera]
        self._clips: dict[str, dict[str, Any]] = {}
        self._sides: dict[int | None, str] = {}  # with the first clip of each

    def add(self, clip: ClipRecord) -> None:
        """Write a clip's files and remember its cameras. UserError if its frames are of another size than others."""
        assert len(clip.frames) == len(clip.cameras), clip.name
        self._sides.setdefault(clip.side, clip.name)
        if len(self._sides) > 1:
            sizes = " and ".join(f"{side} ({shown(name)})" for side, name in self._sides.items())
            raise UserError(f"The clips have frames of different sides, {sizes}: give one for all with --resolution.")
        for name, data in clip.frames + clip.extras:
            self._put(f"{clip.name}/{name}", data)
        for (name, _), camera in zip(clip.frames, clip.cameras, strict=True):
            self._labels.append([f"{clip.name}/{name}", [float(value) for value in camera]])
        self._clips[clip.name] = {"fps": clip.fps}
        if clip.identity is not None:
            self._clips[clip.name]["identity"] = clip.identity

    def write_index(self) -> None:
        """Write the index. UserError if no clip came."""
        if not self._labels:
            raise UserError("There are no clips to write: check --source and --clips.")
        index = {"labels": self._labels, "clips": self._clips}
        self._put(INDEX, json.dumps(index, allow_nan=False).encode())


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
    with open_target(path) as put:
        writer = DatasetWriter(put)
        yield writer
        writer.write_index()


@contextlib.contextmanager
def _open_zip(path: Path) -> Iterator[Put]:
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        yield archive.writestr


@contextlib.contextmanager
def _open_folder(path: Path) -> Iterator[Put]:
    with atomic_folder(path) as folder:

        def put(name: str, data: bytes) -> None:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

        yield put
