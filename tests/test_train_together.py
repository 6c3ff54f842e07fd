"""train.py beside other processes: a reader of its output that ends, and its own kind with other data."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.forks import ENVIRONMENT, ROOT
from tests.helpers.train_command import command, wait_for
from torch_utils import checkpoint
from training import synthetic
from training.data.frames import encode_png
from training.data.writer import ClipRecord, write_dataset


@pytest.mark.parametrize("gone", ["before", "with the signal"])
def test_ctrl_c_saves_though_it_ends_the_reader_too(heads, tmp_path, gone):
    """`train.py 2>&1 | tee log`."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, *command(tmp_path, heads, "--kimg=50")], env=ENVIRONMENT, stdout=writing, stderr=writing
    )
    os.close(writing)
    if gone == "before":
        os.read(reading, 1)  # it has begun to print
        os.close(reading)
    wait_for(lambda: list(tmp_path.glob("*/stats.jsonl")), process)
    if gone != "before":
        os.close(reading)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    (state,) = tmp_path.glob("*/training-state-*.pt")
    assert checkpoint.load(state, "state")["progress"]["clips"] > 0


DIFFERENT = """
import os, sys
sys.argv[-1] += os.environ["RANK"]
import train
train.main()
"""


def test_processes_with_different_data_do_not_train(heads, tmp_path):
    (tmp_path / "heads0").symlink_to(heads)
    with write_dataset(tmp_path / "heads1") as writer:
        clip = synthetic.render_clip(7, 32, 16)
        frames = [(f"{index:05d}.png", encode_png(frame)) for index, frame in enumerate(clip.frames)]
        writer.add(ClipRecord(name="00000", frames=frames, cameras=clip.cameras, fps=25.0))
    script = tmp_path / "different.py"
    script.write_text(DIFFERENT)
    arguments = command(tmp_path / "runs", Path("unused"))[1:]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            str(script),
            *arguments,
            f"--data={tmp_path / 'heads'}",
        ],
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0 and done.stderr.count("The processes see different files") == 1, done.stderr
    assert not (tmp_path / "runs").exists()
