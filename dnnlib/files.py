"""Files that are whole or absent: atomic writes, JSON, and the checks that name a missing path."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import struct
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from dnnlib.errors import UserError

# What the operating system says when a place cannot take a file; EFBIG is the limit of `ulimit -f`.
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REFUSED_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST})

# Bounds of a JSON file. Whatever they let through takes less than 200 MB of memory.
MAX_JSON_BYTES = 2**23
MAX_JSON_VALUES = 2**20
# The name that `atomic_path` gives a file while it is written: the machine and the process that write it, and a random
# part. No process number of any system has ten digits.
TEMPORARY = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<process>[1-9]\d{0,8})-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)
ABANDONED_SECONDS = 24 * 3600  # a writer that lives writes more often
MAX_SHOWN = 300  # characters of a name or an error of unknown origin in a message
PIECE_BYTES = 2**20  # read at a time
# What reading a damaged or hostile file raises, whatever its format.
FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    RecursionError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

AnyPath = str | os.PathLike
Value = TypeVar("Value")

# --- Errors of the operating system -----------------------------------------------------------------------------------


def storage_error(error: OSError, path: AnyPath) -> UserError | None:
    """Return the user's version of an OSError met while writing `path`: full disk, no permission; None if neither."""
    if error.errno in FULL_ERRNOS:
        return UserError(f"No space left to write {path}: free some space or choose another folder.")
    if error.errno in REFUSED_ERRNOS:
        return UserError(f"Cannot write {path} ({os.strerror(error.errno)}): choose a folder that you may write to.")
    return None


@contextlib.contextmanager
def storage_errors(path: AnyPath) -> Iterator[None]:
    """Raise what `storage_error` makes of an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) or error from error


# --- Files that are whole or absent -----------------------------------------------------------------------------------


@contextlib.contextmanager
def atomic_path(path: AnyPath) -> Iterator[Path]:
    """Write a file so that `path` is always either the old file or the whole new one.

    Yields a temporary path in the same folder (which is made if need be) with the same suffix. When the block ends
    well, its content is flushed to the disk and takes the place of `path`; when it raises anything, Ctrl-C included,
    the temporary file is removed and `path` stays as it was.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _flush_to_disk(temporary)
            os.replace(temporary, path)
            _flush_to_disk(path.parent)
    finally:
        # Absent after os.replace; a failed clean-up must not hide the error that led here.
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a new folder: nothing appears at `path` before the block has ended well.

    The block fills a temporary folder beside it; if it raises anything, Ctrl-C included, that is removed. An empty
    folder may be there already.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with storage_errors(path):
            temporary.mkdir(parents=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """Raise UserError if there is something at `path` (an empty folder is nothing)."""
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists():
        raise UserError(f"{path} exists already: remove it or choose another name.")


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` in a folder whose writers were killed.

    A file of this machine goes if its process is gone; one of another machine, whose processes cannot be asked, if
    nobody wrote to it for a day. This process must be writing none there: one of its own number is of an earlier
    process.

    Raises:
        UserError: the folder cannot be written to.
    """
    for path in folder.iterdir():
        match = TEMPORARY.fullmatch(path.name)
        if match and _is_abandoned(path, match["machine"], int(match["process"])):
            with storage_errors(path):
                path.unlink(missing_ok=True)


def _is_abandoned(path: Path, machine: str, process: int) -> bool:
    if machine == _machine():
        return process == os.getpid() or not _is_running(process)
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:  # its writer has just finished
        return False


def _machine() -> str:
    """Return eight characters that stand for this machine in file names that other machines see."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except OSError as error:
        return error.errno != errno.ESRCH  # EPERM: it runs, and is another user's
    return True


def _flush_to_disk(path: Path) -> None:
    """Flush a file to the disk, or a folder so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the file itself has been synced by then.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)


# --- JSON -------------------------------------------------------------------------------------------------------------


def write_json(path: AnyPath, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically. Raises ValueError for NaN and infinity, which are not JSON."""
    text = json.dumps(obj, indent=2, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: AnyPath) -> Any:
    """Read a JSON file. Raises UserError if it is missing, unreadable, too large (MAX_JSON_BYTES) or not JSON."""
    try:
        return parse_json(read_file(path, "JSON file", MAX_JSON_BYTES))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): write it again or restore it.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror}): check its permissions.") from error


def parse_json(data: bytes, max_bytes: int = MAX_JSON_BYTES, max_values: int = MAX_JSON_VALUES) -> Any:
    """Parse JSON text. ValueError, in words, if it is none, too large or too deep, or names a value twice.

    Every value follows a comma, a colon or a bracket, so these are counted before memory is spent on any: an object
    takes up to 30 times the room of its text.
    """
    if len(data) > max_bytes:
        raise ValueError(f"more than {max_bytes} bytes")
    marks = sum(data.count(mark) for mark in (b",", b":", b"[", b"{"))
    if marks > max_values:
        raise ValueError(f"more than {max_values} values")
    try:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors.
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=without_repeats)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. ValueError if it names a value twice, of which Python takes the last without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        [(name, count)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(repr(name))} stands {count} times in one object")
    return values


# --- Reading and naming what others wrote -----------------------------------------------------------------------------


@contextlib.contextmanager
def reading(path: AnyPath, problem: str, remedy: str) -> Iterator[None]:
    """Raise a UserError for what goes wrong in the block, which reads the file `path`.

    Args:
        problem: what is wrong with a damaged file, such as "The statistics a.npz are damaged".
        remedy: what to do about it, such as "have them made again".

    Raises:
        UserError: "<problem> (<reason>): <remedy>." for one of FAULTS; another sentence where the system refuses.
    """
    try:
        yield
    except (OSError, *FAULTS) as error:
        # EINVAL is the answer to a seek to where a damaged file says.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise UserError(f"Cannot read {path} ({error.strerror}): check the file and its permissions.") from error
        reason = shown(str(error)) or type(error).__name__
        raise UserError(f"{problem} ({reason}): {remedy}.") from error


def read_file(path: AnyPath, what: str, most: int) -> bytes:
    """Read a file's bytes.

    Raises:
        UserError: as of `require_file`.
        ValueError: there are more than `most`, which are not read.
    """
    with open(require_file(path, what), "rb") as file:
        return read_at_most(file, most)


def read_at_most(file: IO[bytes], most: int) -> bytes:
    """Read the rest of a file. ValueError if it is longer than `most` bytes, whatever any header says."""
    data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"more than {most} bytes")
    return data


def file_state(about: os.stat_result) -> str:
    """Return text that changes when a file is written to or another one takes its place, as far as times are fine."""
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"


def state_of(path: Path) -> str | None:
    """Return the `file_state` of what is at a path; None if nothing is."""
    try:
        return file_state(path.stat())
    except OSError:
        return None


def file_checksum(path: Path) -> str:
    """Return the sha256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def with_checksum(path: Path, read: Callable[[Path], Value]) -> tuple[Value, str]:
    """Read a file by `read`; return what that returns, and the sha256 of the same file.

    Raises:
        UserError: it was written to, or another took its place, in between.
    """
    before = state_of(path)
    value = read(path)
    checksum = file_checksum(path)
    if state_of(path) != before:
        raise UserError(f"{path} changed while it was read: start again once it stays as it is.")
    return value, checksum


def require_file(path: AnyPath, what: str) -> Path:
    """Return `path` as a Path if it is a file, or a link to one. It is not opened: a pipe would wait for its other end.

    Raises:
        UserError: the `what` ('video', 'camera file') is missing, or no ordinary file.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError:  # a zero byte in the name
        raise UserError(f"The {what} {str(path)!r} does not exist: check the path.") from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise UserError(f"The {what} {path} does not exist: check the path.") from error
        raise UserError(f"The {what} {path} cannot be reached ({error.strerror}): check the path.") from error
    if stat.S_ISDIR(mode):
        raise UserError(f"The {what} {path} is a folder: give the path of a file in it.")
    if not stat.S_ISREG(mode):
        raise UserError(f"The {what} {path} is a pipe, a socket or a device: give the path of an ordinary file.")
    return path


def shown(text: str) -> str:
    """Return text of unknown origin, such as a name in an archive, as it may stand in a message.

    It is one line that no terminal takes for commands, of at most MAX_SHOWN characters.
    """
    if len(text) > MAX_SHOWN:
        text = text[: MAX_SHOWN - 3] + "..."
    return printable(text)


def printable(text: str) -> str:
    """Spell out what a terminal might take for commands, and every other unprintable character of a text."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
