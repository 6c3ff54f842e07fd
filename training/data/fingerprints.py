"""Data on a disk, known by its content: the main process of several reads it for all."""

from abc import ABC, abstractmethod
from pathlib import Path

from torch_utils import distributed


class Fingerprinted(ABC):
    """Files that belong together and are told from others by what is in them; `path` says where they lie."""

    path: Path
    _fingerprint: str | None = None
    _is_shared = False

    @abstractmethod
    def at_a_glance(self) -> str:
        """Return text that changes with what can be told of the content without reading files: names and sizes."""

    @abstractmethod
    def _read_fingerprint(self) -> str:
        """Return 64 hexadecimal digits that change with the files' names and contents."""

    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that change with the files' names and contents, read at the first call."""
        if self._fingerprint is None:
            self._fingerprint = self._read_fingerprint()
        return self._fingerprint

    def share_fingerprint(self) -> None:
        """Let the main process read the fingerprint, and all others have it. Every process must call this.

        Raises:
            UserError: the others do not see files of the same names and sizes, or as far as they tell without reading.
        """
        if self._is_shared:
            return
        with distributed.fail_together():
            seen = self.at_a_glance() if distributed.world_size() > 1 else ""
        distributed.require_same(
            seen, f"The processes see different files in {self.path}: give a path that all machines share."
        )
        self._fingerprint = distributed.from_main(self.fingerprint)
        self._is_shared = True
