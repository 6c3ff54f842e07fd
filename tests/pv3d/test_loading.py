"""pv3d.load: names, paths, addresses, checksums, precisions."""

import warnings

import pytest
import torch

import pv3d
from dnnlib.files import file_checksum
from tests.helpers import tiny
from training.checkpoints import addresses
from training.checkpoints.snapshots import build_networks, save_snapshot


def test_a_shipped_model_by_its_name():
    model = pv3d.load("heads", device="cpu")
    assert repr(model) == "<pv3d.Model of 64 x 64 pixels on cpu>"
    assert not any(parameter.requires_grad for parameter in model.G.parameters()) and not model.G.training


def test_paths(snapshot):
    for source in (snapshot, str(snapshot)):
        assert pv3d.load(source, sha256=file_checksum(snapshot), device="cpu").device == torch.device("cpu")


def test_an_address(snapshot, monkeypatch):
    asked = []
    monkeypatch.setattr(addresses, "downloaded", lambda *words: asked.append(words) or snapshot)
    checksum = file_checksum(snapshot)
    assert pv3d.load("https://example.org/a.pkl", sha256=checksum, device="cpu").G.z_dim == 8
    assert asked == [("https://example.org/a.pkl", checksum)]


@pytest.mark.parametrize(
    "source, options, message",
    [
        ("nobody", {}, r"nobody is neither a shipped model \(heads\), nor a file or address"),
        ("https://example.org/a.pkl", {}, "Give the sha256 of https://example.org/a.pkl too"),
        ("ftp://example.org/a.pkl", {"sha256": "0" * 64}, "ftp in place of https"),
        ("heads", {"sha256": "0" * 64}, "has the sha256 .*, not 0000"),
        ("heads", {"sha256": "abc"}, "abc is no sha256"),
        ("heads", {"precision": "tf32"}, "precision='tf32' is not possible: give one of fp32, bf16, fp16"),
        ("heads", {"device": "tpu"}, "Unknown device 'tpu'"),
    ],
)
def test_what_is_refused(source, options, message):
    with pytest.raises(pv3d.UserError, match=message):
        pv3d.load(source, **({"device": "cpu"} | options))


def test_precision_is_that_of_the_commands(snapshot):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of CPUs without bfloat16
        model = pv3d.load(snapshot, device="cpu", precision="bf16")
    assert model.G.precision == torch.bfloat16


def test_a_model_without_cameras_says_so(tmp_path):
    options = tiny.config()
    path = tmp_path / "network-snapshot-000000.000.pkl"
    networks = build_networks(options, 0, torch.device("cpu"))
    save_snapshot(path, options, networks, torch.zeros(0, 1, 25), {"kimg": 0.0})
    with pytest.raises(pv3d.UserError, match="holds no cameras"):
        pv3d.load(path, device="cpu").cameras(0)


def test_a_folder_is_none(tmp_path):
    with pytest.raises(pv3d.UserError, match="is a folder"):
        pv3d.load(tmp_path, device="cpu")
