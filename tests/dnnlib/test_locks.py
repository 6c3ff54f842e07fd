"""dnnlib.locks: one process has a file or folder, until it ends; its children do not."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dnnlib.locks import PathLock

ROOT = Path(__file__).parents[2]
HOLDER = """
import os, sys, time
from pathlib import Path
from dnnlib.locks import PathLock
lock = PathLock(Path(sys.argv[1]))
assert lock.take(wait=False) is True
if os.fork() == 0:
    print(os.getpid(), flush=True)       # after whatever happens to a child in a fork
time.sleep(60)
"""


@pytest.fixture(params=["file", "folder"])
def path(request, tmp_path) -> Path:
    """What is locked."""
    path = tmp_path / "a"
    if request.param == "folder":
        path.mkdir()
    else:
        PathLock(path).make_file()
    return path


def test_one_at_a_time(path):
    first, second = PathLock(path), PathLock(path)
    assert first.take(wait=False) is True and second.take(wait=False) is False
    second.release()
    assert second.take(wait=False) is False, "only its holder gives it back"
    first.release()
    assert second.take(wait=False) is True
    second.release()
    assert list(path.parent.rglob("*")) == [path], "no other file"


def test_the_end_of_a_context_releases(path):
    with PathLock(path) as first:
        assert first.take(wait=True) is True
        with PathLock(path) as second:
            assert second.take(wait=False) is False
    with pytest.raises(KeyboardInterrupt), PathLock(path) as third:
        assert third.take(wait=False) is True
        raise KeyboardInterrupt
    with PathLock(path) as last:
        assert last.take(wait=False) is True


def test_waiting_ends_when_the_holder_releases(path):
    first, second = PathLock(path), PathLock(path)
    assert first.take(wait=False) is True
    timer = threading.Timer(0.2, first.release)
    started = time.monotonic()
    timer.start()
    assert second.take(wait=True) is True and time.monotonic() - started > 0.1
    timer.join()
    second.release()


def test_a_killed_process_holds_nothing_even_if_its_children_live(path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    child = int(holder.stdout.readline())
    lock = PathLock(path)
    try:
        assert lock.take(wait=False) is False
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it lives
        assert lock.take(wait=False) is True
    finally:
        lock.release()
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_is_said_to_have_none(path, wait, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    closed = []
    close = os.close
    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), close(descriptor)))
    assert PathLock(path).take(wait=wait) is None
    assert len(closed) == 1, "nothing stays open"


def test_what_does_not_exist_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError):
        PathLock(tmp_path / "gone").take(wait=False)
    assert list(tmp_path.iterdir()) == []
