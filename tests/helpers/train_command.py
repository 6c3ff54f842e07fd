"""Calls of train.py from tests: in this process, in one of its own, in two under torchrun."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import train
from tests.helpers.forks import ENVIRONMENT, ROOT, TINY
from training.runs.pictures import SnapshotPictures

FINISHED = ("--kimg=0.004", "--desc=two words")  # options of `finished_run`


def run(outdir: Path, data: Path, *more: object) -> Result:
    """Call train.py in this process."""
    return CliRunner().invoke(train.main, [*TINY, f"--outdir={outdir}", f"--data={data}", *map(str, more)])


def finished_run(outdir: Path, heads: Path) -> tuple[Path, Result]:
    """Train for two iterations in one thread; return the run's folder and what the command printed."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run(outdir, heads, *FINISHED)
    torch.set_num_threads(before)
    return outdir / "00000-demo-heads-batch2-gamma1-two_words", result


def refused(result: Result) -> str:
    """Return the one sentence of a command that ended with status 2."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    return last


def command(outdir: Path, data: Path, *more: str) -> list[str]:
    """Return the arguments of Python that call train.py in a process of its own."""
    return [str(ROOT / "train.py"), *TINY, f"--outdir={outdir}", f"--data={data}", *more]


def torchrun(outdir: Path, data: Path, *more: str) -> subprocess.CompletedProcess:
    """Call train.py in two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launch, *command(outdir, data, *more)],
        env=ENVIRONMENT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen, seconds: float = 60) -> None:
    """Wait until a condition holds; the process must live until then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)


def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let snapshots come without pictures, which take longest."""
    monkeypatch.setattr(SnapshotPictures, "__call__", lambda self, networks, folder, clips: None)


def is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder, or no folder."""
    return not folder.exists() or list(folder.iterdir()) == []


def copy_with_later_frames_cut(heads: Path, folder: Path) -> Path:
    """Copy a dataset; all frames but the first are cut short."""
    shutil.copytree(heads, folder)
    for frame in sorted(folder.glob("*/*.png"))[1:]:
        frame.write_bytes(frame.read_bytes()[:80])
    return folder
