"""Makefile: what it says before it installs torch, what it hands to pip, and that it installs once."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("sh", "cksum", "cut", "uname", "touch", "rm", "sleep")  # what the rule calls
OFFER = 'make PIP_ARGS="--extra-index-url ADDRESS"'
# In place of Python: has pip, has torch or not, notes what pip is told.
PYTHON = """#!/bin/sh
case "$*" in
    "-m pip --version") exit 0 ;;
    "-c import torch") exit {status} ;;
    *) echo "$*" >> {log} ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


class Place:
    """A virtual environment that only notes, on a machine of few tools."""

    def __init__(self, root: Path):
        self.tools = root / "tools"
        self.venv = root / "venv"
        self.log = root / "log"
        self.tools.mkdir()
        (self.venv / "bin").mkdir(parents=True)
        for name in TOOLS:
            found = shutil.which(name)
            assert found is not None
            (self.tools / name).symlink_to(found)
        self.put_torch(False)

    def put_torch(self, there: bool) -> None:
        """Have `import torch` succeed or fail."""
        self._script(self.venv / "bin" / "python", PYTHON.format(status=0 if there else 1, log=self.log))

    def put_gpu(self) -> None:
        """Have an NVIDIA driver."""
        self._script(self.tools / "nvidia-smi", "#!/bin/sh\n")

    def make(self, *words: str) -> str:
        """Run `make setup`; return what it says besides the commands that it shows."""
        program = shutil.which("make")
        assert program is not None
        done = subprocess.run(
            [program, "setup", f"VENV={self.venv}", *words],
            cwd=ROOT,
            env={"PATH": str(self.tools), "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return "\n".join(line for line in done.stdout.splitlines() if "-m pip install" not in line)

    def installed(self) -> list[str]:
        """Return what pip was told."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    @staticmethod
    def _script(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="elsewhere PyPI has no builds with CUDA")
def test_without_a_gpu_the_small_build_is_offered_before_anything_is_installed(place):
    said = place.make()
    assert said.startswith("No NVIDIA GPU was found") and OFFER in said
    assert len(place.installed()) == 2
    assert "already" not in said and place.make("PIP_ARGS=--no-cache-dir") in (
        "",
        "make: Nothing to be done for 'setup'.",
    )
    assert len(place.installed()) == 2, "an unchanged lock is installed once"


def test_what_is_offered_works(place):
    """The words as they are shown go to pip, in both of its calls."""
    (argument,) = re.findall('PIP_ARGS="(.*)"', OFFER)
    assert place.make(f"PIP_ARGS={argument}") == ""
    for line in place.installed():
        assert line.startswith("-m pip install") and f" {argument} " in line
    assert "--requirement requirements.lock" in place.installed()[0]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_arguments_may_have_quotes(place, quote):
    assert place.make(f"PIP_ARGS=--config-settings {quote}a=b c{quote} --dry-run") == ""
    assert len(place.installed()) == 2
    assert all("--config-settings a=b c --dry-run" in line for line in place.installed())


@pytest.mark.parametrize("what", ["torch", "gpu"])
def test_where_torch_or_a_gpu_is_there_nothing_is_said(place, what):
    if what == "torch":
        place.put_torch(True)
    else:
        place.put_gpu()
    assert place.make() == ""
    assert len(place.installed()) == 2


def test_a_changed_lock_is_installed_again(place):
    place.make("PIP_ARGS=-q")
    (stamp,) = place.venv.glob("installed-*")
    stamp.rename(stamp.with_name("installed-1"))
    place.make("PIP_ARGS=-q")
    assert len(place.installed()) == 4 and list(place.venv.glob("installed-*")) == [stamp]
