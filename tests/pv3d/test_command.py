"""The command `pv3d`: its subcommands are the scripts, its help and completion are there without torch."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dnnlib.lazy import found
from pv3d import command, shadowing
from pv3d.command import COMMANDS
from tests.helpers.imports import ROOT, ran

HEAVY = {"torch", "numpy", "scipy", "imageio_ffmpeg"}


def words_of_all() -> list[list[str]]:
    """Return the words of every subcommand, and of those in groups."""
    words = [[name] for name in COMMANDS]
    for name, place in COMMANDS.items():
        inner = found(place)
        if isinstance(inner, click.Group):
            words += [[name, member] for member in inner.commands]
    return words


def complete(typed: str) -> tuple[list[str], frozenset[str]]:
    """Return what bash is offered for a command line that begins so, and the modules that it took."""
    words = typed.split(" ")
    variables = {"_PV3D_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = ran("pv3d", module=True, environment={**os.environ, **variables})
    assert done.status == 0, done.stderr
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line], done.modules


# --- Help ------------------------------------------------------------------------------------------------------------


def test_help_names_every_command():
    help_ = ran("pv3d", "--help", module=True)
    assert help_.status == 0 and not HEAVY & help_.modules
    listed = help_.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(len(line.split()) > 3 for line in listed), "each with what it does"


@pytest.mark.parametrize("words", words_of_all(), ids=" ".join)
def test_help_and_mistyped_options_import_no_torch(words):
    help_ = ran("pv3d", *words, "--help", module=True)
    assert help_.status == 0 and help_.stdout.startswith("Usage: ") and " ".join(words) in help_.stdout
    assert "python " not in help_.stdout.replace("python -m pv3d", ""), "examples are of pv3d"
    mistyped = ran("pv3d", *words, "--sedes=3", module=True)
    assert mistyped.status == 2 and "No such option '--sedes'" in mistyped.stderr
    assert not HEAVY & (help_.modules | mistyped.modules)


def test_an_unknown_command_imports_no_torch():
    unknown = ran("pv3d", "trian", module=True)
    assert unknown.status == 2 and "Did you mean train?" in unknown.stderr and not HEAVY & unknown.modules


def test_a_subcommand_is_its_script():
    for name, place in COMMANDS.items():
        script = found(place)
        own = command.main.get_command(click.Context(command.main), name)
        assert type(own) is type(script) and own.params == script.params and own.callback is script.callback
    assert "python train.py" in found("train:main").help, "the script's own help stays"


def test_a_subcommand_does_its_work(tmp_path):
    heads = str(tmp_path / "a.zip")
    result = CliRunner().invoke(command.main, ["data", "synth", "--dest", heads, "--clips=1", "--frames=2"])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(command.main, ["data", "check", heads])
    assert result.exit_code == 0 and "1 clip" in result.output


# --- Completion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed, some",
    [
        ("pv3d tr", {"train"}),
        ("pv3d ", set(COMMANDS)),
        ("pv3d train --sn", {"--snap"}),
        ("pv3d train --cfg=demo --resu", {"--resume"}),
        ("pv3d train --cfg de", {"demo"}),
        ("pv3d train --cfg ", {"voxceleb", "celebvhq", "talkinghead1kh", "demo"}),
        ("pv3d train --cfg runs/", {"runs/"}),
        ("pv3d videos --orb", {"--orbit-yaw", "--orbit-pitch"}),
        ("pv3d edit an", {"animate", "analyse"}),
        ("pv3d edit animate --tune", {"--tune-steps", "--tune-lr"}),
        ("pv3d metrics --detector ", {"public", "random"}),
    ],
)
def test_completion_imports_no_torch(typed, some):
    offered, modules = complete(typed)
    assert set(offered) == some
    assert not HEAVY & modules


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_help_says_how_each_shell_completes(shell):
    text = click.unstyle(CliRunner().invoke(command.main, ["--help"], terminal_width=120).output)
    assert f"_PV3D_COMPLETE={shell}_source pv3d" in text


# --- Modules of others -----------------------------------------------------------------------------------------------


@pytest.fixture
def eg3d(tmp_path: Path) -> Path:
    """A folder with modules that are called as ours are."""
    for name in ("dnnlib", "training", "torch_utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('theirs')")
    (tmp_path / "train.py").write_text("raise SystemExit('theirs')")
    return tmp_path.resolve()


def python(*arguments: str, folder: Path, path: str) -> tuple[int, str]:
    """Return the status of Python in a folder, with this PYTHONPATH, and what it said on stderr."""
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_modules_of_others_are_refused_with_a_sentence(eg3d, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    names = "dnnlib, torch_utils, training, train"
    start = f"Error: The modules {names} of {eg3d} hide PV3D's own of {ROOT}: "
    status, said = python("-m", "pv3d", "train", "--help", folder=eg3d, path=str(ROOT))
    assert status == 2 and said == f"{start}start from another folder.\n"
    status, said = python("-m", "pv3d", "--help", folder=elsewhere, path=f"{eg3d}:{ROOT}")
    assert status == 2 and said == f"{start}take that folder out of PYTHONPATH and sys.path.\n"
    status, said = python("-m", "pv3d", "--help", folder=elsewhere, path=f"{ROOT}:{eg3d}")
    assert status == 0, said


def test_python_refuses_them_where_ours_is_used(eg3d):
    status, said = python("-c", "import pv3d; print(dir(pv3d)); pv3d.load", folder=eg3d, path=str(ROOT))
    last = said.splitlines()[-1]
    assert status == 1 and last.startswith(f"ImportError: The modules dnnlib, torch_utils, training of {eg3d} hide")
    theirs = "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['training'] = type(sys)('training')\n"
    theirs += "import importlib.machinery as m; sys.modules['training'].__spec__ = "
    theirs += f"m.ModuleSpec('training', None, origin='{eg3d}/training/__init__.py', is_package=True)\n"
    theirs += "sys.modules['training'].__spec__.has_location = True; import pv3d; pv3d.load"
    status, said = python("-c", theirs, str(ROOT), folder=ROOT, path="")
    assert status == 1 and said.splitlines()[-1].endswith("in a new process.")


def test_a_script_of_the_user_s_own_is_no_hindrance_to_python(tmp_path):
    (tmp_path / "train.py").write_text("")
    (tmp_path / "metrics.py").write_text("")
    status, said = python("-c", "import pv3d; pv3d.UserError", folder=tmp_path, path=str(ROOT))
    assert status == 0, said


def test_the_names_are_those_of_the_checkout():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks", "pv3d", "tests"}
    scripts = {path.stem for path in ROOT.glob("*.py")}
    assert set(shadowing.MODULES) == packages | scripts


def test_python_needs_no_others():
    script = "import sys; from pv3d import *; print(*{name.partition('.')[0] for name in sys.modules})"
    found_there = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    needed = set(found_there.stdout.split()) & {*shadowing.MODULES, "pv3d"}
    assert needed == {*shadowing.LIBRARY, "pv3d"}
