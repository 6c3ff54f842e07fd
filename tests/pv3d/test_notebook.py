"""examples/pv3d.ipynb: its cells run in order, leave nothing in the checkout, and are kept without their output."""

import builtins
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

import pv3d

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "pv3d.ipynb"
SHOWN = {
    *("around.gif", "clip.gif", "other_head.gif", "other_motion.gif", "between.gif", "found_around.gif"),
    *("first.png", "second.png", "mixed.png", "target.png", "found.png", "head.glb"),
}
# Every appearance that a clip goes through still has a frame.
SMALLER = {
    "frames=12": "frames=2",
    "frames=16": "frames=3",
    "frames=8": "frames=2",
    "range(20)": "range(6)",
    "resolution=64": "resolution=32",
}


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def code(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def files_of_checkout() -> set[str]:
    """Return what git does not ignore, committed or not; of an unpacked archive, everything."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return set(done.stdout.splitlines())
    return {str(path) for path in ROOT.rglob("*") if "__pycache__" not in path.parts}


def test_it_is_kept_without_output(notebook):
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}, "no traces of a machine"


def test_its_cells_run_in_order(notebook, tmp_path, monkeypatch, capsys):
    pytest.importorskip("trimesh")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(NOTEBOOK.parent)  # where Jupyter starts its kernel
    before = files_of_checkout()
    text = "\n".join(code(notebook))
    assert all(long in text for long in SMALLER)
    names: dict[str, Any] = {}
    for number, cell in enumerate(code(notebook)):
        for long, short in SMALLER.items():
            cell = cell.replace(long, short)
        exec(compile(cell, f"code cell {number} of {NOTEBOOK.name}", "exec"), names)
    (folder,) = tmp_path.glob("pv3d-*")
    assert {path.name for path in folder.iterdir()} == SHOWN and names["folder"] == folder
    assert names["losses"][-1] < names["losses"][0] / 4, "a search that finds something"
    assert len(names["mesh"].faces) > 500 and torch.is_tensor(names["target"].image)
    assert files_of_checkout() == before
    assert "triangles" in capsys.readouterr().out


def test_it_shows_pictures_where_there_is_ipython(notebook, tmp_path, monkeypatch, model):
    shown = []

    class Display:
        @staticmethod
        def Image(filename: Path) -> Path:
            return filename

        @staticmethod
        def display(path: Path) -> None:
            shown.append(path)

    original = builtins.__import__

    def imported(name: str, *args: Any) -> Any:
        return Display if name == "IPython.display" else original(name, *args)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    exec(code(notebook)[0], names)
    video = model.video(model.appearance(0), model.motion(0), frames=2)
    monkeypatch.setattr(builtins, "__import__", imported)
    names["show"](video, "clip")
    names["show"](model(model.appearance(0), model.motion(0), t=0.0), "frame")
    assert [path.name for path in shown] == ["clip.gif", "frame.png"] and all(path.is_file() for path in shown)
    assert names["pv3d"] is pv3d
