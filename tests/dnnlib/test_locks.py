"""dnnlib.locks: one process has a folder, until it ends; its children do not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from dnnlib.locks import FolderLock

ROOT = Path(__file__).parents[2]
HOLDER = """
import os, sys, time
from pathlib import Path
from dnnlib.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]))
assert lock.take() is True
if os.fork() == 0:
    print(os.getpid(), flush=True)       # after whatever happens to a child in a fork
time.sleep(60)
"""


def test_one_at_a_time(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.take() is True and second.take() is False
    second.drop()
    assert second.take() is False, "only its holder gives it back"
    first.drop()
    assert second.take() is True
    second.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_nothing_even_if_its_children_live(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    child = int(holder.stdout.readline())
    lock = FolderLock(tmp_path)
    try:
        assert lock.take() is False
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it lives
        assert lock.take() is True
    finally:
        lock.drop()
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()
