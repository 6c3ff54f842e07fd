"""Checkpoints at addresses of the web: downloaded once, known by their checksum, kept in the cache."""

import re
from collections.abc import Collection
from pathlib import Path

from dnnlib.cache import cache_root
from dnnlib.downloads import pieces
from dnnlib.errors import UserError
from dnnlib.files import atomic_path, file_checksum, shown, storage_errors
from dnnlib.locks import PathLock

SCHEMES = ("https",)
MAX_BYTES = 4 * 2**30  # of a file; one of the paper's size has less than 1 GiB
SHA256 = re.compile("[0-9a-f]{64}")


def is_address(source: str) -> bool:
    """Return whether a text is an address, such as https://..., and no path."""
    return re.match("[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def require_sha256(sha256: str) -> str:
    """Return a checksum in lower case. UserError if it is none of SHA-256."""
    digits = sha256.strip().lower()
    if not SHA256.fullmatch(digits):
        raise UserError(f"{shown(sha256)} is no sha256: give the 64 hexadecimal digits that `sha256sum` prints.")
    return digits


def downloaded(
    url: str, sha256: str | None, *, schemes: Collection[str] = SCHEMES, most_bytes: int = MAX_BYTES
) -> Path:
    """Return the file at an address, in the folder `models` of the cache; it is downloaded unless it is there.

    Args:
        sha256: its checksum, 64 hexadecimal digits, without which nothing is downloaded.
        schemes: that the address, and all that it redirects to, may have.
        most_bytes: that the file may have.

    Raises:
        UserError: no checksum, or none of SHA-256; the download fails, or is another file by its checksum; the cache
            cannot be written.
    """
    if sha256 is None:
        raise UserError(f"Give the sha256 of {shown(url)} too: what comes from the web is opened if it has that alone.")
    wanted = require_sha256(sha256)
    path = cache_root() / "models" / f"{wanted}.pkl"
    with PathLock(path.with_suffix(".lock")) as lock:
        with storage_errors(path.parent):
            lock.make_file()
            lock.take(wait=True)  # without locks, processes may fetch it twice: the last one's file stays
        if not (path.is_file() and file_checksum(path) == wanted):
            _fetch(url, path, wanted, schemes, most_bytes)
    return path


def _fetch(url: str, path: Path, sha256: str, schemes: Collection[str], most_bytes: int) -> None:
    """Download a file, atomically. UserError if nothing comes, too much, or another file."""
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            try:
                for piece in pieces(url, "model", schemes=schemes, most_bytes=most_bytes):
                    file.write(piece)
            except EOFError as error:
                raise UserError(
                    f"{shown(url)} cannot be downloaded ({shown(str(error))}): check the address, or download the "
                    "file by hand and give its path."
                ) from error
        found = file_checksum(temporary)
        if found != sha256:
            raise UserError(
                f"What {shown(url)} gives has the sha256 {found}, not {sha256}: it is another file, so ask whoever "
                "published it."
            )
