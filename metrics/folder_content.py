"""What is in the files of a folder that are scored."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dnnlib.content import checksums
from training.data.fingerprints import Fingerprinted


class FolderContent(Fingerprinted):
    """Files below a folder, in order, known by their names and contents. Other files of the folder do not count."""

    def __init__(self, path: Path, files: Iterable[Path]):
        self.path = path
        self._files = list(files)

    def at_a_glance(self) -> str:
        return self._digest(_size(file) for file in self._files)

    def _read_fingerprint(self) -> str:
        return self._digest(checksums(self.path, [str(file.relative_to(self.path)) for file in self._files]))

    def _digest(self, texts: Iterable[str]) -> str:
        """Return a checksum of the files' names, each with a text."""
        digest = hashlib.sha256()
        for file, text in zip(self._files, texts, strict=True):
            digest.update(os.fsencode(file.relative_to(self.path)) + f"\0{text}\0".encode())
        return digest.hexdigest()


def _size(file: Path) -> str:
    try:
        return str(file.stat().st_size)
    except OSError:
        return "unreadable"
