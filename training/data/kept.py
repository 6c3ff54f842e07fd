"""Columns about large datasets, made once on a machine, kept in the cache, and shared by all processes."""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from dnnlib.cache import cache_root
from dnnlib.columns import Columns, read_columns, write_columns
from dnnlib.content import RACY_NS
from dnnlib.errors import UserError
from dnnlib.files import file_state
from dnnlib.locks import PathLock

VERSION = 1  # of what the columns mean
KEPT_FILES = 20_000  # a dataset of fewer is read in less than a second each time
MOST_KEPT = 32  # files in the cache; the oldest of others are dropped


def kept_columns(kind: str, key: str, build: Callable[[], Columns]) -> Columns:
    """Return columns by what they are and what they are of; one process of a machine builds them, the others wait.

    Where they cannot be kept, every process builds its own.
    """
    path = _path(kind, key)
    with contextlib.suppress(OSError, ValueError):
        return read_columns(path)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            lock = stack.enter_context(PathLock(path.with_suffix(".lock")))
            lock.make_file()
            lock.take(wait=True)
        with contextlib.suppress(OSError, ValueError):
            return read_columns(path)
        columns = build()
        with contextlib.suppress(UserError, OSError):
            write_columns(path, columns)
            _drop_old(path)
            return read_columns(path)
    return columns


def known_columns(kind: str, key: str) -> Columns:
    """Return columns that another process on this machine has verified. UserError if they are gone."""
    try:
        return read_columns(_path(kind, key), verified=False)
    except (OSError, ValueError) as error:
        raise UserError(
            "The index of the dataset is gone from the cache while it was in use: start the same command again."
        ) from error


def settled_state(file: int) -> str | None:
    """Return the `file_state` of an open file, by which a later change will be seen; None if none would.

    Times are only as fine as the file system keeps them: wait until those of the file are past.
    """
    for _ in range(2):
        about = os.fstat(file)
        left = max(about.st_mtime_ns, about.st_ctime_ns) + RACY_NS - time.time_ns()
        if left < 0:
            return file_state(about)
        if left <= RACY_NS:
            time.sleep((left + 1) / 1e9)
    return None


def _path(kind: str, key: str) -> Path:
    digest = hashlib.sha256(f"{kind} {VERSION} {key}".encode()).hexdigest()
    return cache_root() / "datasets" / f"{digest[:32]}.{kind}-{VERSION}"


def _drop_old(path: Path) -> None:
    others = sorted(path.parent.glob("[0-9a-f]*-*"), key=lambda other: other.stat().st_mtime, reverse=True)
    for old in others[MOST_KEPT:]:
        old.unlink(missing_ok=True)
        old.with_suffix(".lock").unlink(missing_ok=True)
