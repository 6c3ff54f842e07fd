"""torch_utils.checkpoint: exact round trips, only plain values, no code on loading, one sentence for bad files."""

import collections
import random
import resource
import zipfile

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers.tiny import normal, seeded
from torch_utils import checkpoint


class Touch:
    """An object whose unpickling would make a file: what a hostile checkpoint might hold."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_round_trip(tmp_path):
    with seeded(0):
        module = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    payload = {
        "plain": {"none": None, "flag": True, "whole": 2**100, "real": 0.1, "text": "ü", "list": [1, (2, "x")], 3: 4},
        "network": module.state_dict(),
        "half": normal(0, 3, dtype=torch.bfloat16),
        "rng": torch.get_rng_state(),
        "python_rng": random.Random(1).getstate(),
        "parameter": module.weight,
        "empty": torch.zeros(0, 2),
    }
    path = tmp_path / "new" / "network-snapshot-000001.pkl"
    checkpoint.save(path, payload, "snapshot")
    loaded = checkpoint.load(path, "snapshot")
    assert loaded["plain"] == payload["plain"]
    assert loaded["python_rng"] == payload["python_rng"]
    assert type(loaded["plain"]["flag"]) is bool
    assert type(loaded["network"]) is dict
    for name in ("half", "rng", "parameter", "empty"):
        assert loaded[name].dtype == payload[name].dtype
        assert torch.equal(loaded[name], payload[name])
    assert not loaded["parameter"].requires_grad
    weight = loaded["network"]["weight"]
    assert torch.equal(weight, module.weight)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_view_does_not_drag_its_storage_along(tmp_path):
    big = torch.zeros(1_000_000)
    checkpoint.save(tmp_path / "a.pt", {"part": big[10:20], "wide": torch.ones(1).expand(100)}, "state")
    assert (tmp_path / "a.pt").stat().st_size < 10_000
    assert torch.equal(checkpoint.load(tmp_path / "a.pt", "state")["part"], big[10:20])


@pytest.mark.parametrize(
    "value, what",
    [
        (np.float64(1), "numpy.float64"),
        (np.zeros(2), "numpy.ndarray"),
        ({1, 2}, "set"),
        (b"x", "bytes"),
        (torch.float32, "torch.dtype"),
        (torch.nn.Identity(), "Identity"),
        (torch.eye(2).to_sparse(), "Tensor"),
        (collections.namedtuple("Point", "x")(1), "Point"),
    ],
)
def test_refuses_what_is_not_plain(tmp_path, value, what):
    with pytest.raises(TypeError, match=r"payload\['a'\]\[1\] is a .*" + what):
        checkpoint.save(tmp_path / "a.pt", {"a": [0, value]}, "state")
    with pytest.raises(TypeError, match="the key"):
        checkpoint.save(tmp_path / "a.pt", {"a": {1.5: 0}}, "state")
    assert list(tmp_path.iterdir()) == []


def refused(path, match, kind="snapshot"):
    with pytest.raises(UserError, match=match) as caught:
        checkpoint.load(path, kind)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_kind_version_and_format(tmp_path):
    path = tmp_path / "a.pkl"
    checkpoint.save(path, {}, "state")
    refused(path, "a training state .* but a network snapshot .* is needed")
    for header, match in [
        ({"format": "pv3d", "kind": "snapshot", "version": 99}, "version 99, but this code reads version 1"),
        ({"format": "other", "kind": "snapshot", "version": 1}, "not a checkpoint of this software"),
        ({"format": "pv3d", "kind": "dream", "version": 1}, "unknown kind"),
    ]:
        torch.save({**header, "payload": {}}, path)
        refused(path, match)


def test_files_that_are_no_checkpoint(tmp_path):
    refused(tmp_path / "absent.pkl", "does not exist")
    for content in (b"hello", b"\x80\x04\x95", b"\x89PNG\r\n"):
        (tmp_path / "a.pkl").write_bytes(content)
        refused(tmp_path / "a.pkl", "not a checkpoint of this software")
    for members in (["clip/0.png"], ["script/data.pkl", "script/constants.pkl"]):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for member in members:
                archive.writestr(member, b"x")
        refused(tmp_path / "a.zip", "not a checkpoint of this software")
    torch.save([torch.zeros(1)], tmp_path / "list.pkl")
    refused(tmp_path / "list.pkl", "not a checkpoint of this software")


def test_cut_short_or_damaged(tmp_path):
    path = tmp_path / "a.pkl"
    checkpoint.save(path, {"x": normal(0, 1000)}, "snapshot")
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0x10
    for broken in (b"", content[:2], content[:1000], content[:-30], bytes(flipped)):
        path.write_bytes(broken)
        refused(path, "damaged or was cut short")


def test_loading_runs_no_code(tmp_path):
    path, mark = tmp_path / "a.pkl", tmp_path / "mark"
    torch.save({"format": "pv3d", "kind": "snapshot", "version": 1, "payload": Touch(mark)}, path)
    refused(path, "not a checkpoint of this software")
    assert not mark.exists()


def test_full_disk_keeps_the_old_checkpoint(tmp_path):
    path = tmp_path / "a.pkl"
    checkpoint.save(path, {"x": 1}, "snapshot")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(UserError, match="No space left to write .*a.pkl"):
            checkpoint.save(path, {"x": torch.zeros(100_000)}, "snapshot")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.load(path, "snapshot") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pkl"]
