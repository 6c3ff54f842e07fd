"""`checkpoint_tool.py inspect`: what it prints of ours, and that strange content costs it nothing."""

import json
import os
import re

import pytest
import torch
from click.testing import CliRunner

import checkpoint_tool
from tests.helpers import foreign_files, tiny
from tests.helpers.foreign_files import MARKER
from torch_utils import checkpoint
from torch_utils.pickles.machine import Name, Record
from torch_utils.pickles.report import as_text, report
from training.checkpoints.safetensors import export_snapshot


def inspect(path):
    return CliRunner().invoke(checkpoint_tool.main, ["inspect", str(path)], catch_exceptions=False)


def test_a_snapshot_is_shown_whole(snapshot):
    result = inspect(snapshot)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == f"{snapshot}: snapshot, checkpoint version 1, {snapshot.stat().st_size:,} bytes"
    for line in (
        "config:",
        "    z_dim: 8",
        "    sr_channels: [6, 5]",
        "progress:",
        "  kimg: 2.0",
        "    backbone.mapping.w_avg  float32 [8]  32 bytes",
        "camera_bank  float32 [3, 16, 25]  4,800 bytes",
    ):
        assert line in lines
    weights = checkpoint.load(snapshot, "snapshot")["weights"]
    for name, tensors in weights.items():
        values = sum(value.numel() for value in tensors.values())
        assert f"  {name}: {len(tensors)} tensors, {values:,} values, {4 * values:,} bytes" in lines
    count = sum(map(len, weights.values())) + 1
    assert re.fullmatch(
        rf"total: {count} tensors \({count} float32\), .* values, .* bytes, 0 NaN, 0 infinite", lines[-1]
    )


def test_a_state_with_what_is_not_finite(tmp_path):
    bad = torch.tensor([1, float("nan"), float("inf"), -float("inf"), float("nan")])
    payload = {
        "networks": {"G": {"a": bad, "b": bad.half(), "n": torch.arange(3)}},
        "progress": {"clips": 7},
        "small": bad.to(torch.float8_e5m2),
        "rng": list(range(100)),
        "parts": [bad[:1], {"x": None}],
        "none": {},
    }
    checkpoint.save(tmp_path / "a.pt", payload, "state")
    result = inspect(tmp_path / "a.pt")
    for line in (
        "  G: 3 tensors, 13 values, 54 bytes",
        "    a  float32 [5]  20 bytes, 2 NaN, 2 infinite",
        "    n  int64 [3]  24 bytes",
        "  clips: 7",
        "none: empty",
        "rng: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... 100 in all]",
        "  0  float32 [1]  4 bytes",
        "    x: None",
    ):
        assert line in result.stdout.splitlines(), result.stdout
    assert result.stdout.splitlines()[-1].endswith("6 NaN, 6 infinite")


def test_other_files_get_a_sentence(tmp_path):
    for name, content, sentence in (("a.pkl", b"hello", "not a checkpoint"), ("b.pkl", b"PK\x03\x04", "damaged")):
        (tmp_path / name).write_bytes(content)
        result = inspect(tmp_path / name)
        assert result.exit_code == 2
        assert re.match(f"Error: .*{sentence}", result.stderr)
    assert "does not exist" in inspect(tmp_path / "absent").stderr
    checkpoint_of_a_list = {"format": "pv3d", "kind": "state", "version": 1, "payload": [1]}
    torch.save(checkpoint_of_a_list, tmp_path / "c.pt")
    assert inspect(tmp_path / "c.pt").exit_code == 2


def test_strange_content_stays_short():
    loop: list = [torch.zeros(1)]
    loop.append(loop)
    laughs: list = [torch.zeros(1)]
    for _ in range(40):
        laughs = [laughs] * 10
    deep: dict = {"end": torch.zeros(1)}
    for _ in range(500):
        deep = {"in": deep}
    lines = list(
        report(
            {
                "loop": loop,
                "laughs": laughs,
                "deep": deep,
                "huge": 1 << 10**6,
                "wide": torch.ones(1).expand(2**40),
                "sparse": torch.eye(3).to_sparse(),
                "meta": torch.empty(3, device="meta"),
                "escape\x1b[2J": "\x1b]0;x\x07\n",
            },
            2**20,
        )
    )
    assert len(lines) < 200
    assert max(map(len, lines)) < 300
    assert all(line.isprintable() for line in lines)
    assert any("values not looked at" in line for line in lines if line.startswith("wide"))
    assert any("1099511627776" in line for line in lines)


def test_long_texts_are_cut():
    assert as_text("x" * 500) == "x" * 100 + "... (500 characters)"
    assert as_text(True) == "True"
    assert as_text(-(1 << 10**6)) == "a whole number of 1,000,001 bits"


class Call:
    """Pickles to a call of os.system."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Tiny networks; nothing in the files that are made of them may run."""
    monkeypatch.chdir(tmp_path)
    yield tiny.networks(tiny.config())
    assert not (tmp_path / MARKER).exists()


def size_of(weights) -> str:
    values = sum(value.numel() for value in weights.values())
    return f"{len(weights)} tensors, {values:,} values, {4 * values:,} bytes"


def test_a_checkpoint_of_the_official_pv3d(nets, tmp_path):
    path = foreign_files.pv3d(nets, tmp_path / "a.pt", **{"generator.decoder.net.0.bias": torch.full([8], torch.nan)})
    result = inspect(path)
    lines = result.stdout.splitlines()
    model = torch.load(path, weights_only=True)["model"]
    assert result.exit_code == 0
    assert lines[0] == f"{path}: PV3D checkpoint, {path.stat().st_size:,} bytes"
    assert lines[1] == f"model: {size_of(model)}"
    assert "  generator_ema.backbone.mapping.w_avg  float32 [8]  32 bytes" in lines
    assert "  generator.decoder.net.0.bias  float32 [8]  32 bytes, 8 NaN" in lines
    assert lines[-1].startswith(f"total: {len(model)} tensors")
    assert lines[-1].endswith("8 NaN, 0 infinite")


def test_the_counters_of_a_pv3d_checkpoint(nets, tmp_path):
    counters = {"num_samples": 4_800_000, "num_updates": 300_000}
    path = foreign_files.pv3d(nets, tmp_path / "a.pt", counters=counters)
    lines = inspect(path).stdout.splitlines()
    counter = "num_samples of the checkpoint, 16 in each of its 300000 updates"
    assert lines[0].startswith(f"{path}: PV3D checkpoint of 4800 kimg ({counter}), ")
    assert {"num_samples: 4800000", "num_updates: 300000"} <= set(lines)


def test_a_pickle_of_eg3d_is_not_run(nets, tmp_path):
    path = foreign_files.eg3d(nets, tmp_path / "a.pkl", extra={"augment_pipe": Call(), "D": None})
    result = inspect(path)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == f"{path}: EG3D pickle, {path.stat().st_size:,} bytes"
    source = f"source text of {len(foreign_files.SOURCE)} characters"
    for line in (
        f"G_ema: class Generator, {source}",
        f"  backbone: class Backbone, {source}",
        f"    mapping: class MappingNetwork, {source}",
        "      w_avg  float32 [8]  32 bytes",
        "  neural_rendering_resolution: 8",
        "    depth_resolution: 6",
        "D: None",
        "  path: x",
    ):
        assert line in lines, (line, result.stdout)
    assert f"augment_pipe: {os.system.__module__}.system, not called" in lines
    tensors = sum(len(dict(foreign_files.static(G).state_dict())) for G in (nets.G, nets.G_ema))
    assert lines[-1].startswith(f"total: {tensors} tensors ({tensors} float32)")


def test_a_safetensors_export(snapshot, tmp_path):
    path = tmp_path / "a.safetensors"
    export_snapshot(snapshot, path)
    result = inspect(path)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == f"{path}: safetensors, {path.stat().st_size:,} bytes"
    weights = checkpoint.load(snapshot, "snapshot")["weights"]
    assert "json:" in lines
    assert "      z_dim: 8" in lines
    assert "    kimg: 2.0" in lines
    assert "  G_ema.backbone.mapping.w_avg  float32 [8]  32 bytes" in lines
    values = sum(value.numel() for network in weights.values() for value in network.values()) + 3 * 16 * 25
    assert lines[-1].startswith("total: ")
    assert f"{values:,} values, {4 * values:,} bytes, 0 NaN" in lines[-1]
    (tmp_path / "a.json").unlink()
    assert "json:" not in inspect(path).stdout
    assert inspect(path).exit_code == 0


def test_values_of_safetensors_are_those_that_lie_there(tmp_path):
    values = torch.tensor([1, torch.nan, torch.inf, torch.nan]).half()
    header = json.dumps({"x": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    data = len(header).to_bytes(8, "little") + header + values.numpy().tobytes()
    (tmp_path / "a.safetensors").write_bytes(data)
    assert "  x  float16 [2, 2]  8 bytes, 2 NaN, 1 infinite" in inspect(tmp_path / "a.safetensors").stdout.splitlines()
    for broken in (data[:-1], data + b"x", data.replace(b"8]", b"6]"), data.replace(b"F16", b"F32")):
        (tmp_path / "a.safetensors").write_bytes(broken)
        result = inspect(tmp_path / "a.safetensors")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1


def test_damage_is_told_before_anything_is_shown(nets, tmp_path):
    path = foreign_files.pv3d(nets, tmp_path / "a.pt")
    data = bytearray(path.read_bytes())
    data[data.index(nets.G_ema.decoder.net[0].weight.detach().numpy().tobytes())] ^= 1
    path.write_bytes(data)
    result = inspect(path)
    assert result.exit_code == 2
    assert "damaged" in result.stderr
    assert result.stdout == ""


def test_records_are_shown_and_only_some_values_looked_at():
    made = Record("a.b", (1,), state={"x": Name("os.system")}, items=[3], entries={"y": torch.zeros(4)})
    plain = Record("c.d", (1, (2,)), items=[made])
    lines = list(report({"made": made, "plain": plain, "again": made, "bytes": b"xyz", "big": torch.zeros(100)}, 100))
    assert lines[:4] == [
        "made: a.b, not called",
        "  x: the name os.system",
        "  y  float32 [4]  16 bytes",
        "plain: c.d, not called",
    ]
    assert "again: not shown again" in lines
    assert "bytes: 3 bytes" in lines
    assert "big  float32 [100]  400 bytes, values not looked at" in lines


@pytest.mark.parametrize(
    "command, names",
    [
        ("export", ["a.safetensors"]),
        ("export", ["a.safetensors", "a.json"]),
        ("import", ["a.pkl"]),
        ("compact", ["a.pkl"]),
    ],
)
def test_no_file_is_overwritten(snapshot, tmp_path, command, names):
    """The last of the names is there already."""
    source = snapshot
    if command == "import":
        pytest.importorskip("safetensors")
        source = tmp_path / "source.safetensors"
        export_snapshot(snapshot, source)
    (tmp_path / names[-1]).write_text("precious")
    result = CliRunner().invoke(checkpoint_tool.main, [command, str(source), str(tmp_path / names[0])])
    assert result.exit_code == 2 and f"{names[-1]} exists already: remove it or choose another name." in result.stderr
    assert (tmp_path / names[-1]).read_text() == "precious"
