"""training.checkpoints.safetensors: exact both ways, readable by others; what does not fit gets a sentence."""

import builtins
import json

import pytest
import torch
from click.testing import CliRunner

import checkpoint_tool
from dnnlib.files import file_checksum
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator
from training.checkpoints.snapshots import compact_snapshot

safetensors_torch = pytest.importorskip("safetensors.torch")


def run(*args):
    return CliRunner().invoke(checkpoint_tool.main, [str(arg) for arg in args], catch_exceptions=False)


def refused(*args) -> str:
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.fixture
def exported(snapshot, tmp_path):
    assert run("export", snapshot, tmp_path / "a.safetensors").exit_code == 0
    return tmp_path / "a.safetensors"


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return (
            a.dtype == b.dtype and a.shape == b.shape and torch.equal(*(x.flatten().view(torch.uint8) for x in (a, b)))
        )
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("compact", [False, True])
def test_round_trip_is_exact_to_the_bit(snapshot, tmp_path, compact):
    source = tmp_path / "source.pkl"
    if compact:
        compact_snapshot(snapshot, source)
    else:
        source.write_bytes(snapshot.read_bytes())
    result = run("export", source, tmp_path / "new" / "a.safetensors")
    assert result.stdout.splitlines() == [str(tmp_path / "new" / name) for name in ("a.safetensors", "a.json")]
    assert run("import", tmp_path / "new" / "a.safetensors", tmp_path / "back.pkl").exit_code == 0
    first, second = (checkpoint.load(path, "snapshot") for path in (source, tmp_path / "back.pkl"))
    assert same(first, second)
    assert load_generator(tmp_path / "back.pkl").progress == {"kimg": 2.0}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.json", "a.safetensors"]


def test_odd_numbers_and_layouts_survive(snapshot, tmp_path):
    payload = checkpoint.load(snapshot, "snapshot")
    weights = payload["weights"]["D_vid"]
    name = next(name for name, value in weights.items() if value.ndim == 4)
    weights[name] = weights[name].to(memory_format=torch.channels_last)
    weights[name][0, 0, 0, 0] = float("nan")
    payload["progress"] = {"kimg": 0.1 + 0.2}
    checkpoint.save(tmp_path / "a.pkl", payload, "snapshot")
    run("export", tmp_path / "a.pkl", tmp_path / "a.safetensors")
    run("import", tmp_path / "a.safetensors", tmp_path / "b.pkl")
    back = checkpoint.load(tmp_path / "b.pkl", "snapshot")
    assert back["progress"] == {"kimg": 0.1 + 0.2}
    assert torch.equal(back["weights"]["D_vid"][name].nan_to_num(7), weights[name].nan_to_num(7))


def test_other_programs_can_read_them(exported, snapshot):
    tensors = safetensors_torch.load_file(exported)
    header = json.loads(exported.with_suffix(".json").read_text())
    assert torch.equal(tensors["G_ema.backbone.mapping.w_avg"], load_generator(snapshot).G.backbone.mapping.w_avg)
    assert tensors["camera_bank"].shape == (3, 16, 25) and header["progress"] == {"kimg": 2.0}
    assert header["config"]["generator"]["z_dim"] == 8


def test_names_and_pairs_that_do_not_fit(exported, snapshot, tmp_path):
    out, header = tmp_path / "out.pkl", exported.with_suffix(".json")
    assert "does not end in .safetensors" in refused("export", snapshot, tmp_path / "a.pkl")
    assert "does not end in .safetensors" in refused("import", header, out)
    assert "does not exist" in refused("import", tmp_path / "b.safetensors", out)
    assert "does not exist" in refused("export", tmp_path / "none.pkl", exported)
    good = json.loads(header.read_text())
    for change, sentence in (
        ({"format": "x"}, "does not describe a snapshot"),
        ({"version": 9}, "has version 9"),
        ({"sha256": "0"}, "belongs to other tensors"),
        ({"config": None}, "damaged"),
        ({"config": {"hue": 1}}, "does not know: hue"),
    ):
        header.write_text(json.dumps(good | change))
        assert sentence in refused("import", exported, out)
    header.write_text("[]")
    assert "does not describe" in refused("import", exported, out)
    header.unlink()
    assert "a.json does not exist" in refused("import", exported, out)
    assert not out.exists()


def test_tensors_that_are_no_weights(exported, tmp_path):
    tensors = safetensors_torch.load_file(exported)
    safetensors_torch.save_file(tensors | {"H.weight": torch.zeros(1)}, exported)
    header = exported.with_suffix(".json")
    header.write_text(json.dumps(json.loads(header.read_text()) | {"sha256": file_checksum(exported)}))
    assert "holds H.weight" in refused("import", exported, tmp_path / "out.pkl")


def test_snapshots_that_cannot_be_exported(snapshot, tmp_path):
    def changed(edit):
        content = torch.load(snapshot, weights_only=True)
        edit(content["payload"])
        torch.save(content, tmp_path / "a.pkl")
        return refused("export", tmp_path / "a.pkl", tmp_path / "out.safetensors")

    assert "lacks weights" in changed(lambda payload: payload.pop("weights"))
    assert "not those of G, G_ema, D_img, D_vid" in changed(lambda payload: payload["weights"].update(H={}))
    assert "G.x is no tensor" in changed(lambda payload: payload["weights"]["G"].update(x="text"))
    assert "not a checkpoint" in changed(lambda payload: payload["weights"]["G"].update(x=torch.eye(2).to_sparse()))
    assert "not made of numbers" in changed(lambda payload: payload.update(progress={"kimg": float("nan")}))
    assert not (tmp_path / "out.json").exists()


def test_without_the_package(exported, snapshot, tmp_path, monkeypatch):
    real = builtins.__import__

    def lacking(name, *args, **more):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    for args in (("export", snapshot, tmp_path / "b.safetensors"), ("import", exported, tmp_path / "b.pkl")):
        assert "pip install safetensors" in refused(*args)
