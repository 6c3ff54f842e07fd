"""detectors: loaded from public files and with random weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from detectors import load_arcface, load_i3d_stylegan_v, load_i3d_videogpt, weights
from detectors.i3d import MIN_FRAMES, PYTORCH_EPS, TENSORFLOW_EPS, InceptionI3D
from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from tests.helpers.tiny import pixels, seeded

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")]


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """An empty cache, and nothing to download from."""
    monkeypatch.setenv("PV3D_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network here")))


@pytest.fixture(scope="module")
def folder(i3d, arcface, tmp_path_factory) -> Path:
    """Files as they are published, of the golden weights."""
    folder = tmp_path_factory.mktemp("detectors")
    without_counters = {name: value for name, value in i3d.state_dict().items() if not name.endswith(weights.COUNTER)}
    torch.save(without_counters, folder / weights.I3D.file)
    torch.save(arcface.state_dict(), folder / weights.ARCFACE.file, _use_new_zipfile_serialization=False)
    return folder


class Bare(nn.Module):
    """The modules of a network, without what it does."""

    def __init__(self, network: nn.Module):
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child if isinstance(child, nn.Conv3d | nn.BatchNorm3d) else Bare(child))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def same(network: nn.Module, other: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_i3d_of_videogpt(folder, i3d):
    detector = load_i3d_videogpt(kind="public", folder=folder, device="cpu")
    assert same(detector.network, i3d)
    assert detector.name == "i3d" and detector.checksum == file_checksum(folder / weights.I3D.file)
    assert detector.network.Mixed_3b.b0.bn.eps == PYTORCH_EPS and detector.dim == 400


@pytest.mark.parametrize("eps", [TENSORFLOW_EPS, PYTORCH_EPS])
def test_i3d_of_stylegan_v(eps, i3d, tmp_path):
    exported = InceptionI3D(eps)
    exported.load_state_dict(i3d.state_dict())
    torch.jit.script(Bare(exported)).save(str(tmp_path / weights.I3D_STYLEGAN_V.file))
    detector = load_i3d_stylegan_v(kind="public", folder=tmp_path, device="cpu")
    assert same(detector.network, i3d) and detector.name == "i3d-stylegan-v"
    assert detector.network.Mixed_3b.b0.bn.eps == eps, "as the file states"


def test_arcface(folder, arcface):
    embedder = load_arcface(kind="public", folder=folder, device="cpu")
    assert embedder.name == "arcface" and embedder.checksum == file_checksum(folder / weights.ARCFACE.file)
    assert same(embedder.network, arcface)


def test_random_i3d_is_fixed(i3d):
    detector, again = (load_i3d_videogpt(kind="random", folder=None, device="cpu") for _ in range(2))
    assert detector.name == "random" and detector.checksum == again.checksum and len(detector.checksum) == 64
    assert same(detector.network, i3d) and same(again.network, i3d)
    noise = pixels(0, 1, MIN_FRAMES, 3, 16, 16)
    features = detector(noise)
    assert features.shape == (1, 400) and torch.equal(features, again(noise))
    assert features.std() > 0.3, "signals do not fade"
    assert (detector(255 - noise) - features).abs().mean() > 0.05 * features.std()


def test_styles_see_frames_differently():
    wide = pixels(0, 1, MIN_FRAMES, 3, 16, 32)
    cropped, stretched = (
        load(kind="random", folder=None, device="cpu")(wide) for load in (load_i3d_videogpt, load_i3d_stylegan_v)
    )
    assert (cropped - stretched).abs().max() > 0.05


def test_random_networks_of_different_kinds_have_different_checksums(arcface):
    embedder = load_arcface(kind="random", folder=None, device="cpu")
    assert embedder.name == "random" and embedder.dim == 512 and same(embedder.network, arcface)
    assert embedder.checksum != load_i3d_videogpt(kind="random", folder=None, device="cpu").checksum


@pytest.mark.parametrize(
    "load, file",
    [
        (lambda folder: load_i3d_videogpt(kind="public", folder=folder, device="cpu"), weights.I3D.file),
        (lambda folder: load_i3d_stylegan_v(kind="public", folder=folder, device="cpu"), weights.I3D_STYLEGAN_V.file),
        (lambda folder: load_arcface(kind="public", folder=folder, device="cpu"), weights.ARCFACE.file),
    ],
)
def test_missing_damaged_and_other_files_are_told(load, file, tmp_path):
    with pytest.raises(UserError, match=f"are missing.*get {file}"):
        load(tmp_path)
    (tmp_path / file).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UserError, match=f"{file} is damaged, or not the file"):
        load(tmp_path)
    if file == weights.I3D_STYLEGAN_V.file:
        with seeded(0):
            other = nn.Sequential(nn.Conv3d(3, 4, 1))
        torch.jit.script(Bare(other)).save(str(tmp_path / file))
    else:
        torch.save({"weight": torch.ones(2)}, tmp_path / file)
    with pytest.raises(UserError, match="holds the weights of another network"):
        load(tmp_path)
