"""`python -m torch_utils.checkpoint inspect`: what it prints of ours, and that strange content costs it nothing."""

import re

import torch
from click.testing import CliRunner

from torch_utils import checkpoint
from torch_utils.checkpoint_report import report, text


def inspect(path):
    return CliRunner().invoke(checkpoint.main, ["inspect", str(path)], catch_exceptions=False)


def test_a_snapshot_is_shown_whole(snapshot):
    result = inspect(snapshot)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == f"{snapshot}: snapshot, checkpoint version 1, {snapshot.stat().st_size:,} bytes"
    for line in ("config:", "    z_dim: 8", "    sr_channels: [6, 5]", "progress:", "  kimg: 2.0",
                 "    backbone.mapping.w_avg  float32 [8]  32 bytes", "camera_bank  float32 [3, 16, 25]  4,800 bytes"):
        assert line in lines
    weights = checkpoint.load(snapshot, "snapshot")["weights"]
    for name, tensors in weights.items():
        values = sum(value.numel() for value in tensors.values())
        assert f"  {name}: {len(tensors)} tensors, {values:,} values, {4 * values:,} bytes" in lines
    count = sum(map(len, weights.values())) + 1
    assert re.fullmatch(rf"total: {count} tensors \({count} float32\), .* values, .* bytes, 0 NaN, 0 infinite",
                        lines[-1])


def test_a_state_with_what_is_not_finite(tmp_path):
    bad = torch.tensor([1, float("nan"), float("inf"), -float("inf"), float("nan")])
    payload = {"networks": {"G": {"a": bad, "b": bad.half(), "n": torch.arange(3)}}, "progress": {"clips": 7},
               "small": bad.to(torch.float8_e5m2), "rng": list(range(100)), "parts": [bad[:1], {"x": None}], "none": {}}
    checkpoint.save(tmp_path / "a.pt", payload, "state")
    result = inspect(tmp_path / "a.pt")
    for line in ("  G: 3 tensors, 13 values, 54 bytes", "    a  float32 [5]  20 bytes, 2 NaN, 2 infinite",
                 "    n  int64 [3]  24 bytes", "  clips: 7", "none: empty",
                 "rng: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... 100 in all]", "  0  float32 [1]  4 bytes",
                 "    x: None"):
        assert line in result.stdout.splitlines(), result.stdout
    assert result.stdout.splitlines()[-1].endswith("6 NaN, 6 infinite")


def test_other_files_get_a_sentence(tmp_path):
    for name, content, sentence in (("a.pkl", b"hello", "not a checkpoint"), ("b.pkl", b"PK\x03\x04", "damaged")):
        (tmp_path / name).write_bytes(content)
        result = inspect(tmp_path / name)
        assert result.exit_code == 2 and re.match(f"Error: .*{sentence}", result.stderr)
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
    lines = list(report({"loop": loop, "laughs": laughs, "deep": deep, "huge": 1 << 10 ** 6,
                         "wide": torch.ones(1).expand(2 ** 40), "sparse": torch.eye(3).to_sparse(),
                         "meta": torch.empty(3, device="meta"), "escape\x1b[2J": "\x1b]0;x\x07\n"}))
    assert len(lines) < 200 and max(map(len, lines)) < 300
    assert all(line.isprintable() for line in lines)
    assert any("values not looked at" in line for line in lines if line.startswith("wide"))
    assert any("1099511627776" in line for line in lines)


def test_long_texts_are_cut():
    assert text("x" * 500) == "x" * 100 + "... (500 characters)" and text(True) == "True"
    assert text(-(1 << 10 ** 6)) == "a whole number of 1,000,001 bits"
