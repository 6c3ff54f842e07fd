"""A dataset's files: a folder or zip of `<clip>/<frame>.png|jpg` with `dataset.json`; from bytes to pixels and back."""

import io
import json
import os
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
import PIL.Image
import pyspng

from dnnlib.errors import UserError

INDEX = 'dataset.json'
PNG_MAGIC, PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'
FRAME_SUFFIXES = ('.png', '.jpg', '.jpeg')
DEPTH_SUFFIX = '.depth.png'              # 16-bit depth of a procedural frame, beside it
DEPTH_START, DEPTH_SPAN = 2.0, 2.0       # what 16-bit depth 0 means, and how much 65535 is more, world units
MAKE_ONE = 'make one with `python dataset_tool.py convert` or `synth`'
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def is_safe(name: str) -> bool:
    """Whether a name inside a dataset stays inside it: relative, no `..`, no drive, no backslash."""
    return bool(name) and '\\' not in name and ':' not in name and '\0' not in name \
        and not name.startswith('/') and '..' not in PurePosixPath(name).parts


class FolderFiles:
    """Files below a folder."""

    def __init__(self, path: Path):
        self.path = path

    def names(self) -> list[str]:
        """All files, as sorted paths relative to the folder with `/`."""
        found = []
        for folder, _, files in os.walk(self.path):
            relative = Path(folder).relative_to(self.path)
            found += [(relative / name).as_posix() for name in files]
        return sorted(found)

    def read(self, name: str) -> bytes:
        """A file's bytes. KeyError if there is none of this name; OSError if it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise KeyError(name) from None

    def size(self, name: str) -> int:
        """A file's bytes; -1 if there is none of this name."""
        try:
            return (self.path / name).stat().st_size
        except OSError:
            return -1


class ZipFiles:
    """Files in a zip; every process opens it for itself, so that loader workers do not share a file position."""

    def __init__(self, path: Path):
        self.path, self._zip, self._pid = path, None, None
        bad = next((name for name in self._open().namelist() if not is_safe(name)), None)
        if bad is not None:
            raise UserError(f'{path} holds the unsafe path {bad!r}: make the zip again with relative paths inside it.')

    def __getstate__(self) -> dict:
        return {'path': self.path, '_zip': None, '_pid': None}

    def _open(self) -> zipfile.ZipFile:
        if self._zip is None or self._pid != os.getpid():
            try:
                self._zip, self._pid = zipfile.ZipFile(self.path), os.getpid()
            except DAMAGE as error:
                raise UserError(f'{self.path} is not a whole zip ({error}): copy or make it again.') from error
        return self._zip

    def names(self) -> list[str]:
        """All files in the zip, sorted."""
        return sorted(name for name in self._open().namelist() if not name.endswith('/'))

    def read(self, name: str) -> bytes:
        """A file's bytes. KeyError if there is none of this name; one of DAMAGE if it cannot be read."""
        return self._open().read(name)

    def size(self, name: str) -> int:
        """A file's bytes; -1 if there is none of this name."""
        try:
            return self._open().getinfo(name).file_size
        except KeyError:
            return -1


def open_files(path: str | os.PathLike) -> FolderFiles | ZipFiles:
    """The files of the dataset at `path`. UserError if it is missing, or neither a folder nor a zip."""
    path = Path(path)
    if path.is_dir():
        return FolderFiles(path)
    if not path.exists():
        raise UserError(f'The dataset {path} does not exist: check the path, or {MAKE_ONE}.')
    if path.suffix.lower() != '.zip':
        raise UserError(f'The dataset {path} is neither a folder nor a .zip: {MAKE_ONE}.')
    return ZipFiles(path)


def read_index(files: FolderFiles | ZipFiles) -> dict:
    """dataset.json as a dictionary. UserError if it is missing or no JSON object."""
    try:
        index = json.loads(files.read(INDEX))
    except KeyError:
        raise UserError(f'The dataset {files.path} has no {INDEX}: {MAKE_ONE}.') from None
    except DAMAGE as error:              # json's and unicode's errors are ValueErrors
        raise UserError(f'{INDEX} of the dataset {files.path} is unreadable ({error}): {MAKE_ONE}.') from error
    if not isinstance(index, dict):
        raise UserError(f'{INDEX} of the dataset {files.path} is not a JSON object with "labels": {MAKE_ONE}.')
    return index


def labels_of(index: dict, path: Path) -> list[tuple[str, object]]:
    """The (frame path, label) entries of an index, unchecked but for their shape; labels may be a list or an object.

    UserError if there are none: such a dataset has no cameras.
    """
    labels = index.get('labels')
    if isinstance(labels, dict):
        labels = list(labels.items())
    if not labels:
        raise UserError(f'The dataset {path} has no cameras ("labels" in {INDEX} is missing or empty): {MAKE_ONE}.')
    if not isinstance(labels, list) or not all(_is_entry(entry) for entry in labels):
        raise UserError(f'"labels" in {INDEX} of {path} must be a list of [path, 25 numbers]: {MAKE_ONE}.')
    return [(entry[0], entry[1]) for entry in labels]


def _is_entry(entry) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)


def decode_frame(data: bytes) -> np.ndarray:
    """PNG or JPEG bytes -> uint8 [3, H, W]; grey becomes RGB, alpha is dropped. ValueError if they are damaged."""
    try:
        if data.startswith(PNG_MAGIC):
            pixels = pyspng.load(data)
        else:
            with PIL.Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert('RGB'))
    except (*DAMAGE, SyntaxError) as error:
        raise ValueError(str(error)) from error
    if pixels.dtype != np.uint8:
        raise ValueError(f'{pixels.dtype} pixels, not 8 bits a colour')
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    pixels = pixels[:, :, :3] if pixels.shape[2] >= 3 else pixels[:, :, :1].repeat(3, axis=2)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def verify_frame(data: bytes) -> tuple[int, int]:
    """Height and width of a frame, decoded and with its checksums verified (which `decode_frame` omits for speed).

    ValueError if anything is damaged.
    """
    if data.startswith(PNG_MAGIC) and PNG_END not in data[-64:]:
        raise ValueError('the end of the PNG is missing')
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            image.verify()
    except (*DAMAGE, SyntaxError) as error:
        raise ValueError(str(error)) from error
    return decode_frame(data).shape[1:]


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 [3, H, W] or uint16 [H, W] -> PNG bytes."""
    image = PIL.Image.fromarray(pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels)
    buffer = io.BytesIO()
    image.save(buffer, format='png', compress_level=3)
    return buffer.getvalue()


def encode_depth(depth: np.ndarray) -> bytes:
    """Depth float [H, W] in world units -> 16-bit PNG; values from DEPTH_START to DEPTH_START + DEPTH_SPAN."""
    return encode_png(np.clip((depth - DEPTH_START) / DEPTH_SPAN * 65535 + 0.5, 0, 65535).astype(np.uint16))


def decode_depth(data: bytes) -> np.ndarray:
    """Inverse of `encode_depth`: float32 [H, W], to 1.5e-5 world units. ValueError if it is damaged."""
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            values = np.asarray(image)
    except (*DAMAGE, SyntaxError) as error:
        raise ValueError(str(error)) from error
    return (values.astype(np.float32) / 65535 * DEPTH_SPAN + DEPTH_START).astype(np.float32)
