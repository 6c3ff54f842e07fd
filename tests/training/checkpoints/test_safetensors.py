"""training.checkpoints.safetensors: exact both ways, readable by others; what does not fit gets a sentence."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import checkpoint_tool
from dnnlib.files import file_checksum
from tests.helpers.edits import drop, put
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import compact_snapshot

safetensors_torch = pytest.importorskip("safetensors.torch")


def run(*args: str | Path) -> Result:
    words = [str(arg) for arg in args]
    return CliRunner().invoke(checkpoint_tool.main, words, catch_exceptions=False)


def refused(*args: str | Path) -> str:
    done = run(*args)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.fixture
def exported(snapshot, tmp_path) -> Path:
    path = tmp_path / "a.safetensors"
    assert run("export", snapshot, path).exit_code == 0
    return path


def same(a: Any, b: Any) -> bool:
    """Whether two payloads are equal, tensors to the bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        bits = a.flatten().view(torch.uint8)
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits, b.flatten().view(torch.uint8))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


# --- Both ways --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [False, True])
def test_round_trip_is_exact_to_the_bit(snapshot, tmp_path, compact):
    source = snapshot
    if compact:
        source = tmp_path / "source.pkl"
        compact_snapshot(snapshot, source)
    tensors = tmp_path / "new" / "a.safetensors"
    header = tmp_path / "new" / "a.json"
    back = tmp_path / "back.pkl"
    assert run("export", source, tensors).stdout.splitlines() == [str(tensors), str(header)]
    assert run("import", tensors, back).exit_code == 0
    assert same(checkpoint.load(source, "snapshot"), checkpoint.load(back, "snapshot"))
    assert load_generator(back).progress == {"kimg": 2.0}
    assert sorted(tensors.parent.iterdir()) == [header, tensors]


def test_odd_numbers_and_layouts_survive(snapshot, tmp_path):
    payload = checkpoint.load(snapshot, "snapshot")
    weights = payload["weights"]["D_vid"]
    name = "b8.conv0.weight"
    odd = weights[name].to(memory_format=torch.channels_last)
    odd[0, 0, 0, 0] = float("nan")
    weights[name] = odd
    payload["progress"] = {"kimg": 0.1 + 0.2}
    checkpoint.save(tmp_path / "a.pkl", payload, "snapshot")
    run("export", tmp_path / "a.pkl", tmp_path / "a.safetensors")
    run("import", tmp_path / "a.safetensors", tmp_path / "b.pkl")
    back = checkpoint.load(tmp_path / "b.pkl", "snapshot")
    assert back["progress"] == {"kimg": 0.1 + 0.2}
    found = back["weights"]["D_vid"][name]
    assert torch.equal(found.nan_to_num(7), odd.nan_to_num(7))


def test_other_programs_can_read_them(exported, snapshot):
    tensors = safetensors_torch.load_file(exported)
    header = json.loads(exported.with_suffix(".json").read_text())
    mapping = load_generator(snapshot).G.backbone.mapping
    assert torch.equal(tensors["G_ema.backbone.mapping.w_avg"], mapping.w_avg)
    assert tensors["camera_bank"].shape == (3, 16, 25)
    assert header["progress"] == {"kimg": 2.0}
    assert header["config"]["generator"]["z_dim"] == 8


# --- What does not fit ------------------------------------------------------------------------------------------------


def test_names_that_do_not_fit(exported, snapshot, tmp_path):
    out = tmp_path / "out.pkl"
    assert "does not end in .safetensors" in refused("export", snapshot, tmp_path / "a.pkl")
    assert "does not end in .safetensors" in refused("import", exported.with_suffix(".json"), out)
    assert "does not exist" in refused("import", tmp_path / "b.safetensors", out)
    assert "does not exist" in refused("export", tmp_path / "none.pkl", tmp_path / "none.safetensors")
    assert not out.exists()


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"format": "x"}, "does not describe a snapshot"),
        ({"version": 9}, "has version 9"),
        ({"sha256": "0"}, "belongs to other tensors"),
        ({"config": None}, "damaged"),
        ({"config": {"hue": 1}}, "does not know: hue"),
        ([], "does not describe"),
        (None, "a.json does not exist"),
    ],
)
def test_pairs_that_do_not_fit(exported, tmp_path, change, sentence):
    header = exported.with_suffix(".json")
    good = json.loads(header.read_text())
    changed = good | change if isinstance(change, dict) else change
    header.write_text(json.dumps(changed))
    if change is None:
        header.unlink()
    assert sentence in refused("import", exported, tmp_path / "out.pkl")
    assert not (tmp_path / "out.pkl").exists()


def test_tensors_that_are_no_weights(exported, tmp_path):
    tensors = safetensors_torch.load_file(exported)
    tensors["H.weight"] = torch.zeros(1)
    safetensors_torch.save_file(tensors, exported)
    header = exported.with_suffix(".json")
    content = json.loads(header.read_text())
    content["sha256"] = file_checksum(exported)
    header.write_text(json.dumps(content))
    assert "holds H.weight" in refused("import", exported, tmp_path / "out.pkl")


@pytest.mark.parametrize(
    "edit, sentence",
    [
        (drop("weights"), "lacks weights"),
        (put({}, "weights", "H"), "not those of G, G_ema, D_img, D_vid"),
        (put("text", "weights", "G", "x"), "G.x is no tensor"),
        (put(torch.eye(2).to_sparse(), "weights", "G", "x"), "not a checkpoint"),
        (put(float("nan"), "progress", "kimg"), "not made of numbers"),
    ],
)
def test_snapshots_that_cannot_be_exported(snapshot, tmp_path, edit, sentence):
    content = torch.load(snapshot, weights_only=True)
    edit(content["payload"])
    torch.save(content, tmp_path / "a.pkl")
    assert sentence in refused("export", tmp_path / "a.pkl", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.json").exists()


def test_without_the_package(exported, snapshot, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert "pip install safetensors" in refused("export", snapshot, tmp_path / "b.safetensors")
    assert "pip install safetensors" in refused("import", exported, tmp_path / "b.pkl")
