"""A folder that one process has to itself, until it ends in whatever way."""

import fcntl
import os
from pathlib import Path

_held: set[int] = set()  # descriptors of folders that are ours


def _let_go() -> None:
    """In a forked process: it shall not hold its parent's folders when the parent is gone."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class FolderLock:
    """An advisory lock on a folder itself: it leaves no file, and the kernel drops it even if the process is killed.

    On a network file system it may hold among the processes of one machine only.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def take(self) -> bool | None:
        """True: it is ours now. False: another one has it. None: this file system has no locks."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            return False if isinstance(error, BlockingIOError) else None
        _held.add(descriptor)
        self._descriptor = descriptor
        return True

    def drop(self) -> None:
        """Gives the folder back; does nothing if it is not ours."""
        if self._descriptor in _held:
            _held.remove(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None
