"""docs/python.md: every example runs, in its order, as it stands there but for fewer frames and points."""

import re
from pathlib import Path

import pytest

import pv3d

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
SMALLER = {
    "frames=48": "frames=3",
    "frames=60": "frames=4",
    "frames=24": "frames=3",
    "frames=8": "frames=2",
    "resolution=256": "resolution=32",
    "torch.linspace(0, 1, 16)": "torch.linspace(0, 1, 2)",
}
FILES = {"turn.mp4", "clip.webm", "clip.gif", "clip.npz", "clip", "morph.mp4", "mixed.mp4", "head.glb", "frame.png"}


def examples() -> list[str]:
    """The blocks of Python of the page."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_every_example_runs(tmp_path, monkeypatch, one_thread):
    pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    text = "\n".join(examples())
    for long, short in SMALLER.items():
        assert long in text
        text = text.replace(long, short)
    found: dict = {}
    exec(compile(text, str(PAGE), "exec"), found)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert len(list((tmp_path / "clip").iterdir())) == 3
    G, people = found["G"], found["people"]
    assert found["w"].grad.shape == (G.num_ws, G.w_dim) and found["w"].grad.abs().max() > 0
    assert len(people) == 3 and found["tiles"].shape == (3, 3, 128, 256)


def test_the_page_names_what_there_is():
    text = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"pv3d\.(\w+)\(", text):
        assert name in pv3d.__all__, name
    for name in re.findall(r"\bm\.(\w+)\(", text):
        assert hasattr(pv3d.Model, name), name
