"""The wheel: what is in it, and that what it installs works from any folder.

Packages that it needs are taken from this environment; with those of the index: `pytest -m slow tests/test_install.py`.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("*.py", "*.toml", "*.md", "LICENSE")
FOLDERS = (
    "applications",
    "detectors",
    "dnnlib",
    "metrics",
    "models",
    "preprocessing",
    "pv3d",
    "torch_utils",
    "training",
    "viewer",
)
TINY = ("--network=heads", "--seeds=3", "--frames=2", "--neural-rendering-resolution=16", "--device=cpu")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders of a virtual environment have other names")


class Installed:
    """A virtual environment with pv3d, and a folder that has nothing to do with it."""

    def __init__(self, place: Path, folder: Path):
        self.place = place
        self.folder = folder

    def run(self, program: str, *arguments: str, status: int = 0, **variables: str) -> str:
        """Run a program of the environment in the folder, to its expected end; return what it said."""
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.place / "bin" / program, *arguments],
            cwd=self.folder,
            env={**own, "OMP_NUM_THREADS": "1", **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


def call(*line: str | Path) -> None:
    """Run a command, which must succeed."""
    done = subprocess.run([*map(str, line)], capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of a copy of this checkout, since building leaves files behind."""
    pytest.importorskip("setuptools", minversion="68")
    pytest.importorskip("pip")
    place = tmp_path_factory.mktemp("wheel")
    for pattern in SOURCES:
        for path in ROOT.glob(pattern):
            (place / "source").mkdir(exist_ok=True)
            shutil.copy(path, place / "source")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests" / "helpers", place / "source" / "tests" / "helpers")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")
    call(sys.executable, "-m", "pip", "wheel", *quiet, "--wheel-dir", place, place / "source")
    (made,) = place.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    """The wheel in an environment of its own, which sees the packages of this one."""
    place = tmp_path_factory.mktemp("environment")
    call(sys.executable, "-m", "venv", "--without-pip", place)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "those-of-the-tests.pth").write_text(sysconfig.get_path("purelib"))
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    call(sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", *quiet, wheel)
    return Installed(place, tmp_path_factory.mktemp("elsewhere"))


# --- What is in it ---------------------------------------------------------------------------------------------------


def test_the_wheel_holds_all_modules_and_the_model(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert archive.read("models/heads.pkl") == (ROOT / "models" / "heads.pkl").read_bytes()
    inside = [path for name in FOLDERS for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts]
    files = {path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.py"), *inside] if path.is_file()}
    assert held == files, "nothing of tests, nothing missing"


def test_folders_are_all_that_there_are():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(FOLDERS) == packages | {"models"}


# --- What it installs ------------------------------------------------------------------------------------------------


def check(installed: Installed) -> None:
    """Check that the command and the Python of an environment work."""
    assert "Commands:" in installed.run("pv3d", "--help")
    said = installed.run("pv3d", "videos", *TINY, "--outdir=out")
    assert "seed0003.mp4" in said and (installed.folder / "out" / "seed0003.mp4").stat().st_size > 1000
    script = "import pv3d; print(pv3d.load('heads', device='cpu'), pv3d.__file__)"
    said = installed.run("python", "-c", script)
    assert "64 x 64 pixels" in said and f"{installed.place}/lib" in said


def test_it_works_from_any_folder(installed):
    check(installed)


def test_it_works_in_several_processes(installed):
    said = installed.run("pv3d", "data", "synth", "--dest=a.zip", "--clips=2", "--frames=2", "--workers=2")
    assert "2 clips" in said


def test_the_doctor_knows_where_it_is(installed):
    script = "from pv3d.actions import doctor; print({fact.name: fact.answer for fact in doctor.ours()})"
    said = installed.run("python", "-c", script)
    assert "'version': '0.1.0'" in said and f"'folder': '{installed.place}/lib" in said
    assert installed.run("pv3d", "--version") == "pv3d 0.1.0\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_it(installed):
    lines = [
        'eval "$(_PV3D_COMPLETE=bash_source pv3d)"',
        'COMP_WORDS=(pv3d train --sn); COMP_CWORD=2; _pv3d_completion pv3d; echo "${COMPREPLY[@]}"',
    ]
    path = f"{installed.place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["--snap"], done.stderr


def test_folders_with_modules_of_the_same_names(installed, tmp_path):
    (tmp_path / "dnnlib").mkdir()
    (tmp_path / "dnnlib" / "__init__.py").touch()
    there = Installed(installed.place, tmp_path)
    there.run("pv3d", "train", "--help")  # a command does not look into the folder that it is called in
    said = there.run("python", "-m", "pv3d", "train", "--help", status=2)
    assert said.startswith(f"Error: The module dnnlib of {tmp_path.resolve()} hides PV3D's own")
    said = installed.run("pv3d", "--help", status=2, PYTHONPATH=str(tmp_path))
    assert said.startswith(f"Error: The module dnnlib of {tmp_path.resolve()} hides PV3D's own")


@pytest.mark.slow
def test_it_works_with_packages_of_the_index(wheel, tmp_path):
    call(sys.executable, "-m", "venv", tmp_path / "environment")
    call(tmp_path / "environment" / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    (tmp_path / "elsewhere").mkdir()
    check(Installed(tmp_path / "environment", tmp_path / "elsewhere"))
