"""docs/python.md and README.md: every example runs, in order, as it stands there but for fewer frames and points."""

import re
from pathlib import Path
from typing import Any

import pytest

import pv3d
from dnnlib.files import file_checksum
from training.checkpoints import addresses
from training.checkpoints.sources import SHIPPED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
ADDRESS = "https://example.org/people.pkl"
SMALLER = {
    "frames=48": "frames=3",
    "frames=60": "frames=4",
    "frames=24": "frames=3",
    "frames=8": "frames=2",
    "resolution=256": "resolution=32",
    "torch.linspace(0, 1, 16)": "torch.linspace(0, 1, 2)",
}
FILES = {"turn.mp4", "clip.webm", "clip.gif", "clip.npz", "clip", "morph.mp4", "mixed.mp4", "head.glb", "frame.png"}


def run(page: Path, smaller: dict[str, str]) -> dict[str, Any]:
    """Run the blocks of Python of a page, with some of their text replaced; return the names that they leave."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    text = "\n".join(blocks)
    for long, short in smaller.items():
        assert long in text
        text = text.replace(long, short)
    found: dict[str, Any] = {}
    exec(compile(text, str(page), "exec"), found)
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the examples write; there is nothing in it."""
    pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_example_of_the_page_runs(folder, monkeypatch):
    checksum = file_checksum(SHIPPED["heads"])
    (published,) = re.findall('sha256="([0-9a-f]{64})"', PAGE.read_text(encoding="utf-8"))
    monkeypatch.setattr(addresses, "downloaded", lambda *words: {(ADDRESS, checksum): SHIPPED["heads"]}[words])
    found = run(PAGE, SMALLER | {published: checksum})
    assert {path.name for path in folder.iterdir()} == FILES
    assert len(list((folder / "clip").iterdir())) == 3
    G, three = found["G"], found["three"]
    assert found["w"].grad.shape == (G.num_ws, G.w_dim) and found["w"].grad.abs().max() > 0
    assert isinstance(found["people"], pv3d.Model)
    assert len(three) == 3 and found["tiles"].shape == (3, 3, 128, 256)


def test_the_example_of_the_first_page_runs(folder):
    found = run(ROOT / "README.md", {"orbit(48": "orbit(2", "m.motion(7)).save": "m.motion(7), resolution=32).save"})
    assert found["v"].rgb.shape == (2, 3, 64, 64)
    assert {path.name for path in folder.iterdir()} == {"turn.mp4", "head.glb"}


def test_the_page_names_what_there_is():
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"pv3d\.(\w+)\(", text):
        assert name in pv3d.__all__, name
    for name in re.findall(r"\bm\.(\w+)\(", text):
        assert hasattr(pv3d.Model, name), name
