"""Help, and what is mistyped, are there at once: nothing imports torch before a command does its work."""

import subprocess
import sys

import click
import pytest

from tests.helpers.commands import COMMANDS
from tests.helpers.imports import ROOT, ran

SCRIPTS = [name for name in COMMANDS if "/" not in name and name.endswith(".py")]
HEAVY = {"torch", "numpy", "scipy", "imageio_ffmpeg"}


def members() -> list[list[str]]:
    """Return every script, and every command of a script that has several."""
    found = [[name] for name in SCRIPTS]
    for name in SCRIPTS:
        command = COMMANDS[name]
        if isinstance(command, click.Group):
            found += [[name, member] for member in command.commands]
    return found


MEMBERS = members()


@pytest.mark.parametrize("words", MEMBERS, ids=" ".join)
def test_help_imports_no_torch(words):
    help_ = ran(*words, "--help")
    assert help_.status == 0 and help_.stdout.startswith("Usage: ")
    assert not HEAVY & help_.modules


@pytest.mark.parametrize("words", MEMBERS, ids=" ".join)
def test_a_mistyped_option_imports_no_torch(words):
    mistyped = ran(*words, "--sedes=3")
    assert mistyped.status == 2 and "No such option '--sedes'" in mistyped.stderr
    assert not HEAVY & mistyped.modules


def test_the_help_of_a_preset_imports_no_torch():
    help_ = ran("train.py", "--cfg=demo", "--help")
    assert help_.status == 0 and not HEAVY & help_.modules
    mistyped = ran("train.py", "--cfg=dmeo", "--help")
    assert mistyped.status == 2 and "dmeo" in mistyped.stderr and not HEAVY & mistyped.modules


def test_a_command_that_works_imports_torch(tmp_path):
    inspected = ran("checkpoint_tool.py", "inspect", str(tmp_path / "absent.pkl"))
    assert inspected.status == 2 and "absent.pkl" in inspected.stderr
    assert "torch" in inspected.modules


def test_without_torch_a_command_ends_with_a_sentence():
    script = "import sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; import gen_videos; gen_videos.main()"
    words = ["gen_videos.py", "--network=heads", "--outdir=nowhere"]
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("Error: The package torch is not installed in ")
    assert "Traceback" not in done.stderr
