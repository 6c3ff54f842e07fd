"""Things that are no ordinary files: links, sockets, a file of 16 GiB. Each function here makes one at a path.

Pipes and folders need no function of their own: `os.mkfifo` and `os.mkdir` make them.
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

HUGE_FILE = 16 * 2**30  # bytes


def link_to(target: str) -> Callable[[Path], None]:
    """Return the function that makes a symbolic link to `target`, which is relative to the link's folder."""
    return lambda path: path.symlink_to(target)


def make_socket(path: Path) -> None:
    """Make a Unix socket that nobody listens to."""
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as unix_socket:
            unix_socket.bind(path.name)
    finally:
        os.chdir(here)


def make_huge_file(path: Path) -> None:
    """Make a file of 16 GiB that takes no room on the disk."""
    path.touch()
    os.truncate(path, HUGE_FILE)
