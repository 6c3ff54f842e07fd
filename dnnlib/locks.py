"""Advisory locks: a file or folder that one process has to itself, until it gives it back or ends in whatever way."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from dnnlib.errors import UserError
from dnnlib.files import storage_errors

_held: set[int] = set()  # descriptors of the locks that this process holds


def _close_in_child() -> None:
    """Close a forked child's copies of its parent's descriptors: they would hold the locks when the parent is gone."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_close_in_child)


class PathLock:
    """An advisory lock on a file or on a folder itself.

    Nothing is written into either. The kernel releases the lock when its process ends, even if it is killed. On a
    network file system it may hold among the processes of one machine only.

    As a context it is released at the end, if it was taken.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> "PathLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def make_file(self) -> None:
        """Make the file to lock, and its folder, if they do not exist. OSError if they cannot be made or written."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()

    def take(self, *, wait: bool) -> bool | None:
        """Take the lock for this process.

        Args:
            wait: until nobody else holds it, however long that takes.

        Returns:
            True: this process holds it now. False: another one does. None: the file system has no locks.

        Raises:
            OSError: the file or folder does not exist, or cannot be opened.
        """
        # Locks on the files of network file systems need a descriptor that may write; folders can only be read.
        descriptor = os.open(self.path, os.O_RDONLY if self.path.is_dir() else os.O_RDWR)
        taken: bool | None = None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = True
        except BlockingIOError:
            taken = False
        except OSError:
            pass  # the file system has no locks
        finally:
            if taken:
                _held.add(descriptor)
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        return taken

    def release(self) -> None:
        """Give the lock back; do nothing if this process does not hold it."""
        if self._descriptor in _held:
            _held.remove(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None


@contextlib.contextmanager
def alone_in(folder: Path, advice: str) -> Iterator[None]:
    """Keep a folder to this process; one that is made for it goes again if nothing has come into it.

    Args:
        advice: what to do if another process is at work there.

    Raises:
        UserError: another process is, or the folder cannot be made.
    """
    is_new = not folder.exists()
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with PathLock(folder) as lock:
            if lock.take(wait=False) is False:
                raise UserError(f"Another command is at work in {folder}: {advice}.")
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # of a folder with files
                folder.rmdir()
