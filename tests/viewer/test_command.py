"""The command: it helps without torch, serves until Ctrl-C, and says what is wrong in a sentence."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from viewer.command import main
from viewer.places import MAX_PANELS

ROOT = Path(__file__).parents[2]


def refusal(*arguments: str) -> str:
    """What is said of arguments that are not possible."""
    done = CliRunner().invoke(main, ["--no-browser", "--device=cpu", *arguments])
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit), done.output
    return done.stderr


def test_options_are_known_without_torch():
    script = "import sys, viewer.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["nowhere.pkl"], "nowhere.pkl is neither a snapshot, nor the folder of a run, nor a shipped model"),
        (["heads"] * (MAX_PANELS + 1), "side by side are too many: give up to 4"),
        ([], "Missing argument 'SNAPSHOT...'"),
        (["heads", "--port=70000"], "--port=70000 is not possible"),
        (["heads", "--host=203.0.113.1", "--port=0"], "Cannot listen at 203.0.113.1"),
        (["heads", "--device=gpu"], "gpu"),
    ],
)
def test_what_is_not_possible_is_said(arguments, sentence):
    assert sentence in refusal(*arguments)


def test_a_port_that_is_in_use_is_said():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"--port={port} is in use" in refusal("heads", f"--port={port}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_interrupted(how, snapshot, tmp_path):
    command = [sys.executable, "-m", "viewer", str(snapshot), "--port=0", "--no-browser", "--device=cpu", "--threads=1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, **pipes) as running:
        assert running.stdout is not None and running.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)(/\?token=[\w-]{32})$", running.stdout.readline().strip())
        assert found is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
        connection.request("GET", found[2])
        assert connection.getresponse().status == 200
        connection.close()
        assert list(tmp_path.glob("pv3d-viewer-*"))
        running.send_signal(how)
        assert running.wait(60) == 130
        assert "Traceback" not in running.stderr.read()
    assert not list(tmp_path.iterdir())
