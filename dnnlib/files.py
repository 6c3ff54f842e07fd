"""Files that are whole or absent: atomic writes, JSON, and the checks that name a missing path."""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError

# What the operating system says when a place cannot take a file; EFBIG is the limit of `ulimit -f`.
FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
REFUSED_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST})


def storage_error(error: OSError, path: str | os.PathLike) -> UserError | None:
    """The user's version of an OSError met while writing `path`: full disk, no permission; None if it is neither."""
    if error.errno in FULL_ERRNOS:
        return UserError(f'No space left to write {path}: free some space or choose another folder.')
    if error.errno in REFUSED_ERRNOS:
        return UserError(f'Cannot write {path} ({os.strerror(error.errno)}): choose a folder that you may write to.')
    return None


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Write a file so that `path` is always either the old file or the whole new one.

    Yields a temporary path in the same folder (which is made if need be) with the same suffix. When the block ends
    well, its content is flushed to the disk and takes the place of `path`; when it raises anything, Ctrl-C included,
    the temporary file is removed and `path` stays as it was.

    Raises:
        UserError: the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.stem}.{secrets.token_hex(4)}{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
        _flush_to_disk(path.parent)
    except OSError as error:
        raise storage_error(error, path) or error from error
    finally:
        # Absent after os.replace; a failed clean-up must not hide the error that led here.
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush_to_disk(path: Path) -> None:
    """fsync a file, or a folder so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the file itself has been synced by then.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically. Raises ValueError for NaN and infinity, which are not JSON."""
    text = json.dumps(obj, indent=2, allow_nan=False) + '\n'
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file. Raises UserError if it is missing, unreadable or not JSON."""
    path = require_file(path, 'JSON file')
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:      # json.JSONDecodeError and UnicodeDecodeError are both ValueErrors
        raise UserError(f'{path} is not valid JSON ({error}): write it again or restore it.') from error
    except OSError as error:
        raise UserError(f'Cannot read {path} ({error.strerror}): check its permissions.') from error


def require_file(path: str | os.PathLike, what: str) -> Path:
    """`path` as a Path if it is a file. Raises UserError that says which `what` ('snapshot', 'video') is missing."""
    path = Path(path)
    if path.is_file():
        return path
    if path.is_dir():
        raise UserError(f'The {what} {path} is a folder: give the path of a file in it.')
    raise UserError(f'The {what} {path} does not exist: check the path.')
