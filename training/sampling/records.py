"""Records of how files were made: beside `seed0000.mp4` lies `seed0000.json`, so that none is taken for another."""

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import read_json, storage_errors, write_json
from dnnlib.names import natural_key
from dnnlib.progress import Counter

ROOT = Path(__file__).parents[2]
CODE = (  # that decides a clip's pixels; whatever decides its network file and its cameras shows in its options
    "dnnlib/video.py",
    "dnnlib/video_formats.py",
    "torch_utils",
    "training/cameras.py",
    "training/checkpoints",
    "training/config.py",
    "training/data/streams.py",
    "training/image_config.py",
    "training/methods",
    "training/networks",
    "training/rendering",
    "training/sampling",
)
# What videos and pictures say of themselves in their metadata; the last words are IPTC's term for such media.
SYNTHETIC = "Synthetic: made by a PV3D generator (digital source type: trainedAlgorithmicMedia)"
APART = frozenset({".webm", ".gif", ".npz"})  # formats that may lie beside an .mp4 of the same name
CODE_SUFFIXES = frozenset({".py", ".cu", ".cuh", ".h"})

Plain = dict[str, Any]  # values that JSON keeps as they are: no tuples


def software(device: torch.device, *more: str) -> Plain:
    """Return what computes: with another one, the same options may give other pixels; `more` code than CODE decides."""
    digest = hashlib.sha256()
    for path in code(*more):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return {"code": digest.hexdigest(), "torch": torch.__version__, "device": device.type}


def code(*more: str) -> Iterator[Path]:
    """Yield the files of CODE, and of `more` folders."""
    for name in (*CODE, *more):
        for path in sorted([ROOT / name, *(ROOT / name).rglob("*")]):
            if path.suffix in CODE_SUFFIXES:
                yield path


def record_of(path: Path) -> Path:
    """Return where the record of a file or folder lies: seed0000.json; that of seed0000.gif is seed0000.gif.json."""
    return beside(path, ".json")


def beside(path: Path, suffix: str) -> Path:
    """Return a file that belongs to a file or folder; those that may lie together have one each."""
    return path.with_name(path.name + suffix) if path.suffix in APART else path.with_suffix(suffix)


def is_made(path: Path, options: Callable[[], Plain], by: Plain) -> bool:
    """Return whether a file or folder is there, made with the same options by the same software.

    Args:
        options: returns them; it is called only if there is something to compare.

    Raises:
        UserError: it was made with other options, or nothing says how.
    """
    record_path = record_of(path)
    record = _read(record_path)
    if record is None:
        for found in (path, record_path):
            if found.exists():
                raise UserError(f"{found} is there, and nothing says how it was made: choose another --outdir.")
        return False
    if not path.exists():
        return False
    wanted = options()
    others = record["options"]
    differing = [name for name in {**wanted, **others} if wanted.get(name) != others.get(name)]
    if differing:
        raise UserError(
            f"{path} was made with other options ({', '.join(differing)}; {record_path} has them): choose another "
            "--outdir, or remove it."
        )
    return record["software"] == by


@contextlib.contextmanager
def making(path: Path, options: Plain, by: Plain) -> Iterator[None]:
    """Write the record of a file or folder that the block makes, in place of any that is there.

    The record comes first: a block that is killed leaves no file without one. A block that raises leaves no record.
    """
    record_path = record_of(path)
    with storage_errors(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    write_json(record_path, {"options": options, "software": by})
    try:
        yield
    except BaseException:
        record_path.unlink(missing_ok=True)
        raise


def _read(path: Path) -> Plain | None:
    """Return a record; None if there is none, or the file is another."""
    if not path.exists():
        return None
    try:
        record = read_json(path)
    except UserError:
        return None
    is_record = isinstance(record, dict) and all(isinstance(record.get(key), dict) for key in ("options", "software"))
    return record if is_record else None


# --- Files with records ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Product:
    """A file, or a folder of files, with its record beside it.

    Args:
        path: where it comes.
        frames: how many are drawn for it.
        options: returns what it follows from, but for the software.
        software: what makes it.
        write: makes it, at this path, counting its frames.
    """

    path: Path
    frames: int
    options: Callable[[], Plain]
    software: Plain
    write: Callable[[Path, Counter], None]

    def is_made(self) -> bool:
        """Return whether it is there. UserError if something else is."""
        return is_made(self.path, self.options, self.software)

    def make(self, counter: Counter) -> bool:
        """Make it unless it is there; return whether it was. UserError if something else is."""
        if self.is_made():
            counter.update(self.frames)
            return False
        with making(self.path, self.options(), self.software):
            self.write(self.path, counter)
        return True

    def files(self) -> list[Path]:
        """Return its files, once it is made."""
        if self.path.is_dir():
            return sorted(self.path.iterdir(), key=natural_key)
        return [self.path]
