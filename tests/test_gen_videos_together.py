"""gen_videos.py in two processes of torchrun: the files of one process, what is made already, an error in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import gen_videos

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "gen_videos.py"
FAILING = ROOT / "tests" / "helpers" / "torchrun_videos.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


COMMON = ["--device=cpu", "--cameras=orbit", "--frames=2", "--layers=rgb,depth"]


def torchrun(*words: object) -> subprocess.CompletedProcess:
    """Call a script in two processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, *map(str, words), *COMMON]
    return subprocess.run(command, env=ENVIRONMENT, text=True, capture_output=True, timeout=180, check=False)


def alone(*words: object) -> list[str]:
    """Call gen_videos.py in this process; return what it printed."""
    done = CliRunner().invoke(gen_videos.main, [*map(str, words), *COMMON])
    assert done.exit_code == 0, (done.output, done.exc_info)
    return done.stdout.splitlines()


def errors(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode != 0
    return [line for line in done.stderr.splitlines() if line.startswith("Error: ")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_processes_write_the_files_of_one(snapshot, tmp_path):
    expected = alone(f"--network={snapshot}", f"--outdir={tmp_path / 'a'}", "--seeds=0-2")
    words = [f"--network={snapshot.parent}", f"--outdir={tmp_path / 'b'}"]
    alone(*words, "--seeds=1")
    before = (tmp_path / "b" / "seed0001.mp4").stat().st_mtime_ns
    both = torchrun(SCRIPT, *words, "--seeds=0-2")
    assert both.returncode == 0, both.stderr
    assert both.stdout.splitlines() == [line.replace("/a/", "/b/") for line in expected], "the main one prints"
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
    assert both.stderr.count("1 already there, made with the same options.") == 1
    assert both.stderr.count("is taken, the only snapshot in that folder.") == 1
    assert "process 0 of 2: 4/4 frames" in both.stderr, "its own clip, and the one that was there"
    assert (tmp_path / "b" / "seed0001.mp4").stat().st_mtime_ns == before


def test_an_error_in_one_process_ends_all_with_a_sentence(snapshot, tmp_path):
    done = torchrun(FAILING, 1, f"--network={snapshot}", f"--outdir={tmp_path / 'out'}", "--seeds=0-5")
    assert errors(done) == ["Error: No space left to write seed0001.mp4: free some space."] and done.stdout == ""
    assert sorted(contents(tmp_path / "out")) == ["seed0000.json", "seed0000.mp4"], "its round was the last"


@pytest.mark.slow
def test_grids_meshes_and_what_is_refused(snapshot, tmp_path):
    pytest.importorskip("skimage")
    more = [*("--seeds=0-1", "--grid=2x1", "--shapes", "--shape-resolution=24"), "--network=heads"]
    expected = alone(f"--outdir={tmp_path / 'a'}", *more)
    both = torchrun(SCRIPT, f"--outdir={tmp_path / 'b'}", *more)
    assert both.stdout.splitlines() == [line.replace("/a/", "/b/") for line in expected], both.stderr
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
    assert both.stderr.count("There is one file of frames to make, so one of 2 processes makes it.") == 1
    (refused,) = errors(torchrun(SCRIPT, f"--outdir={tmp_path / 'b'}", *more, "--trunc=0.5"))
    assert "grid.mp4 was made with other options (trunc; " in refused
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
